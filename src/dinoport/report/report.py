"""The report: one object for what went in, what was decided, what came out and what was shown.

It is printed, kept as `dinoport.json` in the folder, and summarised in the model card.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dinoport.mapping.folding import fold_names
from dinoport.mapping.operations import Kind
from dinoport.mapping.plan import Plan, Step
from dinoport.verify.verdict import Proofs, Verdict
from dinoport.writing.output_file import WrittenFile

FORMAT = 1
"""Version of the JSON layout; it grows when a field changes its meaning."""


@dataclass(frozen=True)
class Source:
    """What went in. `branch` is the copy of the model that was chosen, `stripped` what its names wore."""

    where: str
    format: str
    size_bytes: int
    branch: str
    stripped: tuple[str, ...]
    others: tuple[str, ...]


@dataclass(frozen=True)
class Setting:
    """A decision, as words: see `dinoport.families.setting`."""

    name: str
    value: str
    origin: str
    reason: str


@dataclass(frozen=True)
class Line:
    """Tensors of one fate, folded by block."""

    names: str
    count: int
    reason: str


@dataclass(frozen=True)
class Accounting:
    """Every tensor's fate. `steps` are the plan's lines, folded: target, its source, how many."""

    counts: Mapping[str, int]
    size_bytes: int
    steps: tuple[tuple[str, str, int], ...]
    dropped: tuple[Line, ...]
    synthesised: tuple[Line, ...]


@dataclass(frozen=True)
class Report:
    """What one conversion or verification did and showed."""

    verdict: Verdict
    direction: str
    source: Source
    family: str
    class_name: str
    target: str
    request: Mapping[str, object]
    settings: tuple[Setting, ...]
    accounting: Accounting
    proofs: Proofs = field(default_factory=Proofs)
    files: tuple[WrittenFile, ...] = ()
    remarks: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        """The report as JSON-ready data; docs/report.md names every field."""
        from dinoport.report.as_json import report_to_dict

        return report_to_dict(self)


def account(plan: Plan) -> Accounting:
    """Fold a plan into lines that a person can read."""
    made: dict[str, list[str]] = {}
    kept: dict[tuple[str, str], list[Step]] = {}
    for step in plan.steps:
        if step.kind is Kind.SYNTHESISED:
            made.setdefault(step.reason, []).append(step.target.name)
        else:
            kept.setdefault((without_numbers(step.target.name), without_numbers(step.describe())), []).append(step)
    dropped: dict[str, list[str]] = {}
    for tensor in plan.dropped:
        dropped.setdefault(tensor.reason, []).append(tensor.name)
    return Accounting(
        counts={kind.value: count for kind, count in plan.counts().items()},
        size_bytes=plan.size_bytes,
        steps=tuple(
            (
                " ".join(fold_names(step.target.name for step in steps)),
                " ".join(fold_names(step.describe() for step in steps)),
                len(steps),
            )
            for steps in kept.values()
        ),
        dropped=_lines(dropped),
        synthesised=_lines(made),
    )


def _lines(by_reason: Mapping[str, list[str]]) -> tuple[Line, ...]:
    return tuple(Line(", ".join(fold_names(names)), len(names), reason) for reason, names in by_reason.items())


def without_numbers(name: str) -> str:
    """A name with `#` for every number in its path: tensors of different blocks are then alike."""
    return ".".join("#" if part.isdecimal() else part for part in name.split("."))

"""The report: one object for what went in, what was decided, what came out and what was shown.

It is printed, kept as `dinoport.json` in the folder, and summarised in the model card.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from dinoport.mapping.folding import fold_names, numbered_module
from dinoport.mapping.operations import Kind
from dinoport.mapping.plan import Dropped, Plan, Step
from dinoport.model import AGREE, CLAIM, FIELDS
from dinoport.proofs.verdict import Proofs, Verdict
from dinoport.request import options_of
from dinoport.shown.lines import Printed

if TYPE_CHECKING:
    from dinoport.files.output_file import WrittenFile
    from dinoport.formats.pinning import SourceFile
    from dinoport.networks.heads.reading import HeadReading


class Source(NamedTuple):
    """What went in. `branch` is the copy of the model that was chosen, `stripped` what its names wore.

    `files` pin it where something was proven: see `dinoport.formats.pinning`. `hashes` are of whole files; a page
    alone shows them.
    """

    where: str
    format: str
    size_bytes: int
    branch: str
    stripped: tuple[str, ...]
    others: tuple[str, ...]
    files: tuple[SourceFile, ...] = ()
    hashes: tuple[WrittenFile, ...] = ()


class Decision(NamedTuple):
    """A decision, as words: see `dinoport.model.Setting`. One that is not `used` decided nothing that was done."""

    name: str
    value: str
    origin: str
    reason: str
    used: bool = True

    @property
    def text(self) -> str:
        """As the verdict lists it, where it is an assumption."""
        return f"{self.name} = {self.value} ({self.reason})"


@dataclass(frozen=True)
class Line:
    """Tensors of one fate, folded by block."""

    names: str
    count: int
    reason: str


@dataclass(frozen=True)
class Group:
    """Tensors of one module, or of alike modules: how many of the source went into how many of the target."""

    names: str
    sources: int
    targets: int
    size_bytes: int

    @property
    def is_module(self) -> bool:
        return self.names != OUTSIDE


class Accounting(NamedTuple):
    """Every tensor's fate.

    `groups` are folded by the source's modules; `steps` are the plan's lines, folded: target, its source, how many.
    """

    counts: Mapping[str, int]
    size_bytes: int
    groups: tuple[Group, ...]
    steps: tuple[tuple[str, str, int], ...]
    dropped: tuple[Line, ...]
    synthesised: tuple[Line, ...]


@dataclass(frozen=True, repr=False)
class Report(Printed):
    """What one conversion or verification did and showed.

    `ends` are what the names of source and target are called. `command` repeats it, without the options that only say
    what else to compare and report; `usage` is the Python that loads what was written.
    `claimed` are the fields of the request that only the folder says that is verified. `recorded` says that the report
    lies in the folder too; `heads` is what the weights say of the number of heads, `lost` the parts of the original
    that do not return, `transform` how pictures become its input.
    """

    verdict: Verdict
    direction: str
    source: Source
    family: str
    class_name: str
    ends: tuple[str, str]
    target: str
    request: Mapping[str, object]
    settings: tuple[Decision, ...]
    accounting: Accounting
    proofs: Proofs = field(default_factory=Proofs)
    files: tuple[WrittenFile, ...] = ()
    remarks: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    command: str = ""
    usage: tuple[str, ...] = ()
    claimed: tuple[str, ...] = ()
    recorded: bool = False
    heads: HeadReading | None = None
    lost: tuple[str, ...] = ()
    transform: Mapping[str, object] = field(default_factory=dict)

    @property
    def asked(self) -> dict[str, str]:
        """The options that were given and that no setting names, with their values."""
        given = {name: value for name, value in self.request.items() if name not in (*self.claimed, "to")}
        named = {setting.reason.partition(AGREE)[0] for setting in self.settings}
        return {option: value for option, value in options_of(given).items() if option not in named}

    @property
    def told(self) -> dict[str, str]:
        """The options that only the folder says and that no setting names, with their values."""
        named = {FIELDS.get(setting.name) for setting in self.settings if setting.reason.startswith(CLAIM)}
        return options_of({name: self.request[name] for name in self.claimed if name not in named})

    def lines(self) -> Iterator[str]:
        from dinoport.report.text import report_lines

        return report_lines(self)

    def _summary(self) -> str:
        return str(self.verdict)

    def to_dict(self) -> dict[str, object]:
        """The report as JSON-ready data; docs/report.md names every field."""
        from dinoport.report.as_json import report_to_dict

        return report_to_dict(self)


def account(plan: Plan, gone: Sequence[Dropped], read: Mapping[str, Step]) -> Accounting:
    """Fold a plan into lines that a person can read.

    `gone` is what the target does not hold; `read` says of which tensors of the source each canonical one was read.
    """

    def described(step: Step) -> str:
        own = read.get(step.spans[0].tensor.name)
        whole = own and len(step.spans) == 1 and step.spans[0].size == own.target.size and not step.casts
        return own.describe() if own and whole else step.describe()

    made: dict[str, list[str]] = {}
    kept: dict[tuple[str, str], list[Step]] = {}
    for step in plan.steps:
        if step.kind is Kind.SYNTHESISED:
            made.setdefault(step.reason, []).append(step.target.name)
        else:
            kept.setdefault((without_numbers(step.target.name), without_numbers(described(step))), []).append(step)
    dropped: dict[str, list[str]] = {}
    for tensor in gone:
        dropped.setdefault(tensor.reason, []).append(tensor.name)
    return Accounting(
        counts={**{kind.value: count for kind, count in plan.counts().items()}, Kind.DROPPED.value: len(gone)},
        size_bytes=plan.size_bytes,
        groups=tuple(_groups(plan)),
        steps=tuple(
            (
                " ".join(fold_names(step.target.name for step in steps)),
                " ".join(fold_names(described(step) for step in steps)),
                len(steps),
            )
            for steps in kept.values()
        ),
        dropped=_lines(dropped),
        synthesised=_lines(made),
    )


OUTSIDE = "outside the blocks"


def _groups(plan: Plan) -> Iterator[Group]:
    """The plan's steps by the numbered module that their source is in; those in none come first."""
    alike: dict[str, dict[str, list[Step]]] = {"": {}}
    for step in plan.steps:
        if step.kind is not Kind.SYNTHESISED:
            module = numbered_module(step.spans[0].tensor.name)
            alike.setdefault(without_numbers(module), {}).setdefault(module, []).append(step)
    for modules in filter(None, alike.values()):
        steps = [step for found in modules.values() for step in found]
        sources = {span.tensor.name for step in steps for span in step.spans}
        names = " ".join(fold_names(modules)) or OUTSIDE
        yield Group(names, len(sources), len(steps), sum(step.target.size_bytes for step in steps))


def _lines(by_reason: Mapping[str, list[str]]) -> tuple[Line, ...]:
    return tuple(Line(", ".join(fold_names(names)), len(names), reason) for reason, names in by_reason.items())


def without_numbers(name: str) -> str:
    """A name with `#` for every number in its path: tensors of different blocks are then alike."""
    return ".".join("#" if part.isdecimal() else part for part in name.split("."))

"""The report as JSON: every field under one name, in the units that the name says."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

from dinoport.files.json_file import json_bytes
from dinoport.proofs.verdict import GATE, RUNTIME_GATE
from dinoport.shown.lines import plain, plain_fields

if TYPE_CHECKING:
    from dinoport.codebases.running import LoadingProof
    from dinoport.networks.heads.reading import HeadReading
    from dinoport.proofs.diagnosis.diagnosis import Diagnosis
    from dinoport.proofs.exact import ExactProof
    from dinoport.proofs.exported.findings import ExportedProof
    from dinoport.proofs.genuine import GenuineProof
    from dinoport.proofs.outputs import OutputsProof
    from dinoport.report.report import Report

FORMAT = 2
"""Version of the JSON layout; it grows when a field changes its meaning."""

SEAL = "sha256"
"""The last field of a report: the hash of all before it."""


def report_to_dict(report: Report) -> dict[str, object]:
    """The content of dinoport.json, and of what `--json` prints."""
    return sealed(plain(_content(report)))


def seal(report: Mapping[str, object]) -> str:
    """SHA-256 of a report as it is written, without this hash itself."""
    content = {name: value for name, value in report.items() if name != SEAL}
    return hashlib.sha256(json_bytes(content)).hexdigest()


def sealed(content: Mapping[str, object]) -> dict[str, object]:
    """The same with its seal at the end."""
    return {**content, SEAL: seal(content)}


def is_sealed(text: bytes, report: Mapping[str, object]) -> bool:
    """Whether the `text` of a report is as it was written: it has its own hash."""
    return text == json_bytes(report) and report.get(SEAL) == seal(report)


def _content(report: Report) -> dict[str, object]:
    verdict, source, proofs = report.verdict, report.source, report.proofs
    told = ("exceptions", "assumptions", "failures", "not_shown", "warnings")
    return {
        "format": FORMAT,
        "verdict": {
            "word": verdict.word.value,
            "text": str(verdict),
            **{name: getattr(verdict, name) for name in told},
        },
        "direction": report.direction,
        "ends": report.ends,
        "source": _fields(source, without=("hashes",)),
        "model": {
            "family": report.family,
            "class": report.class_name,
            "settings": report.settings,
            "heads": _if_any(_heads, report.heads),
            "lost": report.lost,
            "transform": report.transform,
        },
        "target": report.target,
        "request": report.request,
        "claimed": report.claimed,
        "accounting": _fields(report.accounting, {"counts": "tensors"}, without=("steps",)),
        "proofs": {
            "exact": _if_any(_exact, proofs.exact),
            "loading": _if_any(_loading, proofs.loading),
            "outputs": _if_any(_outputs, proofs.outputs),
            "pixels": proofs.pixels,
            "genuine": _if_any(_genuine, proofs.genuine),
            "exported": _if_any(_exported, proofs.exported),
        },
        "diagnosis": _if_any(_diagnosis, proofs.diagnosis),
        "files": [{name: getattr(file, name) for name in ("name", "size_bytes", "sha256")} for file in report.files],
        "remarks": report.remarks,
        "versions": report.versions,
        "command": report.command,
        "usage": report.usage,
    }


T = TypeVar("T")


def _if_any(as_data: Callable[[T], dict[str, object]], value: T | None) -> dict[str, object] | None:
    """What was found, as data; null where nothing was."""
    return None if value is None else as_data(value)


def _fields(
    of: Any, renamed: Mapping[str, str] = {}, /, *, without: Collection[str] = (), **others: object
) -> dict[str, object]:
    """The fields of what was found, some under other names, and what is told otherwise; see docs/report.md."""
    names = getattr(of, "_fields", None) or [each.name for each in fields(of)]
    own = {renamed.get(name, name): getattr(of, name) for name in names if name not in without}
    return {**others, **own, **others}  # these first


def _heads(reading: HeadReading) -> dict[str, object]:
    return _fields(reading, without=("width",), found=reading.found, limit=reading.limit)


def _exact(proof: ExactProof) -> dict[str, object]:
    tensors = {name: f"tensors_{name}" for name in ("found", "recomputed", "synthesised", "dropped")}
    renamed = {**tensors, "checksums": "checksums_held", "nonfinite": "nonfinite_values"}
    return _fields(proof, renamed, without=("unheld", "matrices"), passed=proof.passed)


def _loading(proof: LoadingProof) -> dict[str, object]:
    return _fields(proof, {"class_name": "class"}, without=("absent",), passed=proof.passed)


def _genuine(proof: GenuineProof) -> dict[str, object]:
    return _fields(proof, {"differences": "float64"}, without=("rounded",), passed=proof.passed, gate_relative=GATE)


def _exported(proof: ExportedProof) -> dict[str, object]:
    return _fields(
        proof,
        {"unhealed": "as_written"},
        without=("rounds",),
        healed=[{"place": place, "written": one, "meant": other} for place, (one, other) in proof.healed.items()],
        folded=[{"name": name, "of": words} for name, words in proof.folded.items()],
        runtime_gate_relative=RUNTIME_GATE,
    )


def _outputs(proof: OutputsProof) -> dict[str, object]:
    return _fields(
        proof,
        {"table": "table_relative"},
        without=("torch_version",),
        passed=proof.passed,
        torch=str(proof.torch_version),
        gate_relative=GATE,
        blocks=[{"name": name, "float64": both[0], "float32": both[1]} for name, both in proof.blocks.items()],
        other_sizes=[{"size": size, **plain_fields(found)} for size, found in proof.other_sizes.items()],
        uncomputed=[{"size": size, "why": why} for size, why in proof.uncomputed.items()],
    )


def _diagnosis(found: Diagnosis) -> dict[str, object]:
    explains = "part" if found.partly else "all" if found.cause else "nothing"
    return _fields(found, {"remaining": "remaining_relative"}, without=("partly", "of_setting"), explains=explains)

"""The report as JSON: every field under one name, in the units that the name says."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from dinoport.files.json_file import json_bytes
from dinoport.proofs.verdict import GATE, RUNTIME_GATE
from dinoport.shown.lines import plain, plain_fields

if TYPE_CHECKING:
    from dinoport.codebases.running import LoadingProof
    from dinoport.files.output_file import WrittenFile
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
    verdict = report.verdict
    return {
        "format": FORMAT,
        "verdict": {
            "word": verdict.word.value,
            "text": str(verdict),
            "exceptions": verdict.exceptions,
            "assumptions": verdict.assumptions,
            "failures": verdict.failures,
            "not_shown": verdict.not_shown,
            "warnings": verdict.warnings,
        },
        "direction": report.direction,
        "ends": report.ends,
        "source": {
            "where": report.source.where,
            "format": report.source.format,
            "size_bytes": report.source.size_bytes,
            "branch": report.source.branch,
            "stripped": report.source.stripped,
            "others": report.source.others,
            "files": report.source.files,
        },
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
        "accounting": {
            "tensors": report.accounting.counts,
            "size_bytes": report.accounting.size_bytes,
            "groups": report.accounting.groups,
            "dropped": report.accounting.dropped,
            "synthesised": report.accounting.synthesised,
        },
        "proofs": {
            "exact": _if_any(_exact, report.proofs.exact),
            "loading": _if_any(_loading, report.proofs.loading),
            "outputs": _if_any(_outputs, report.proofs.outputs),
            "pixels": report.proofs.pixels,
            "genuine": _if_any(_genuine, report.proofs.genuine),
            "exported": _if_any(_exported, report.proofs.exported),
        },
        "diagnosis": _if_any(_diagnosis, report.proofs.diagnosis),
        "files": _files(report.files),
        "remarks": report.remarks,
        "versions": report.versions,
        "command": report.command,
        "usage": report.usage,
    }


T = TypeVar("T")


def _if_any(as_data: Callable[[T], dict[str, object]], value: T | None) -> dict[str, object] | None:
    """What was found, as data; null where nothing was."""
    return None if value is None else as_data(value)


def _heads(reading: HeadReading) -> dict[str, object]:
    return {"found": reading.found, "layers": reading.layers, "limit": reading.limit, "scores": reading.scores}


def _files(files: Sequence[WrittenFile]) -> list[dict[str, object]]:
    return [{"name": file.name, "size_bytes": file.size_bytes, "sha256": file.sha256} for file in files]


def _exact(proof: ExactProof) -> dict[str, object]:
    return {
        "passed": proof.passed,
        "tensors_found": proof.found,
        "tensors_recomputed": proof.recomputed,
        "tensors_synthesised": proof.synthesised,
        "tensors_dropped": proof.dropped,
        "compared_bytes": proof.compared_bytes,
        "checksums_held": proof.checksums,
        "nonfinite_values": proof.nonfinite,
        "zero_matrices": proof.zero_matrices,
        "problems": proof.problems,
    }


def _loading(proof: LoadingProof) -> dict[str, object]:
    return {
        "passed": proof.passed,
        "class": proof.class_name,
        "library": proof.library,
        "version": proof.version,
        "missing": proof.missing,
        "unexpected": proof.unexpected,
        "mismatched": proof.mismatched,
        "failure": proof.failure,
    }


def _genuine(proof: GenuineProof) -> dict[str, object]:
    return {
        "passed": proof.passed,
        "code": proof.code,
        "gate_relative": GATE,
        "float64": proof.differences,
        "rotation": proof.rotation,
        "failure": proof.failure,
    }


def _exported(proof: ExportedProof) -> dict[str, object]:
    return {
        "producer": proof.producer,
        "opset": proof.opset,
        "any_size": proof.any_size,
        "healed": [{"place": place, "written": one, "meant": other} for place, (one, other) in proof.healed.items()],
        "folded": [{"name": name, "of": words} for name, words in proof.folded.items()],
        "tables": proof.tables,
        "remaining": proof.remaining,
        "missing": proof.missing,
        "as_written": proof.unhealed,
        "runtime": proof.runtime,
        "runtime_gate_relative": RUNTIME_GATE,
        "runtime_difference": proof.runtime_difference,
        "runtime_unshown": proof.runtime_unshown,
        "quantized": proof.quantized,
        "uncompared": proof.uncompared,
    }


def _outputs(proof: OutputsProof) -> dict[str, object]:
    return {
        "passed": proof.passed,
        "size": proof.size,
        "picture": proof.picture,
        "torch": str(proof.torch_version),
        "gate_relative": GATE,
        "float64": proof.float64,
        "float32": proof.float32,
        "blocks": [
            {"name": name, "float64": double, "float32": single} for name, (double, single) in proof.blocks.items()
        ],
        "other_sizes": [{"size": size, **plain_fields(difference)} for size, difference in proof.other_sizes.items()],
        "rounding": proof.rounding,
        "summed": proof.summed,
        "merged": proof.merged,
        "table_relative": proof.table,
        "rotation": proof.rotation,
        "undefined": proof.undefined,
        "blind": proof.blind,
        "drowned": proof.drowned,
        "uncomputed": [{"size": size, "why": why} for size, why in proof.uncomputed.items()],
        "unknown": proof.unknown,
        "failure": proof.failure,
    }


def _diagnosis(found: Diagnosis) -> dict[str, object]:
    return {
        "block": found.block,
        "relative": found.relative,
        "rules": found.rules,
        "cause": found.cause,
        "explains": "part" if found.partly else "all" if found.cause else "nothing",
        "remaining_relative": found.remaining,
        "misplaced": found.misplaced,
        "tried": found.tried,
        "out_of_time": found.out_of_time,
    }

"""The report as JSON: every field under one name, in the units that the name says."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

from dinoport.files.json_file import json_bytes
from dinoport.proofs.verdict import GATE, RUNTIME_GATE

if TYPE_CHECKING:
    from dinoport.codebases.running import LoadingProof
    from dinoport.files.output_file import WrittenFile
    from dinoport.networks.heads.reading import HeadReading
    from dinoport.networks.rotary_vit.rotation import RotationProof
    from dinoport.proofs.diagnosis.diagnosis import Diagnosis
    from dinoport.proofs.difference import Difference
    from dinoport.proofs.exact import ExactProof
    from dinoport.proofs.exported.findings import ExportedProof
    from dinoport.proofs.genuine import GenuineProof
    from dinoport.proofs.outputs import OutputsProof
    from dinoport.proofs.pixels import PixelsProof
    from dinoport.report.report import Report

FORMAT = 2
"""Version of the JSON layout; it grows when a field changes its meaning."""

SEAL = "sha256"
"""The last field of a report: the hash of all before it."""


def report_to_dict(report: Report) -> dict[str, object]:
    """The content of dinoport.json, and of what `--json` prints."""
    return sealed(_content(report))


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
            "exceptions": list(verdict.exceptions),
            "assumptions": list(verdict.assumptions),
            "failures": list(verdict.failures),
            "not_shown": list(verdict.not_shown),
            "warnings": list(verdict.warnings),
        },
        "direction": report.direction,
        "ends": list(report.ends),
        "source": {
            "where": report.source.where,
            "format": report.source.format,
            "size_bytes": report.source.size_bytes,
            "branch": report.source.branch,
            "stripped": list(report.source.stripped),
            "others": list(report.source.others),
            "files": [asdict(file) for file in report.source.files],
        },
        "model": {
            "family": report.family,
            "class": report.class_name,
            "settings": [setting._asdict() for setting in report.settings],
            "heads": _if_any(_heads, report.heads),
            "lost": list(report.lost),
            "transform": dict(report.transform),
        },
        "target": report.target,
        "request": dict(report.request),
        "claimed": list(report.claimed),
        "accounting": {
            "tensors": dict(report.accounting.counts),
            "size_bytes": report.accounting.size_bytes,
            "groups": [asdict(group) for group in report.accounting.groups],
            "dropped": [asdict(line) for line in report.accounting.dropped],
            "synthesised": [asdict(line) for line in report.accounting.synthesised],
        },
        "proofs": {
            "exact": _if_any(_exact, report.proofs.exact),
            "loading": _if_any(_loading, report.proofs.loading),
            "outputs": _if_any(_outputs, report.proofs.outputs),
            "pixels": _pixels(report.proofs.pixels),
            "genuine": _if_any(_genuine, report.proofs.genuine),
            "exported": _if_any(_exported, report.proofs.exported),
        },
        "diagnosis": _if_any(_diagnosis, report.proofs.diagnosis),
        "files": _files(report.files),
        "remarks": list(report.remarks),
        "versions": dict(report.versions),
        "command": report.command,
        "usage": list(report.usage),
    }


T = TypeVar("T")


def _if_any(as_data: Callable[[T], dict[str, object]], value: T | None) -> dict[str, object] | None:
    """What was found, as data; null where nothing was."""
    return None if value is None else as_data(value)


def _heads(reading: HeadReading) -> dict[str, object]:
    scores = [score._asdict() for score in reading.scores]
    return {"found": reading.found, "layers": reading.layers, "limit": reading.limit, "scores": scores}


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
        "nonfinite_values": dict(proof.nonfinite),
        "zero_matrices": list(proof.zero_matrices),
        "problems": list(proof.problems),
    }


def _loading(proof: LoadingProof) -> dict[str, object]:
    return {
        "passed": proof.passed,
        "class": proof.class_name,
        "library": proof.library,
        "version": proof.version,
        "missing": list(proof.missing),
        "unexpected": list(proof.unexpected),
        "mismatched": list(proof.mismatched),
        "failure": proof.failure,
    }


def _genuine(proof: GenuineProof) -> dict[str, object]:
    return {
        "passed": proof.passed,
        "code": proof.code,
        "gate_relative": GATE,
        "float64": _differences(proof.differences),
        "rotation": _finite(proof.rotation),
        "failure": proof.failure,
    }


def _exported(proof: ExportedProof) -> dict[str, object]:
    return {
        "producer": proof.producer,
        "opset": proof.opset,
        "any_size": proof.any_size,
        "healed": [{"place": place, "written": one, "meant": other} for place, (one, other) in proof.healed.items()],
        "folded": [{"name": name, "of": words} for name, words in proof.folded.items()],
        "tables": list(proof.tables),
        "remaining": list(proof.remaining),
        "missing": list(proof.missing),
        "as_written": _if_any(_difference, proof.unhealed),
        "runtime": proof.runtime,
        "runtime_gate_relative": RUNTIME_GATE,
        "runtime_difference": _if_any(_difference, proof.runtime_difference),
        "runtime_unshown": proof.runtime_unshown,
        "quantized": list(proof.quantized),
        "uncompared": list(proof.uncompared),
    }


def _outputs(proof: OutputsProof) -> dict[str, object]:
    return {
        "passed": proof.passed,
        "size": list(proof.size),
        "picture": proof.picture,
        "torch": str(proof.torch_version),
        "gate_relative": GATE,
        "float64": _differences(proof.float64),
        "float32": _differences(proof.float32),
        "blocks": [
            {"name": name, "float64": _difference(double), "float32": _if_any(_difference, single)}
            for name, (double, single) in proof.blocks.items()
        ],
        "other_sizes": [
            {"size": list(size), **_difference(difference)} for size, difference in proof.other_sizes.items()
        ],
        "rounding": _if_any(_difference, proof.rounding),
        "summed": _if_any(_difference, proof.summed),
        "merged": _if_any(_difference, proof.merged),
        "table_relative": _finite(proof.table),
        "rotation": _if_any(_rotation, proof.rotation),
        "undefined": proof.undefined,
        "blind": proof.blind,
        "drowned": list(proof.drowned),
        "uncomputed": [{"size": list(size), "why": why} for size, why in proof.uncomputed.items()],
        "unknown": proof.unknown,
        "failure": proof.failure,
    }


def _rotation(proof: RotationProof) -> dict[str, object]:
    return {name: _finite(value) for name, value in asdict(proof).items()}


def _pixels(proof: PixelsProof | None) -> dict[str, Any] | None:
    return {**asdict(proof), "classes": [asdict(one) for one in proof.classes]} if proof else None


def _diagnosis(found: Diagnosis) -> dict[str, object]:
    return {
        "block": found.block,
        "relative": _finite(found.relative),
        "rules": list(found.rules),
        "cause": found.cause,
        "explains": "part" if found.partly else "all" if found.cause else "nothing",
        "remaining_relative": _finite(found.remaining),
        "misplaced": list(found.misplaced),
        "tried": found.tried,
        "out_of_time": found.out_of_time,
    }


def _differences(differences: Mapping[str, Difference]) -> dict[str, object]:
    return {name: _difference(difference) for name, difference in differences.items()}


def _difference(difference: Difference) -> dict[str, object]:
    """JSON knows no infinity: a difference without limit is null."""
    return {
        "absolute": _finite(difference.absolute),
        "relative": _finite(difference.relative),
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None

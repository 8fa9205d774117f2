"""Graphs that PyTorch's exporters and Transformers' own wrote, against the originals that they were exported from."""

from pathlib import Path

import pytest

from dinoport.api import verify
from dinoport.proofs.verdict import Word
from dinoport.report.report import Report
from dinoport.request import Request
from tests.exports.cases import CASES, RECORDED

pytest.importorskip("torch")
pytest.importorskip("transformers")

ROUNDING = 1e-13
"""Of float64: what is right is far below the gate."""

APART = {"float16", "int8", "size"}
"""Endings of recorded files that have tests of their own."""

ALL = sorted(path.stem for path in RECORDED.glob("*.onnx") if path.stem.rpartition("-")[2] not in APART)

CANNOT = {"dinov2-registers-dynamo20-any", "dinov2-transformers-any"}
"""They claim any size, and have the table of the size that they were traced at."""


def case_of(name: str) -> str:
    return max((case for case in CASES if name.startswith(f"{case}-")), key=len)


def verified(name: str, folder: Path, **asked: object) -> Report:
    case = CASES[case_of(name)]
    return verify(case.write(folder), RECORDED / f"{name}.onnx", case.request.updated(Request(**asked)))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ALL)
def test_a_right_graph_is_equal_far_below_the_gate(name: str, tmp_path: Path) -> None:
    any_size = name.endswith("-any") and not name.startswith("dinov3")
    asked = {"interpolation": "size"} if any_size and name.startswith(("vit", "dinov2-d", "dinov2-t")) else {}
    report = verified(name, tmp_path, **asked)
    outputs, exported = report.proofs.outputs, report.proofs.exported
    assert report.verdict.word is (Word.EQUAL_EXCEPT if name in CANNOT else Word.EQUAL), report.verdict
    assert outputs is not None
    assert exported is not None
    assert outputs.worst < ROUNDING
    assert set(outputs.float64) <= {"tokens", "pooled", "logits"}
    assert max(found.relative for found, _ in outputs.blocks.values()) < ROUNDING
    depth = len(getattr(CASES[case_of(name)].architecture, "depths", "12"))
    assert len(outputs.blocks) >= 1 + depth - 1
    assert bool(outputs.uncomputed) == (name in CANNOT)
    if name.endswith("-any") and name not in CANNOT:
        assert len(outputs.other_sizes) == 2
        assert max(found.relative for found in outputs.other_sizes.values()) < ROUNDING
        assert any(height != width for height, width in outputs.other_sizes)
    assert report.proofs.exact is not None
    assert report.proofs.exact.problems == ()
    assert exported.healed
    assert all(abs(one / other - 1) < 1e-7 for one, other in exported.healed.values())

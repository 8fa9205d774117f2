"""Graphs exported while the tests run, by the exporters that are installed, and run by ONNX Runtime.

Skipped where onnx, onnxscript or onnxruntime is missing; what was recorded is in test_recorded.py.
"""

from pathlib import Path
from typing import Any

import pytest

from dinoport.api import verify
from dinoport.proofs.verdict import RUNTIME_GATE, Word
from dinoport.report.report import Report
from tests.exports.cases import CASES, V2, Exportable
from tests.exports.exporting import export, loaded

pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package)

KINDS = [
    *((name, "dynamo20") for name in CASES),
    ("vit", "torchscript17"),
    ("resnet", "torchscript17"),
    ("dinov2", "dynamo18"),
    ("dinov2", "dynamo23"),
    ("dinov3", "dynamo20-any"),
]
if transformers.__version__ >= "5.23":  # the first to have an exporter of its own
    KINDS += [("dinov2-registers", "transformers"), ("dinov3-convnext", "transformers-any")]


def exported(name: str, kind: str, folder: Path, change: Any = None) -> Report:
    case = CASES[name]
    model = loaded(case, folder)
    if change is not None:
        change(model)
    path = export(model, folder / "model.onnx", kind, case.size, case.architecture.cell)
    return verify(folder / "original.pth", path, case.request)


@pytest.mark.parametrize(("name", "kind"), KINDS)
def test_a_right_graph_is_equal_and_the_runtime_runs_it(name: str, kind: str, tmp_path: Path) -> None:
    report = exported(name, kind, tmp_path)
    outputs, graph = report.proofs.outputs, report.proofs.exported
    assert report.verdict.word is Word.EQUAL, report.verdict
    assert outputs is not None
    assert outputs.worst < 1e-13
    assert graph is not None
    assert graph.runtime_difference is not None
    assert 1e-9 < graph.runtime_difference.relative < RUNTIME_GATE


def with_eps(eps: float) -> Any:
    """Another eps in every norm of a model that is loaded."""
    import torch

    def change(model: Any) -> None:
        for module in model.modules():
            if isinstance(module, torch.nn.LayerNorm):
                module.eps = eps

    return change


def test_a_wrong_eps_is_named_where_float32_cannot_tell(tmp_path: Path) -> None:
    report = exported("vit", "dynamo20", tmp_path, with_eps(1e-12))
    assert report.verdict.word is Word.NOT_EQUAL
    assert report.proofs.diagnosis is not None
    assert report.proofs.diagnosis.cause == "eps: the graph computes with 1e-12, the original with 1e-06"


def with_other_weights(model: Any) -> None:
    """Queries and keys of the first block in each other's place."""
    first = next(module for module in model.modules() if hasattr(module, "q_proj"))
    first.q_proj, first.k_proj = first.k_proj, first.q_proj


def test_weights_in_each_others_place_are_seen_in_the_outputs(tmp_path: Path) -> None:
    """All of them are found by their content."""
    report = exported("dinov2", "dynamo20", tmp_path, with_other_weights)
    assert report.proofs.exact is not None
    assert report.proofs.exact.passed
    assert report.verdict.word is Word.NOT_EQUAL
    assert report.proofs.diagnosis is not None
    assert report.proofs.diagnosis.cause == "queries and keys are swapped in blocks.0"


def test_a_graph_for_another_size_than_the_table_was_made_for(tmp_path: Path) -> None:
    case = Exportable(V2, 42)
    model = loaded(case, tmp_path)
    path = export(model, tmp_path / "model.onnx", "dynamo20", case.size, 7)
    report = verify(tmp_path / "folder", path)
    assert report.verdict.word is Word.EQUAL, report.verdict
    assert report.proofs.outputs is not None
    assert report.proofs.outputs.size == (42, 42)
    assert report.proofs.outputs.table is not None

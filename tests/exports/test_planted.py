"""Every known mistake, made before the model is exported: the graph is rejected, and the mistake named.

The mistakes and their names are those of folders. A right graph of each model is equal far below the gate.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from dinoport.api import verify
from dinoport.networks.resnet.architecture import ResNet
from dinoport.proofs.verdict import Word
from dinoport.report.report import Report
from dinoport.request import Request
from tests import formula
from tests.proofs.mutants import GROUPS, Group, Mutant
from tests.proofs.planting import Mistake, plant
from tests.proofs.test_named_mutants import NAMED

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
for package in ("onnx", "onnxscript"):
    pytest.importorskip(package)

OF_CODE = ("registers behind the patches",)
"""A mistake of the original's code, and of no file."""

ONE_OF_TWO = ("DINO ViT, random weights",)
"""The same mistakes as in a trained model."""

WHOLE = ResNet()
"""Of a ResNet none but the ResNet-50 is read."""

PLANTED = [
    pytest.param(group, mutant, id=f"{group.name}: {mutant.name}")
    for group in GROUPS
    for mutant in group.mutants
    if group.name not in ONE_OF_TWO and mutant.name not in OF_CODE
]


def exported(group: Group, mistake: Mistake, folder: Path) -> Report:
    """What is said of the graph of a folder with a mistake in it."""
    from tests.exports.exporting import export

    original = group.original
    if group.name == "DINO ResNet":
        original = replace(original, architecture=WHOLE)
    planted = plant(original, mistake, folder / "folder")
    planted.runner.load("float32")
    arrays = original.arrays() if original.arrays else formula.state_dict(original.architecture.tensors())
    torch.save({name: torch.from_numpy(array.copy()) for name, array in arrays.items()}, folder / "original.pth")
    kind = "dynamo20" if "registers" in group.name else "torchscript17"  # which refuses antialiased tables
    path = export(planted.runner.model, folder / "model.onnx", kind, planted.case.image_size)
    heads, eps = (getattr(original.architecture, name, None) for name in ("heads", "layer_norm_eps"))
    return verify(folder / "original.pth", path, Request(num_heads=heads, layer_norm_eps=eps))


@pytest.mark.parametrize(("group", "mutant"), PLANTED)
def test_a_mistake_before_the_export_is_named(group: Group, mutant: Mutant, tmp_path: Path) -> None:
    report = exported(group, mutant.mistake, tmp_path)
    assert report.verdict.word is Word.NOT_EQUAL
    assert report.proofs.diagnosis is not None
    _, cause = NAMED[group.name][mutant.name]
    assert report.proofs.diagnosis.cause == cause.replace("the folder", "the graph")


@pytest.mark.parametrize("group", [each for each in GROUPS if each.name not in ONE_OF_TWO], ids=lambda g: g.name)
def test_without_a_mistake_the_graph_is_equal(group: Group, tmp_path: Path) -> None:
    report = exported(group, Mistake(), tmp_path)
    assert report.verdict.word is Word.EQUAL, report.verdict
    assert report.proofs.outputs is not None
    assert report.proofs.outputs.worst < 1e-13
    assert report.proofs.exact is not None
    assert report.proofs.exact.problems == ()

"""Adding is adding: a relative from outside the package converts, proves and returns by one line of the catalogue."""

import json
from pathlib import Path

import pytest
import torch

from dinoport import api
from dinoport.codebases import catalogue
from dinoport.codebases.codebase import Naming
from dinoport.errors import UnknownModelError
from dinoport.mapping.encoding import encode
from dinoport.mapping.rule import Rule, copy
from dinoport.proofs.verdict import Word
from dinoport.tensor import ArrayValues, TensorRef
from tests import formula, models
from tests.codebases import relative


@pytest.fixture
def source(tmp_path) -> Path:
    """The lab's checkpoint: its own names, and a decoder."""
    state = formula.state_dict(models.VIT.tensors())
    tensors = {name: TensorRef(name, each.dtype, each.shape, ArrayValues(each)) for name, each in state.items()}
    steps = encode(tensors, relative.RULES).plan.steps
    own = {step.target.name: torch.from_numpy(step.tensor().read()) for step in steps}
    path = tmp_path / "lab.pth"
    torch.save({**own, "decoder.weight": torch.ones(2, 2)}, path)
    return path


@pytest.fixture
def added(monkeypatch) -> None:
    """The one line."""
    monkeypatch.setattr(catalogue, "NAMINGS", (relative.NAMING, *catalogue.NAMINGS))


def test_without_its_line_it_is_refused(source: Path, tmp_path) -> None:
    with pytest.raises(UnknownModelError, match="is not a model of the DINO family"):
        api.convert(source, tmp_path / "out")


@pytest.mark.usefixtures("added")
def test_it_converts_is_proven_and_returns(source: Path, tmp_path) -> None:
    out, back = tmp_path / "out", tmp_path / "back"
    report = api.convert(source, out)
    assert report.verdict.word is Word.EQUAL_EXCEPT  # for the crop of some sizes
    assert report.ends == ("Lab ViT (lab/vision)", "ViTModel")
    assert any(text.startswith("eps = 1e-12 (as in the lab's code)") for text in report.verdict.assumptions)
    assert [line.names for line in report.accounting.dropped] == ["decoder.weight"]
    config = json.loads((out / "config.json").read_text())
    assert (config["layer_norm_eps"], config["dinoport"]["family"]) == (1e-12, "lab")
    assert api.verify(source, out).verdict.word is Word.EQUAL_EXCEPT

    returned = api.convert(out, back, to="original")
    assert returned.verdict.word is Word.EQUAL
    assert returned.ends == ("ViTModel", "Lab ViT (lab/vision)")
    before, after = torch.load(source), torch.load(back / "checkpoint.pth")
    assert before.keys() - after.keys() == {"decoder.weight"}
    assert all(torch.equal(before[name], tensor) for name, tensor in after.items())
    assert api.verify(source, back / "checkpoint.pth").verdict.word is Word.EQUAL


@pytest.mark.usefixtures("added")
def test_a_wrong_table_is_not_equal(source: Path, tmp_path, monkeypatch) -> None:
    """The check itself can fail: the folder was made by the right table, and is read by another."""
    api.convert(source, tmp_path / "out")
    monkeypatch.setattr(relative, "RULES", _with_norms_swapped())
    assert api.verify(source, tmp_path / "out", level="exact").verdict.failed


def _with_norms_swapped() -> tuple[Rule, ...]:
    others = [rule for rule in relative.RULES if rule.source and "norm{n}" not in rule.source.template]
    return (
        *others,
        copy("blocks.{i}.norm1.{p}", "layers.{i}.ln2.{p}"),
        copy("blocks.{i}.norm2.{p}", "layers.{i}.ln1.{p}"),
    )


def test_a_family_is_found_by_its_name_alone(added: None) -> None:
    assert catalogue.naming_of("lab") is relative.NAMING
    assert catalogue.naming_of("nobody") is None
    assert isinstance(catalogue.naming_of("dino"), Naming)

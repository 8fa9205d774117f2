"""Averages of models, as torch's AveragedModel saves them: the model, and a count that no class has a place for."""

from pathlib import Path
from typing import Any

import pytest

from dinoport.api import convert
from dinoport.codebases.catalogue import NAMINGS
from dinoport.codebases.drops import AVERAGED
from dinoport.codebases.relative import Relative
from dinoport.proofs.verdict import Word
from dinoport.request import Request
from tests.families import test_timm
from tests.families.cases import BY_NAME, Case, averaged, tensors

torch = pytest.importorskip("torch")

PLAIN = ("vit", "resnet", "dinov2", "dinov3", "dinov3-convnext")
"""One case of each original, by its name."""


def lines_of(source: Path, folder: Path, **wishes: Any) -> tuple[Word, list[tuple[str, str]], list[str]]:
    report = convert(source, folder, Request(**wishes), level="exact")
    dropped = [(line.names, line.reason) for line in report.accounting.dropped]
    return report.verdict.word, dropped, list(report.source.stripped)


def test_torch_counts_under_this_name() -> None:
    average = torch.optim.swa_utils.AveragedModel(torch.nn.Linear(2, 3))
    assert set(average.state_dict()) == {"n_averaged", "module.weight", "module.bias"}
    assert average.n_averaged.shape == ()


def test_every_original_has_a_case() -> None:
    originals = [naming.family for naming in NAMINGS if naming.family and not isinstance(naming.code, Relative)]
    shapes = [BY_NAME[name].architecture.tensors() for name in PLAIN]
    namings = [next(naming for naming in NAMINGS if naming.recognises(own)) for own in shapes]
    assert [naming.family for naming in namings] == originals


@pytest.mark.parametrize("case", [BY_NAME[name] for name in PLAIN], ids=PLAIN)
@pytest.mark.parametrize("key", ["", "model_ema"])
def test_the_count_is_dropped_and_named(case: Case, key: str, tmp_path: Path) -> None:
    state = tensors(averaged(case.state()))
    torch.save({key: state, "epoch": 3} if key else state, tmp_path / "ema.pth")
    word, dropped, notes = lines_of(tmp_path / "ema.pth", tmp_path / "out")
    assert word is Word.TRANSPORTED
    assert ("n_averaged", AVERAGED.reason) in dropped
    assert f"prefix 'module.' stripped from {len(case.state())} names" in notes
    remarks = convert(tmp_path / "out", tmp_path / "back", to="original", level="exact").remarks
    assert "n_averaged (a counter of training) is not in the folder, and its values do not return" in remarks


def test_an_average_under_the_names_of_timm(tmp_path: Path) -> None:
    torch.save(tensors(averaged(test_timm.state("dinov2"))), tmp_path / "ema.pth")
    word, dropped, _ = lines_of(tmp_path / "ema.pth", tmp_path / "out", num_heads=3)
    assert word is Word.TRANSPORTED
    assert ("n_averaged", AVERAGED.reason) in dropped

"""The outputs proof rejects every known mistake, and says of what is equal that it is."""

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from dinoport.api import convert
from dinoport.cli import program as cli
from dinoport.codebases.transformers import vit
from dinoport.errors import NotProvenError
from dinoport.mapping.rule import Rule
from dinoport.proofs.verdict import GATE, Proofs, Word, judge
from tests import tiny
from tests.fixtures.mapping.cases import CASES

pytest.importorskip("torch")
pytest.importorskip("transformers")

from tests.proofs.faults import with_rules
from tests.proofs.mutants import GROUPS, UNSEEN, Group, Mutant, table
from tests.proofs.planting import Mistake, Original, show, swap_all, swapped

PROOF_PAGE = Path(__file__).parents[2] / "docs" / "proof.md"


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)
def test_without_a_mistake_both_are_equal(group: Group, tmp_path: Path) -> None:
    shown = show(group.original, Mistake(), tmp_path)
    assert shown.exact.problems == ()
    assert shown.outputs.passed
    assert shown.outputs.worst < UNSEEN


@pytest.mark.parametrize(
    ("group", "mutant"), [pytest.param(g, m, id=f"{g.name}: {m.name}") for g in GROUPS for m in g.mutants]
)
def test_a_mistake_is_rejected(group: Group, mutant: Mutant, tmp_path: Path) -> None:
    """The exact proof takes tables and config for granted, and transports what they get wrong faithfully."""
    shown = show(group.original, mutant.mistake, tmp_path)
    assert shown.exact.passed == (mutant.mistake.values is dict)
    assert not shown.outputs.passed
    assert judge(Proofs(shown.exact, outputs=shown.outputs), ()).word is Word.NOT_EQUAL
    if mutant.relative is not None:
        assert shown.outputs.worst == pytest.approx(mutant.relative, rel=0.06)
        assert mutant.relative > 100 * GATE


@dataclass(frozen=True)
class Swaps:
    """One recorded model with the number of pairs of one shape, and those of them that no output shows."""

    name: str
    pairs: int
    unseen: frozenset[tuple[str, str]] = frozenset()
    image_size: int = 12


KEYS = frozenset({("encoder.layer.0.attention.attention.key.bias", "encoder.layer.1.attention.attention.key.bias")})
"""A softmax without rotary positions does not see its keys' bias."""

SUMMANDS = frozenset(
    (
        f"encoder.stages.{stage}.layers.0.shortcut.normalization.bias",
        f"encoder.stages.{stage}.layers.0.layer.2.normalization.bias",
    )
    for stage in range(4)
)
"""They are added to each other: swapped, they are another file of the same network."""

SWAPS = (
    Swaps("dino.ViTModel", 270, KEYS),
    Swaps("dino_resnet.ResNetModel", 362, SUMMANDS, image_size=32),
    Swaps("dinov2.Dinov2WithRegistersModel.swiglu", 331, KEYS),
    Swaps("dinov3.DINOv3ViTModel.mlp", 285),
    Swaps("dinov3.DINOv3ViTModel.live_key_bias", 332),
    Swaps("dinov3_convnext.DINOv3ConvNextModel", 193, image_size=32),
)


@pytest.mark.parametrize("swaps", SWAPS, ids=lambda swaps: swaps.name)
def test_outputs_see_every_swap_of_two_tensors(swaps: Swaps, tmp_path: Path) -> None:
    """All pairs of one shape, but for those that compute the same: the recorded lists pin these alone."""
    case = next(case for case in CASES if case.name == swaps.name)
    moved = {
        (one, other): moved
        for one, other, moved in swap_all(Original(case.family, case.architecture, swaps.image_size), tmp_path)
    }
    assert len(moved) == swaps.pairs
    assert {pair for pair in moved if moved[pair] <= GATE} == swaps.unseen
    assert all(moved[pair] < UNSEEN for pair in swaps.unseen)
    assert min(figure for pair, figure in moved.items() if pair not in swaps.unseen) > 1e-3


def test_the_page_about_proofs_has_these_figures() -> None:
    assert table() in PROOF_PAGE.read_text(encoding="utf-8")


def wrong_table(monkeypatch: pytest.MonkeyPatch) -> None:
    rules: list[Rule] = swapped((".query.", ".key."))(vit.VIT.rules)
    with_rules(tuple(rules), monkeypatch)


def test_a_wrong_table_publishes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong_table(monkeypatch)
    source = tiny.write(tmp_path / "checkpoint.pth")
    with pytest.raises(NotProvenError, match="the result is not equal to it; no folder was written") as raised:
        convert(source, tmp_path / "folder", tiny.REQUEST)
    report = raised.value.report
    assert report.verdict.word is Word.NOT_EQUAL
    assert report.proofs.exact.passed
    assert str(report.verdict).startswith("not equal: outputs differ by 6.7e-01, where 1e-09 is allowed")
    assert not (tmp_path / "folder").exists()


def test_a_wrong_table_exits_with_3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong_table(monkeypatch)
    source = tiny.write(tmp_path / "checkpoint.pth")
    monkeypatch.setattr(sys, "argv", ["dinoport", "convert", str(source), str(tmp_path / "folder"), "--num-heads", "2"])
    with pytest.raises(SystemExit) as raised:
        cli.main()
    assert raised.value.code == 3
    assert "is not equal to it; no folder was written" in capsys.readouterr().err

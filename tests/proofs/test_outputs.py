"""The outputs proof: what it compares, at which sizes, and what it says of values that cannot be compared."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from dinoport.api import convert
from dinoport.codebases.running import Pass
from dinoport.networks.rotary_vit.architecture import RotaryViT
from dinoport.networks.vit.architecture import ViT
from dinoport.proofs.comparison import Comparison, noise_of
from dinoport.proofs.dependence import compare_blocks
from dinoport.proofs.difference import Difference
from dinoport.proofs.verdict import GATE, Word
from dinoport.request import Request
from tests import formula
from tests.models import classifying, renamed

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

VIT = ViT(width=64, depth=2, heads=1, mlp_hidden=96, patch_size=8, image_size=64)
CLASSIFYING = classifying(VIT, 3)
INFINITE = Difference(float("inf"), float("inf"))


def write(path: Path, model: ViT = VIT, **changed: float) -> Path:
    """`changed` sets one value in the named tensor, dots as underscores."""
    shapes = renamed(model.tensors(), "classifier", "head")
    state = {name: torch.from_numpy(values.copy()) for name, values in formula.state_dict(shapes).items()}
    for name, value in changed.items():
        state[name.replace("__", ".")].view(-1)[5] = value
    torch.save(state, path)
    return path


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(
    ("ours", "theirs", "difference"),
    [
        (tensor(1, -4), tensor(1, -4), Difference(0.0, 0.0)),
        (tensor(1, -4), tensor(1.5, -4), Difference(0.5, 0.125)),
        (tensor(0, 0), tensor(0, 0), Difference(0.0, 0.0)),
        (tensor(1, 2), tensor(1, 2, 3), INFINITE),
        (tensor(1, 2), tensor(1, np.nan), INFINITE),
        (tensor(1, np.nan), tensor(1, 2), INFINITE),
        (tensor(np.nan, 2), tensor(1, np.nan), INFINITE),
        (tensor(np.nan, 2), tensor(np.nan, 2.5), Difference(0.5, 0.25)),
        (tensor(np.nan, np.inf), tensor(np.nan, np.inf), Difference(0.0, 0.0)),
    ],
)
def test_a_difference_is_the_largest_and_relative_to_the_largest_value(
    ours: torch.Tensor, theirs: torch.Tensor, difference: Difference
) -> None:
    assert Difference.between(ours, theirs) == difference


def through(*outputs: torch.Tensor) -> Pass:
    return Pass({}, dict(zip(("embedding", "blocks.0", "blocks.1"), outputs, strict=False)))


@pytest.mark.parametrize(
    ("added", "wrong", "drowned", "failure"),
    [
        (1.0, 0.0, (), None),
        (1e-3, 0.0, (), None),
        (1e-3, 1e-4, (), "what blocks.0 adds differs by 1.0e-04 of it"),
        (1e-5, 0.0, ("blocks.0",), None),
        (1e-5, 1e-2, ("blocks.0",), "what blocks.0 adds differs by 1.0e-02 of it"),
        (1e-12, 1.0, ("blocks.0",), None),
    ],
)
def test_a_block_is_held_against_what_it_adds(
    added: float, wrong: float, drowned: tuple[str, ...], failure: str | None
) -> None:
    """Though of what passes it the difference is nearly nothing; where rounding hides even that, the block is named."""
    passing = torch.full((1, 2, 4), 1000.0, dtype=torch.float64)
    places = torch.tensor([[[1.0], [-1.0]]], dtype=torch.float64)
    ours, theirs = (through(passing, passing + added * share * places) for share in (1, 1 + wrong))
    found, lost, what = compare_blocks(ours, theirs)
    assert found["blocks.0"].relative < GATE
    assert (lost, what) == (drowned, failure)


def test_every_output_is_compared_and_float32_is_reported_beside_it(tmp_path: Path) -> None:
    report = convert(write(tmp_path / "vit.pth", CLASSIFYING), tmp_path / "out")
    proof = report.proofs.outputs
    assert set(proof.float64) == set(proof.float32) == {"tokens", "logits"}
    assert proof.worst < 1e-12
    assert 1e-9 < max(difference.relative for difference in proof.float32.values()) < 1e-5
    assert proof.size == (64, 64)


def test_other_sizes_show_the_known_difference(tmp_path: Path) -> None:
    report = convert(write(tmp_path / "vit.pth"), tmp_path / "out", all_sizes=True)
    assert report.verdict.word is Word.EQUAL_EXCEPT
    sizes = report.proofs.outputs.other_sizes
    assert list(sizes) == [(80, 80), (64, 48)]
    assert all(difference.relative > 1e-3 for difference in sizes.values())
    known = "position tables are resampled by another rule"
    assert report.verdict.exceptions == (
        *(f"at {height}×{width} ({difference.relative:.1e}: {known})" for (height, width), difference in sizes.items()),
        *report.proofs.pixels.exceptions,
    )


@pytest.mark.parametrize(("dtype", "unit"), [("float16", 2**-11), ("bfloat16", 2**-8)])
def test_a_cast_is_equal_to_the_original_rounded_alike(dtype: str, unit: float, tmp_path: Path) -> None:
    report = convert(write(tmp_path / "vit.pth"), tmp_path / "out", Request(dtype=dtype))
    proof = report.proofs.outputs
    assert proof.worst < 1e-12
    assert unit / 10 < proof.rounding.relative < 10 * unit
    rounded = f"for rounding (outputs move by {proof.rounding.relative:.1e})"
    assert report.verdict.exceptions == (rounded, *report.proofs.pixels.exceptions)


@pytest.mark.parametrize("size", [48, 96])
def test_a_baked_table_is_equal_at_its_size(size: int, tmp_path: Path) -> None:
    report = convert(write(tmp_path / "vit.pth"), tmp_path / "out", Request(image_size=size))
    proof = report.proofs.outputs
    assert proof.size == (size, size)
    assert proof.worst < 1e-12
    assert proof.table is not None
    assert 0 < proof.table < 2**-23


def test_weights_that_are_not_finite_leave_outputs_unshown(tmp_path: Path) -> None:
    source = write(tmp_path / "vit.pth", blocks__1__mlp__fc2__bias=np.nan)
    report = convert(source, tmp_path / "out", allow_nonfinite=True)
    proof = report.proofs.outputs
    assert proof.undefined == 65 * 64
    assert not proof.passed
    assert not proof.differs
    assert report.verdict.word is Word.TRANSPORTED
    excepted = ("that 1 value is not finite, as in the original", *report.proofs.pixels.exceptions)
    assert str(report.verdict).startswith(
        "transported exactly (outputs not shown: the original's own are not finite), "
        f"except {'; '.join(excepted)}, assuming codebase = not known ("
    )
    assert report.verdict.not_shown[0] == "outputs"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_one_channel_that_is_not_finite_is_no_difference_of_the_pooler(tmp_path: Path, value: float) -> None:
    """An identity matrix makes NaN of all of a CLS token; what is finite of the other tokens is still compared."""
    source = write(tmp_path / "vit.pth", norm__weight=value)
    report = convert(source, tmp_path / "out", allow_nonfinite=True)
    assert report.proofs.outputs.undefined == 65
    assert report.proofs.outputs.float64["pooled"] == Difference(0.0, 0.0)
    assert not report.proofs.outputs.differs
    assert report.verdict.word is Word.TRANSPORTED


def test_weights_that_are_not_finite_and_are_not_read_hide_nothing(tmp_path: Path) -> None:
    """A classifier row of NaN spoils one logit of each picture; tokens are still compared."""
    source = write(tmp_path / "vit.pth", CLASSIFYING, head__weight=np.inf)
    report = convert(source, tmp_path / "out", allow_nonfinite=True)
    assert report.proofs.outputs.undefined == 1
    assert report.proofs.outputs.worst < GATE
    assert report.verdict.word is Word.TRANSPORTED


def test_a_model_of_four_channels_is_compared_on_noise(tmp_path: Path) -> None:
    report = convert(write(tmp_path / "vit.pth", replace(VIT, channels=4)), tmp_path / "out")
    assert report.proofs.outputs.picture == "noise of 4 channels"
    assert report.proofs.outputs.worst < 1e-12
    np.testing.assert_array_equal(noise_of(4, (8, 8)), noise_of(4, (8, 8)))


class Counted(Mapping[str, torch.Tensor]):
    """A state that counts how often each tensor is read."""

    def __init__(self, state: Mapping[str, torch.Tensor]) -> None:
        self.state, self.reads = state, Counter[str]()

    def __getitem__(self, name: str) -> torch.Tensor:
        self.reads[name] += 1
        return self.state[name]

    def __contains__(self, name: object) -> bool:
        return name in self.state

    def __iter__(self) -> Iterator[str]:
        return iter(self.state)

    def __len__(self) -> int:
        return len(self.state)


def test_rounded_rotations_read_each_weight_once_and_give_what_a_pass_by_itself_gives() -> None:
    model = RotaryViT(64, 2, 2, 96, 8, image_size=32, registers=1, rope_rounded=True)
    periods = torch.tensor(100.0) ** (torch.arange(8) / 8)
    state = {name: torch.from_numpy(values).double() for name, values in formula.state_dict(model.tensors()).items()}
    state |= {"rope_embed.periods": periods.bfloat16().double()}
    images = torch.from_numpy(np.random.default_rng(1).standard_normal((2, 3, 32, 32)))
    forward = model.network.code.forward
    exact = model.network.rotation_code.rotation_of(model, 4, 4)
    counted, case = Counted(state), Comparison(model, {}, None, 32)  # type: ignore[arg-type]  # nothing else runs

    ours, rounded = case.forward_rotated(counted, images, {"rotation": exact})

    bfloat16 = {"rope_dtype": torch.bfloat16, "rotation_dtype": torch.bfloat16}
    alone = [forward(state, model, images, **options) for options in ({"rotation": exact}, {}, bfloat16)]
    assert max(counted.reads[name] for name in model.tensors() if name != "rope_embed.periods") == 1
    for found, expected in zip((ours.outputs, *rounded), alone, strict=True):
        assert found.keys() == expected.keys()
        assert max(float((found[name] - expected[name]).abs().max()) for name in found) < 1e-11
    assert all(len(output) == len(images) for output in ours.blocks.values())
    apart = [float((one["tokens"] - other["tokens"]).abs().max()) for one, other in pairwise(alone)]
    assert min(apart) > 1e-6


@pytest.mark.parametrize("level", ["exact", "full"])
@pytest.mark.parametrize(("to", "computed"), [("original", False), ("transformers", True), ("timm", True)])
def test_rounded_periods_are_an_exception_where_the_target_computes_them(
    to: str, computed: bool, level: str, tmp_path
) -> None:
    model = RotaryViT(64, 2, 2, 96, 8, image_size=32, registers=1, rope_rounded=True)
    state = {name: torch.from_numpy(values) for name, values in formula.state_dict(model.tensors()).items()}
    periods = (torch.tensor(100.0) ** (torch.arange(8) / 8)).bfloat16().float()
    named = {f"backbone.{name}": tensor for name, tensor in {**state, "rope_embed.periods": periods}.items()}
    torch.save({"teacher": named}, tmp_path / "checkpoint.pth")
    report = convert(tmp_path / "checkpoint.pth", tmp_path / "out", Request(to=to, num_heads=2), level=level)
    assert any("rope periods" in exception for exception in report.verdict.exceptions) == computed

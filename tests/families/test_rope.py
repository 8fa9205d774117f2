"""The base of rotary periods: exact ones tell it, rounded ones leave a choice that a run's config makes."""

import ml_dtypes
import numpy as np
import pytest

from dinoport.codebases.codebase import Evidence
from dinoport.codebases.dinov3.vit import read
from dinoport.errors import UnknownModelError
from dinoport.formats.run_config import RunConfig
from dinoport.model import Setting
from dinoport.networks.rotary_vit.architecture import RotaryViT
from dinoport.networks.rotary_vit.rope import find_base
from dinoport.tensor import Array, ArrayValues, TensorRef
from tests import formula
from tests.error_text import error_text


def rounded(base: float, count: int) -> Array:
    return (base ** (np.arange(count) / count)).astype(ml_dtypes.bfloat16)


@pytest.mark.parametrize("base", [100.0, 50.0, 1000.0, 10_000.0, 123.5])
@pytest.mark.parametrize("count", [4, 12, 16, 32])
def test_exact_periods_tell_their_base(base: float, count: int) -> None:
    found = find_base(formula.periods(count, base))
    assert found is not None
    assert (found.theta, found.rounded) == (base, False)


@pytest.mark.parametrize("count", [4, 16, 32])
def test_rounded_periods_tell_that_they_are_rounded(count: int) -> None:
    found = find_base(rounded(100.0, count))
    assert found is not None
    assert (found.theta, found.rounded) == (100.0, True)


def test_periods_between_limits_follow_from_no_base() -> None:
    assert find_base(np.geomspace(0.5, 90, 16).astype(np.float32)) is None
    assert find_base(np.array([1, np.nan], np.float32)) is None
    assert find_base(np.array([1, -3], np.float32)) is None


def base_read(periods: Array, said: float | None) -> Setting[object]:
    model = RotaryViT(width=64, depth=1, heads=1, mlp_hidden=128, patch_size=16)
    state = formula.state_dict(model.tensors()) | {"rope_embed.periods": periods}
    tensors = {name: TensorRef(name, data.dtype, data.shape, ArrayValues(data)) for name, data in state.items()}
    values = {"student": {"pos_embed_rope_base": said}}
    config = RunConfig("run/config.yaml", values) if said else None
    settings = read(Evidence("weights.pth", tensors, config=config)).settings
    return next(setting for setting in settings if setting.name == "rope base")


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (None, "100.0 (the shortest number whose powers bfloat16 rounds to rope_embed.periods)"),
        (100.2, "100.2 (config.yaml; rope_embed.periods are rounded)"),
        (50.0, "100.0 (the shortest number whose powers bfloat16 rounds to rope_embed.periods)"),
    ],
)
def test_a_config_chooses_among_the_bases_that_rounding_leaves(said: float | None, text: str) -> None:
    found = base_read(rounded(100.2, 16), said)
    assert f"{found.value} ({found.reason})" == text
    assert found.origin.value == "inferred"


def test_a_model_that_was_cast_to_float16_is_refused_and_told_so() -> None:
    with pytest.raises(UnknownModelError) as error:
        base_read((100.0 ** (np.arange(16) / 16)).astype(np.float16), None)
    assert str(error.value) == (
        "no base gives the rotary periods of weights.pth, and Transformers stores a base alone\n"
        "  where: rope_embed.periods\n"
        "  expected: base ** (2k / (head dimension / 2)) for one base\n"
        "  found: 1, 1.334, 1.778, 2.371 …\n"
        "  likely cause: a model that was cast to float16, the periods too, which then follow no base any more\n"
        "  try: give the weights as they were before the cast; `dtype='float16'` rounds them here"
    )


def test_a_model_without_a_base_is_refused() -> None:
    message = error_text(UnknownModelError, lambda: base_read(np.geomspace(0.5, 90, 16).astype(np.float32), None))
    assert "and Transformers stores a base alone" in message
    assert "  found: 0.5, 0.7068, 0.9992, 1.413 …" in message
    assert "outputs would be off (by about 0.8 in the model that was measured)" in message

"""Numbers read as they were meant: what is healed, and what is left as it is."""

import math

import numpy as np
import pytest

from dinoport.exports.evaluation import Healing, meant

FLOAT32, FLOAT16 = np.dtype(np.float32), np.dtype(np.float16)
WIDTHS = frozenset({8, 16, 64})


def single(value: float) -> float:
    return float(np.float32(value))


@pytest.mark.parametrize(
    "value", [1e-6, 1e-5, 1e-12, 0.044715, 1.702, 0.2, math.sqrt(2), 1 / math.sqrt(2), 2 * math.pi]
)
def test_a_number_that_float32_rounded_is_what_it_was(value: float) -> None:
    assert single(value) != value
    assert meant(single(value), FLOAT32) == value
    assert meant(-single(value), FLOAT32) == -value


@pytest.mark.parametrize("power", [-0.5, -0.25, 0.25])
def test_roots_are_those_of_the_heads_widths(power: float) -> None:
    root = 8**power
    assert meant(single(root), FLOAT32, WIDTHS) == root
    assert meant(single(root), FLOAT32, frozenset({80})) == single(root)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.5, 3.0, float("inf"), 0.123456789, 1.0000001])
def test_any_other_number_is_taken_as_it_is(value: float) -> None:
    assert meant(single(value), FLOAT32, WIDTHS) == single(value)


def test_not_a_number_stays_none() -> None:
    assert math.isnan(meant(float("nan"), FLOAT32))


def test_in_float16_short_decimals_are_hardly_told_from_others() -> None:
    root = float(np.float16(8**-0.25))
    assert meant(root, FLOAT16, WIDTHS) == 8**-0.25
    assert meant(float(np.float16(1e-5)), FLOAT16) == 1e-5
    assert meant(float(np.float16(0.5947)), FLOAT16) == float(np.float16(0.5947))


def test_in_float64_a_number_may_have_been_rounded_before() -> None:
    wide = np.dtype(np.float64)
    assert meant(single(8**-0.25), wide, WIDTHS) == 8**-0.25
    assert meant(math.sqrt(single(8**-0.5)), wide, WIDTHS) == 8**-0.25
    assert meant(single(1e-6), wide) == 1e-6
    assert meant(0.59460356, wide, WIDTHS) == 0.59460356


def test_what_was_healed_is_kept_with_its_place() -> None:
    healing, as_it_is = Healing(), Healing(active=False)
    assert healing.read("norm epsilon", single(1e-6)) == 1e-6
    assert healing.read("scale", 0.5) == 0.5
    assert healing.healed == {"norm epsilon": (single(1e-6), 1e-6)}
    assert as_it_is.read("norm epsilon", single(1e-6)) == single(1e-6)
    assert as_it_is.healed == {}

import ml_dtypes
import numpy as np
import pytest

from dinoport.files.census import Census, take_census

FLOATS = [np.float16, ml_dtypes.bfloat16, np.float32, np.float64]


@pytest.mark.parametrize(("dtype", "mantissa_bits"), [(np.float16, 10), (ml_dtypes.bfloat16, 7)])
def test_every_pattern_of_16_bits(dtype, mantissa_bits):
    """A NaN has all bits of the exponent and any bit of the mantissa."""
    every = np.arange(2**16, dtype=np.uint16).view(dtype)
    assert take_census(every) == Census(nan=2 * (2**mantissa_bits - 1), infinite=2, all_zero=False)
    assert take_census(every[: 2**15]) == Census(nan=2**mantissa_bits - 1, infinite=1, all_zero=False)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("sign", [1, -1])
def test_one_value_among_the_largest_finite_ones(dtype, sign):
    largest = ml_dtypes.finfo(dtype).max
    block = np.array([largest, -largest, 0.0, -0.0, 1.0], dtype)
    assert take_census(block) == Census(all_zero=False)
    infinite, undefined = block.copy(), block.copy()
    infinite[2] = sign * np.inf
    undefined[2] = np.copysign(np.nan, sign)
    assert take_census(infinite) == Census(infinite=1, all_zero=False)
    assert take_census(undefined) == Census(nan=1, all_zero=False)


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_smallest_and_the_largest_nan(dtype):
    """A NaN is any pattern beyond infinity, whatever its sign and payload."""
    width = np.dtype(dtype).itemsize
    infinities = np.array([np.inf, -np.inf], dtype).view(f"u{width}")
    sign = np.array(2 ** (8 * width - 1), infinities.dtype)
    for pattern in (infinities[0] + 1, sign - 1, infinities[1] + 1, sign + (sign - 1)):
        assert take_census(np.array([pattern], infinities.dtype).view(dtype)) == Census(nan=1, all_zero=False)


def test_integers_are_finite():
    assert take_census(np.array([-1, 2**63 - 1], np.int64)) == Census(all_zero=False)
    assert take_census(np.zeros(3, np.int64)) == Census()


@pytest.mark.parametrize("dtype", FLOATS)
def test_zeros_of_both_signs_are_zeros_and_the_smallest_number_of_either_is_not(dtype):
    zeros = np.array([0.0, -0.0] * 4, dtype)
    assert take_census(zeros) == take_census(zeros[::2].copy()) == take_census(zeros[1::2].copy()) == Census()
    bits = zeros.view(f"u{np.dtype(dtype).itemsize}")
    for smallest in (bits[0] + 1, bits[1] + 1):
        one = bits.copy()
        one[5] = smallest
        assert take_census(one.view(dtype)) == Census(all_zero=False)


def test_what_was_seen_adds_up():
    assert Census(1, 2, all_zero=False) + Census(3, 4, all_zero=False) == Census(4, 6, all_zero=False)
    assert Census(1, 2, all_zero=False).nonfinite == 3
    assert Census() + Census() == Census() == take_census(np.array([], np.float32))
    assert not (Census() + Census(all_zero=False)).all_zero
    assert not (Census(all_zero=False) + Census()).all_zero

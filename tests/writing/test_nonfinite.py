from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from dinoport.writing.nonfinite import NonFinite, count_nonfinite

FLOATS = [np.float16, ml_dtypes.bfloat16, np.float32, np.float64]


@pytest.mark.parametrize(("dtype", "mantissa_bits"), [(np.float16, 10), (ml_dtypes.bfloat16, 7)])
def test_every_pattern_of_16_bits(dtype, mantissa_bits):
    """A NaN has all bits of the exponent and any bit of the mantissa."""
    every = np.arange(2**16, dtype=np.uint16).view(dtype)
    assert count_nonfinite(every) == NonFinite(nan=2 * (2**mantissa_bits - 1), infinite=2)
    assert count_nonfinite(every[: 2**15]) == NonFinite(nan=2**mantissa_bits - 1, infinite=1)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("sign", [1, -1])
def test_one_value_among_the_largest_finite_ones(dtype, sign):
    largest = ml_dtypes.finfo(dtype).max
    block = np.array([largest, -largest, 0.0, -0.0, 1.0], dtype)
    assert count_nonfinite(block) == NonFinite()
    infinite, undefined = block.copy(), block.copy()
    infinite[2] = sign * np.inf
    undefined[2] = np.copysign(np.nan, sign)
    assert count_nonfinite(infinite) == NonFinite(infinite=1)
    assert count_nonfinite(undefined) == NonFinite(nan=1)


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_smallest_and_the_largest_nan(dtype):
    """A NaN is any pattern beyond infinity, whatever its sign and payload."""
    width = np.dtype(dtype).itemsize
    infinities = np.array([np.inf, -np.inf], dtype).view(f"u{width}")
    sign = np.array(2 ** (8 * width - 1), infinities.dtype)
    for pattern in (infinities[0] + 1, sign - 1, infinities[1] + 1, sign + (sign - 1)):
        assert count_nonfinite(np.array([pattern], infinities.dtype).view(dtype)) == NonFinite(nan=1)


def test_integers_are_finite():
    assert count_nonfinite(np.array([-1, 2**63 - 1], np.int64)) == NonFinite()
    assert count_nonfinite(np.array([], np.float32)) == NonFinite()


def test_counts_add_up_and_are_false_when_nothing_was_found():
    assert NonFinite(1, 2) + NonFinite(3, 4) == NonFinite(4, 6)
    assert not NonFinite()
    assert NonFinite(infinite=1)

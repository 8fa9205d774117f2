"""Counting NaN and infinities in what passes by, at the cost of two passes over a cached block."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dinoport.tensor import FLOAT_DTYPES, Array


@dataclass(frozen=True)
class NonFinite:
    """How many values of a tensor are not numbers, and how many are infinite."""

    nan: int = 0
    infinite: int = 0

    def __add__(self, other: NonFinite) -> NonFinite:
        return NonFinite(self.nan + other.nan, self.infinite + other.infinite)

    def __bool__(self) -> bool:
        return bool(self.nan or self.infinite)


def count_nonfinite(block: Array) -> NonFinite:
    """Count what is not finite in a contiguous block of any dtype; integers always are.

    Read as integers, the bits of +inf and of every positive NaN are the largest signed values, those of -inf and of
    every negative NaN the largest unsigned ones. Two maxima take 20 ms for 343 MB in every float dtype, where
    numpy.isfinite takes 240 ms in float16 and 150 ms in bfloat16.
    """
    if not block.size or block.dtype not in FLOAT_DTYPES.values():
        return NonFinite()
    signed, unsigned = (np.dtype(f"{kind}{block.dtype.itemsize}") for kind in "iu")
    infinity = np.array([np.inf, -np.inf], dtype=block.dtype)
    if block.view(signed).max() < infinity.view(signed)[0] and block.view(unsigned).max() < infinity.view(unsigned)[1]:
        return NonFinite()
    # By bits again: NumPy's isnan warns of signalling NaN in bfloat16.
    magnitude = block.view(unsigned) << np.uint8(1)
    infinite = infinity.view(unsigned)[0] << np.uint8(1)
    return NonFinite(int((magnitude > infinite).sum()), int((magnitude == infinite).sum()))

"""NaN, infinities and zeros in what passes by, seen at the cost of two passes over a cached block."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dinoport.tensor import FLOAT_DTYPES, Array


@dataclass(frozen=True)
class Census:
    """Of some values: how many are not numbers, how many are infinite, and whether all are zero, of either sign."""

    nan: int = 0
    infinite: int = 0
    all_zero: bool = True

    @property
    def nonfinite(self) -> int:
        return self.nan + self.infinite

    def __add__(self, other: Census) -> Census:
        return Census(self.nan + other.nan, self.infinite + other.infinite, self.all_zero and other.all_zero)


def take_census(block: Array) -> Census:
    """Look at a contiguous block of any dtype; integers are finite.

    Read as integers, the bits of +inf and of every positive NaN are the largest signed values, those of -inf and of
    every negative NaN the largest unsigned ones; those of zero are 0, or the sign alone. Two maxima take 20 ms for
    343 MB in every float dtype, where numpy.isfinite takes 240 ms in float16 and 150 ms in bfloat16.
    """
    if not block.size:
        return Census()
    if block.dtype not in FLOAT_DTYPES.values():
        return Census(all_zero=not block.any())
    signed, unsigned = (np.dtype(f"{kind}{block.dtype.itemsize}") for kind in "iu")
    positive, negative = block.view(signed).max(), block.view(unsigned).max()
    zero, infinity = (np.array([value, -value], dtype=block.dtype) for value in (0.0, np.inf))
    if positive < infinity.view(signed)[0] and negative < infinity.view(unsigned)[1]:
        return Census(all_zero=bool(positive <= 0 and negative <= zero.view(unsigned)[1]))
    # By bits again: NumPy's isnan warns of signalling NaN in bfloat16.
    magnitude = block.view(unsigned) << np.uint8(1)
    infinite = infinity.view(unsigned)[0] << np.uint8(1)
    return Census(int((magnitude > infinite).sum()), int((magnitude == infinite).sum()), all_zero=False)

"""Constants as they were meant: an exporter writes an epsilon or a square root in float32.

Read as it is written, 1e-6 is 9.99999997e-7, and outputs move by 1e-10 to 1e-8. So a single number is read as the root
whose float32 it is, or as the short decimal. Nothing else is touched: no vector, no weight, and no
number that is not exactly the float32 of what it is read as.
"""

from dataclasses import dataclass, field
from functools import cache
from math import pi, sqrt
from typing import Any

import numpy as np

DIGITS = {"float32": 5, "float16": 1, "bfloat16": 1}
"""Of a decimal, by dtype. Of all float32 numbers, one in a hundred is one of so few digits by chance."""


@dataclass
class Healing:
    """Reads numbers, and keeps which were read otherwise than they are written: by place, written and meant.

    `widths` are those that a head may have: attention is scaled by their roots. With `active` off, every number is
    taken as it is written.
    """

    widths: frozenset[int] = frozenset()
    active: bool = True
    healed: dict[str, tuple[float, float]] = field(default_factory=dict)

    def read(self, place: str, value: float, dtype: np.dtype[Any] | None = None) -> float:
        if not self.active:
            return value
        found = meant(value, np.dtype(dtype or np.float32), self.widths)
        if found != value:
            self.healed[place] = (value, found)
        return found


def meant(value: float, dtype: np.dtype[Any], widths: frozenset[int] = frozenset()) -> float:
    """What a number of `dtype` was before it was rounded to that; itself where that is not known."""
    if not np.isfinite(value) or value == 0 or float(value).is_integer():
        return value
    root = _roots(dtype, widths).get(abs(value))
    if root is not None:
        return root if value > 0 else -root
    if dtype == np.float64 and float(np.float32(value)) == value:  # rounded before it was written wider
        dtype = np.dtype(np.float32)
    for digits in range(1, DIGITS.get(dtype.name, 0) + 1):
        decimal = float(f"{value:.{digits - 1}e}")
        if float(dtype.type(decimal)) == value:
            return decimal
    return value


@cache
def _roots(dtype: np.dtype[Any], widths: frozenset[int]) -> dict[float, float]:
    """The numbers that exporters write rounded, by what they are in a dtype."""
    exact = [sqrt(2), 1 / sqrt(2), sqrt(2 / pi), 2 * pi, pi]
    for width in sorted(widths):
        exact += [width**-0.5, width**0.5, width**-0.25, width**0.25]
    if dtype == np.float64:  # a scale is kept in float32 in any model; its root may be taken of that
        rounded = {sqrt(float(np.float32(number**2))): number for number in reversed(exact)}
        return rounded | {float(np.float32(number)): number for number in reversed(exact)}
    return {float(dtype.type(number)): number for number in reversed(exact)}

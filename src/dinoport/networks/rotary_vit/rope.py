"""The base that a model's rotary periods follow from, if they follow from one.

Upstream computes `base ** (2 k / (head_dim / 2))` for k below head_dim / 4, in float32 for the models that its hub
builds and in bfloat16 for every model that it trains (`dinov3/layers/rope_position_encoding.py`; `build_model` does not
pass the option on). Transformers keeps the base alone and computes in float32.
"""

from dataclasses import dataclass
from math import log
from typing import Any

import numpy as np

from dinoport.tensor import BFLOAT16, Array

UNKNOWN_BASE = 100.0
"""Of a model with one period, which is 1 whatever the base: the base of every released model."""

MAX_THETA = 1e300
"""Of a base that a config says: a whole number of JSON may be larger than any float."""

FLOAT32_STEPS = 2.0**-22
"""Relative: two units in the last place, for another `pow` than the one that upstream ran."""


@dataclass(frozen=True)
class Rope:
    """A base, and whether the stored periods are its powers, or those rounded to bfloat16."""

    theta: float
    rounded: bool = False


def find_base(periods: Array) -> Rope | None:
    """The base of `periods`, (head dimension / 4,), as the shortest decimal that gives them; None without one."""
    count = len(periods)
    stored = periods.astype(np.float64)
    if not np.isfinite(stored).all() or (stored <= 0).any():
        return None
    if count == 1:
        return Rope(UNKNOWN_BASE) if stored[0] == 1 else None
    estimate = float(stored[-1]) ** (count / (count - 1))
    candidates = [float(f"{estimate:.{digits}g}") for digits in range(1, 8)]
    for theta in candidates:
        if distance(stored, theta) <= FLOAT32_STEPS:
            return Rope(theta)
    return next((Rope(theta, rounded=True) for theta in candidates if rounds_to(theta, periods)), None)


def rounds_to(theta: float, periods: Array) -> bool:
    """Whether bfloat16 can have made these periods of a base's. Bases near each other give the same."""
    stored = periods.astype(np.float64)
    if not (periods.astype(BFLOAT16).astype(np.float64) == stored).all():
        return False
    # Rounding the exponent moves a power by log(base) as much as rounding the power itself does.
    return theta > 0 and distance(stored, theta) <= 2.0**-8 * (1 + abs(log(theta)))


def powers(theta: float, count: int) -> Array:
    """The `count` periods of a base, in float64."""
    found: np.ndarray[Any, np.dtype[np.float64]] = theta ** (np.arange(count) / count)
    return found


def distance(periods: Array, theta: float) -> float:
    """The largest relative difference of periods from a base's own."""
    own = powers(theta, len(periods))
    return float((abs(periods - own) / own).max())

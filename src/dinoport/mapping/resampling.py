"""Bicubic resampling of a position table in NumPy, by the rules of torch.nn.functional.interpolate.

Written for float64: the kernel weights form one small matrix per axis. Source of the rules: PyTorch's
`UpSampleKernel.cpp` (a = -0.75 without antialias, a = -0.5 and a widened kernel with it, corners not aligned).
"""

from __future__ import annotations

from math import floor, isqrt

import numpy as np

from dinoport.tensor import Array


def resample_table(table: Array, grid: tuple[int, int], offset: float, antialias: bool) -> Array:
    """Resample a (1, 1 + side², width) table to (1, 1 + grid[0]·grid[1], width), in float64.

    Row 0 belongs to the CLS token and is kept. With an `offset` the sampling step is side / (target + offset), as
    facebookresearch/dino passes a scale factor; without one it is side / target.
    """
    _, rows, width = table.shape
    side = isqrt(rows - 1)
    patches = table[0, 1:].astype(np.float64).reshape(side, side, width)
    kernel = _antialiased_weights if antialias else _plain_weights
    vertical, horizontal = (kernel(side, target, side / (target + offset)) for target in grid)
    resampled = np.einsum("ys,stc->ytc", vertical, patches, optimize=True)
    resampled = np.einsum("xt,ytc->yxc", horizontal, resampled, optimize=True)
    return np.concatenate([table[:, :1].astype(np.float64), resampled.reshape(1, -1, width)], axis=1)


def _cubic(distance: float, a: float) -> float:
    x = abs(distance)
    if x <= 1:
        return ((a + 2) * x - (a + 3)) * x * x + 1
    if x < 2:
        return (((x - 5) * x + 8) * x - 4) * a
    return 0.0


def _plain_weights(source: int, target: int, step: float) -> Array:
    """A (target, source) matrix; samples beyond the border repeat the border."""
    weights = np.zeros((target, source))
    for row in range(target):
        centre = step * (row + 0.5) - 0.5
        left = floor(centre)
        for tap in range(left - 1, left + 3):
            weights[row, min(max(tap, 0), source - 1)] += _cubic(centre - tap, -0.75)
    return weights


def _antialiased_weights(source: int, target: int, step: float) -> Array:
    """A (target, source) matrix; the kernel is as wide as the step when shrinking, and normalised."""
    weights = np.zeros((target, source))
    stretch = max(step, 1.0)
    for row in range(target):
        centre = step * (row + 0.5)
        first = max(int(centre - 2 * stretch + 0.5), 0)
        last = min(int(centre + 2 * stretch + 0.5), source)
        for tap in range(first, last):
            weights[row, tap] = _cubic((tap - centre + 0.5) / stretch, -0.5)
        weights[row] /= weights[row].sum()
    return weights

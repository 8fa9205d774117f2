"""Resampling of a position table in NumPy, by the rules of torch.nn.functional.interpolate.

Written for float64: the kernel weights form one small matrix per axis. Source of the rules: PyTorch's
`UpSampleKernel.cpp` (a = -0.75 without antialias, a = -0.5 and a widened kernel with it, corners not aligned).
"""

from collections.abc import Callable
from math import floor, isqrt

import numpy as np

from dinoport.tensor import Array


def resample_table(
    table: Array, grid: tuple[int, int], offset: float, antialias: bool, kernel: str = "bicubic", first: int = 1
) -> Array:
    """Resample a (1, first + side², width) table to (1, first + grid[0]·grid[1], width), in float64.

    The `first` rows belong to the CLS token and its like, and are kept. With an `offset` the sampling step is
    side / (target + offset), as facebookresearch/dino passes a scale factor; without one it is side / target.
    """
    _, rows, width = table.shape
    side = isqrt(rows - first)
    patches = table[0, first:].astype(np.float64).reshape(side, side, width)
    weights = _antialiased_weights if antialias else _plain_weights
    shape = KERNELS[kernel, antialias]
    vertical, horizontal = (weights(side, target, side / (target + offset), *shape) for target in grid)
    resampled = np.einsum("ys,stc->ytc", vertical, patches, optimize=True)
    resampled = np.einsum("xt,ytc->yxc", horizontal, resampled, optimize=True)
    return np.concatenate([table[:, :first].astype(np.float64), resampled.reshape(1, -1, width)], axis=1)


def _cubic(distance: float, a: float) -> float:
    x = abs(distance)
    if x <= 1:
        return ((a + 2) * x - (a + 3)) * x * x + 1
    if x < 2:
        return (((x - 5) * x + 8) * x - 4) * a
    return 0.0


def _triangle(distance: float) -> float:
    return max(1 - abs(distance), 0.0)


Kernel = Callable[[float], float]

KERNELS: dict[tuple[str, bool], tuple[Kernel, int]] = {
    ("bicubic", False): (lambda distance: _cubic(distance, -0.75), 2),
    ("bicubic", True): (lambda distance: _cubic(distance, -0.5), 2),
    ("bilinear", False): (_triangle, 1),
    ("bilinear", True): (_triangle, 1),
}
"""By name and antialias: the kernel, and how far it reaches to either side."""


def _plain_weights(source: int, target: int, step: float, kernel: Kernel, reach: int) -> Array:
    """A (target, source) matrix; samples beyond the border repeat the border."""
    weights = np.zeros((target, source))
    for row in range(target):
        centre = step * (row + 0.5) - 0.5
        left = floor(centre)
        for tap in range(left - reach + 1, left + reach + 1):
            weights[row, min(max(tap, 0), source - 1)] += kernel(centre - tap)
    return weights


def _antialiased_weights(source: int, target: int, step: float, kernel: Kernel, reach: int) -> Array:
    """A (target, source) matrix; the kernel is as wide as the step when shrinking, and normalised."""
    weights = np.zeros((target, source))
    stretch = max(step, 1.0)
    for row in range(target):
        centre = step * (row + 0.5)
        first = max(int(centre - reach * stretch + 0.5), 0)
        last = min(int(centre + reach * stretch + 0.5), source)
        for tap in range(first, last):
            weights[row, tap] = kernel((tap - centre + 0.5) / stretch)
        weights[row] /= weights[row].sum()
    return weights

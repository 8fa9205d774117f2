"""The closed set of operations, each with its shape rule, and with its inverse or a declared lack of one.

An operation works on flat blocks of whole granules (rows, where it moves columns), so that no tensor need be in
memory; only a baked position table is small enough to be taken whole.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from math import floor, isqrt
from typing import ClassVar, TypeAlias

import numpy as np

from dinoport.tensor import Array, Shape, shape_text


class Kind(str, Enum):
    """What a proof can ask of an operation."""

    BIJECTIVE = "bijective"
    """Inverted: the source is found again bit for bit."""
    RECOMPUTED = "recomputed"
    """Not invertible: computed once more, independently, and compared bit for bit."""
    SYNTHESISED = "synthesised"
    """Not from the source: a declared constant, compared with its declaration."""
    DROPPED = "dropped"
    """Not in the target, for a reason in words."""


class ShapeMismatchError(Exception):
    """A tensor that an operation cannot take; `str` says why."""


@dataclass(frozen=True)
class Rows:
    """The same values under other names: `parts` equal row ranges, in order.

    One part is a plain copy; three are a joint qkv matrix taken apart into queries, keys and values. All other
    operations say what they do otherwise.
    """

    kind: ClassVar[Kind] = Kind.BIJECTIVE

    parts: int = 1

    def target_shape(self, source: Shape) -> Shape:
        """The shape of each part. Raises ShapeMismatchError."""
        if self.parts == 1:
            return source
        if not source or source[0] % self.parts:
            raise ShapeMismatchError(f"{shape_text(source)} cannot be split into {self.parts} equal row ranges")
        return (source[0] // self.parts, *source[1:])

    def source_shape(self, target: Shape) -> Shape:
        """The shape that all parts together had before. Raises ShapeMismatchError."""
        if self.parts == 1:
            return target
        if not target:
            raise ShapeMismatchError("a scalar has no rows to join")
        return (target[0] * self.parts, *target[1:])

    def granule(self, source: Shape) -> int:
        """How many elements of one part must stay together in a block."""
        return 1

    def apply(self, block: Array, source: Shape) -> Array:
        """The target's values for one block of the source's."""
        return block

    def revert(self, block: Array, source: Shape) -> Array:
        """The source's values for one block of the target's."""
        return block


Operation: TypeAlias = Rows
"""What happens to one source tensor on its way to its target tensors."""


@dataclass(frozen=True)
class AddAxis(Rows):
    """The same values with a leading axis of length 1 more: (1, D) becomes (1, 1, D)."""

    def target_shape(self, source: Shape) -> Shape:
        return (1, *source)

    def source_shape(self, target: Shape) -> Shape:
        if not target or target[0] != 1:
            raise ShapeMismatchError(f"{shape_text(target)} does not start with an axis of length 1")
        return target[1:]


@dataclass(frozen=True)
class Deinterleave(Rows):
    """Columns a0 b0 a1 b1 … become a0 a1 … b0 b1 …

    facebookresearch/dino's `eval_linear.py` stacks CLS token and patch mean on a new last axis and flattens, so the
    columns of its classifier alternate between the two.
    """

    def target_shape(self, source: Shape) -> Shape:
        if len(source) != 2 or source[1] % 2:
            raise ShapeMismatchError(f"{shape_text(source)} has no pairs of columns")
        return source

    def granule(self, source: Shape) -> int:
        return source[1]

    def apply(self, block: Array, source: Shape) -> Array:
        pairs = block.reshape(-1, source[1] // 2, 2)
        return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(-1)

    def revert(self, block: Array, source: Shape) -> Array:
        halves = block.reshape(-1, 2, source[1] // 2)
        return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(-1)


@dataclass(frozen=True)
class PadColumns(Rows):
    """Columns, and as many zeros behind them: a classifier over one feature in a class that gives it two.

    Going back, a value that is not zero there makes the whole NaN: the classifier looks at what the original does not.
    """

    def target_shape(self, source: Shape) -> Shape:
        if len(source) != 2:
            raise ShapeMismatchError(f"{shape_text(source)} is not a matrix")
        return (source[0], 2 * source[1])

    def source_shape(self, target: Shape) -> Shape:
        if len(target) != 2 or target[1] % 2:
            raise ShapeMismatchError(f"{shape_text(target)} has no two halves of columns")
        return (target[0], target[1] // 2)

    def granule(self, source: Shape) -> int:
        return 2 * source[1]

    def apply(self, block: Array, source: Shape) -> Array:
        rows = block.reshape(-1, source[1])
        return np.concatenate([rows, np.zeros_like(rows)], axis=1).reshape(-1)

    def revert(self, block: Array, source: Shape) -> Array:
        halves = block.reshape(-1, 2, source[1])
        kept = halves[:, 0].copy()
        kept[halves[:, 1] != 0] = np.nan
        return kept.reshape(-1)


@dataclass(frozen=True)
class DropClsRow(Rows):
    """A position table, (1, 1 + patches, width), without the CLS token's row; `flat` without the leading axis too.

    timm's DINOv2 models with registers add that row to the CLS token, DeiT III never had one. It returns as zeros,
    which computes the same.
    """

    flat: bool = False

    def target_shape(self, source: Shape) -> Shape:
        if len(source) != 3 or source[1] < 2:
            raise ShapeMismatchError(f"{shape_text(source)} is not a table with a row for the CLS token")
        return (source[1] - 1, source[2]) if self.flat else (source[0], source[1] - 1, source[2])

    def source_shape(self, target: Shape) -> Shape:
        whole = (1, *target) if self.flat else target
        if len(whole) != 3 or whole[0] != 1:
            raise ShapeMismatchError(f"{shape_text(target)} is not a position table")
        return (1, whole[1] + 1, whole[2])

    def granule(self, source: Shape) -> int:
        return source[1] * source[2]

    def apply(self, block: Array, source: Shape) -> Array:
        return block[source[2] :]

    def revert(self, block: Array, source: Shape) -> Array:
        return np.concatenate([np.zeros(source[2], block.dtype), block])


@dataclass(frozen=True, kw_only=True)
class BakeTable(Rows):
    """A square position table, resampled once to another grid by the original's own rule.

    What it was made from is gone: going back, the new table is the original's, for the new size.
    `grid` is the patches along one side of the new table, `offset`, `antialias` and `kernel` the original's
    interpolation; the `first` rows belong to no patch.
    """

    kind: ClassVar[Kind] = Kind.RECOMPUTED

    grid: int
    offset: float
    antialias: bool
    kernel: str = "bicubic"
    first: int = 1

    def target_shape(self, source: Shape) -> Shape:
        return (1, self.grid**2 + self.first, source[2])

    def granule(self, source: Shape) -> int:
        return source[1] * source[2]

    def apply(self, block: Array, source: Shape) -> Array:
        rule = (self.offset, self.antialias, self.kernel, self.first)
        table = resample_table(block.reshape(source), (self.grid, self.grid), *rule)
        return table.astype(block.dtype).reshape(-1)


def resample_table(
    table: Array, grid: tuple[int, int], offset: float, antialias: bool, kernel: str = "bicubic", first: int = 1
) -> Array:
    """Resample a (1, first + side², width) table to (1, first + grid[0]·grid[1], width), in float64.

    By the rules of torch.nn.functional.interpolate, in NumPy: kernel weights form one small matrix per axis. Source:
    PyTorch's `UpSampleKernel.cpp` (a = -0.75 without antialias, a = -0.5 and a widened kernel with it, corners not
    aligned).
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

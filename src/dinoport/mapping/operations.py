"""The closed set of operations, each with its shape rule, and with its inverse or a declared lack of one.

An operation works on flat blocks of whole granules (rows, where it moves columns), so that no tensor need be in
memory; only a baked position table is small enough to be taken whole.
"""

from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, TypeAlias

import numpy as np

from dinoport.mapping.resampling import resample_table
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

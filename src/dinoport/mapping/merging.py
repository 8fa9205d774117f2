"""Low-rank parts merged into a matrix.

A merged tensor stays a handle: values are computed block by block, in float64, and rounded once. What it is computed
from cannot be found in it again, so the exact proof computes it once more from the source.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from dinoport.mapping.computation import Computed, elements
from dinoport.tensor import Array, TensorRef, Values


@dataclass(frozen=True)
class LowRank:
    """`scale` · up @ down, added to the rows of a matrix from `first` on.

    `up` has the shape (rows, rank, …), `down` (rank, …); what follows are the axes of the matrix beside its rows.
    """

    up: TensorRef
    down: TensorRef
    scale: float
    first: int = 0

    def rows(self, start: int, stop: int) -> tuple[int, Array]:
        """The first row of those from `start` to `stop` that something is added to, and what is, in float64."""
        begin, end = max(start, self.first), min(stop, self.first + self.up.shape[0])
        if begin >= end:
            return begin, np.empty((0, 0))
        rank = self.down.shape[0]
        up = self.up.read(np.dtype(np.float64)).reshape(-1, rank)[begin - self.first : end - self.first]
        return begin, self.scale * (up @ self.down.read(np.dtype(np.float64)).reshape(rank, -1))


@dataclass(frozen=True)
class Merged(Computed):
    """The values of `base` with what is added to them, rounded to its dtype, or to another."""

    base: TensorRef
    parts: tuple[LowRank, ...]
    dtype: np.dtype[Any] | None = None

    def blocks(self, start: int, stop: int, limit: int) -> Iterator[Array]:
        row = prod(self.base.shape[1:])
        for first in range(start, stop, limit):
            last = min(first + limit, stop)
            values = elements(self.base, first, last, np.float64)
            for part in self.parts:
                begin, rows = part.rows(first // row, -(-last // row))
                offset = begin * row - first
                flat = rows.reshape(-1)[max(-offset, 0) :][: last - max(begin * row, first)]
                values[max(offset, 0) :][: flat.size] += flat
            with np.errstate(over="ignore"):  # what is too large becomes an infinity, and those are counted
                yield values.astype(self.dtype or self.base.dtype)

    @property
    def tensors(self) -> tuple[TensorRef, ...]:
        return (self.base, *(tensor for part in self.parts for tensor in (part.up, part.down)))


def merged(base: TensorRef, *parts: LowRank) -> TensorRef:
    """The same tensor with what is added to it, which is read only where its values are."""
    return replace(base, values=Merged(base, parts))


def is_merged(values: Values) -> bool:
    """Whether low-rank parts were merged into values, at any depth."""
    if isinstance(values, Merged):
        return True
    return isinstance(values, Computed) and any(is_merged(tensor.values) for tensor in values.tensors)


def changes(values: Values, start: int, stop: int, row: int) -> bool:
    """Whether anything is added to the elements from `start` to `stop`, of which a row has so many."""
    if not isinstance(values, Merged):
        pieces = getattr(values, "pieces", None)
        return any(is_merged(each.values) for each in pieces(start, stop)) if pieces else is_merged(values)
    touched = (part.first * row < stop and start < (part.first + part.up.shape[0]) * row for part in values.parts)
    return any(touched) or changes(values.base.values, start, stop, row)


def leaves(tensor: TensorRef) -> Iterator[TensorRef]:
    """The tensors of a file that one is merged from; itself where it is in a file."""
    if not isinstance(tensor.values, Merged):
        yield tensor
        return
    for each in tensor.values.tensors:
        yield from leaves(each)

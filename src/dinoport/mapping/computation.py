"""Tensors whose values are computed from those of others, block by block: sums, tables without a part, low-rank parts.

Such a tensor stays a handle. What it is computed from cannot be found in it again, so the exact proof computes it once
more from the source. Merged parts are computed in float64, and rounded once.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from dinoport.files.byte_sources import ByteSource
from dinoport.formats.storage import Storage, storages_of
from dinoport.formats.values import extents
from dinoport.tensor import Array, TensorRef, Values


class Computed:
    """Values that lie where those lie which they are computed from: the tensors among its fields."""

    @property
    def tensors(self) -> tuple[TensorRef, ...]:
        return tuple(each for each in vars(self).values() if isinstance(each, TensorRef))

    def storages(self) -> Iterator[Storage]:
        for tensor in self.tensors:
            yield from storages_of(tensor.values)

    def extents(self) -> Iterator[tuple[ByteSource, int, int]]:
        for tensor in self.tensors:
            yield from extents(tensor.values)


def elements(tensor: TensorRef, start: int, stop: int, dtype: Any) -> Array:
    """A copy of a run of elements, in a dtype that holds them."""
    values = np.empty(stop - start, dtype)
    filled = 0
    for block in tensor.blocks(start, stop):
        values[filled : filled + block.size] = block
        filled += block.size
    return values


def added(tensor: TensorRef, other: TensorRef, start: int = 0) -> TensorRef:
    """`tensor` plus as many values of `other` from `start` on, computed as the originals do: in float32.

    The sum has the name, shape and dtype of `tensor`; two of float64 are added in float64.
    """
    return replace(tensor, values=_SumValues(tensor, other, start))


def without_start(tensor: TensorRef, count: int) -> TensorRef:
    """The same with zeros in the place of its first `count` values."""
    return replace(tensor, values=_LateValues(tensor, count))


def without_rows(tensor: TensorRef, start: int, stop: int) -> TensorRef:
    """A table of (1, rows, width) without the rows `start` to `stop`. It is small, and read whole."""
    _, rows, width = tensor.shape
    shape = (1, rows - (stop - start), width)
    return replace(tensor, shape=shape, values=_CutValues(tensor, start * width, stop * width))


@dataclass(frozen=True)
class _SumValues(Computed):
    one: TensorRef
    other: TensorRef
    offset: int

    def blocks(self, start: int, stop: int, limit: int) -> Iterator[Array]:
        wide = np.float64 if self.one.dtype == np.float64 else np.float32
        for first in range(start, stop, limit):
            last = min(first + limit, stop)
            total = elements(self.one, first, last, wide)
            total += elements(self.other, self.offset + first, self.offset + last, wide)
            yield total.astype(self.one.dtype)


@dataclass(frozen=True)
class _LateValues(Computed):
    tensor: TensorRef
    count: int

    def blocks(self, start: int, stop: int, limit: int) -> Iterator[Array]:
        for block in self.tensor.values.blocks(start, stop, limit):
            kept = block.copy()
            kept[: max(self.count - start, 0)] = 0
            start += block.size
            yield kept


@dataclass(frozen=True)
class _CutValues(Computed):
    tensor: TensorRef
    first: int
    last: int

    def blocks(self, start: int, stop: int, limit: int) -> Iterator[Array]:
        whole = self.tensor.read().reshape(-1)
        kept = np.concatenate([whole[: self.first], whole[self.last :]])
        for begin in range(start, stop, limit):
            yield kept[begin : min(begin + limit, stop)]


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

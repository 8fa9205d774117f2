"""Tensors whose values are computed from those of others, block by block: sums of two, and one without a part of it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dinoport.files.byte_sources import ByteSource
from dinoport.formats.storage import Storage, storages_of
from dinoport.formats.values import extents
from dinoport.tensor import Array, TensorRef


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

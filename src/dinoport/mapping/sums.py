"""A tensor with a row of another one added, and that one without it: made block by block, like all that is read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from dinoport.files.byte_sources import ByteSource
from dinoport.formats.storage import Storage, storages_of
from dinoport.formats.values import extents
from dinoport.tensor import Array, TensorRef


def added(tensor: TensorRef, other: TensorRef, start: int = 0) -> TensorRef:
    """`tensor` plus as many values of `other` from `start` on, computed as the originals do: in float32.

    The sum has the name, shape and dtype of `tensor`; two of float64 are added in float64.
    """
    return TensorRef(tensor.name, tensor.dtype, tensor.shape, _SumValues(tensor, other, start))


def without_start(tensor: TensorRef, count: int) -> TensorRef:
    """The same with zeros in the place of its first `count` values."""
    return replace(tensor, values=_LateValues(tensor, count))


def without_rows(tensor: TensorRef, start: int, stop: int) -> TensorRef:
    """A table of (1, rows, width) without the rows `start` to `stop`. It is small, and read whole."""
    _, rows, width = tensor.shape
    shape = (1, rows - (stop - start), width)
    return replace(tensor, shape=shape, values=_CutValues(tensor, start * width, stop * width))


@dataclass(frozen=True)
class _SumValues:
    one: TensorRef
    other: TensorRef
    offset: int

    def blocks(self, start: int, stop: int, limit: int) -> Iterator[Array]:
        wide = np.float64 if self.one.dtype == np.float64 else np.float32
        for first in range(start, stop, limit):
            last = min(first + limit, stop)
            total: Array = np.concatenate(list(self.one.values.blocks(first, last, limit))).astype(wide)
            total += np.concatenate(
                list(self.other.values.blocks(self.offset + first, self.offset + last, limit))
            ).astype(wide)
            yield total.astype(self.one.dtype)

    def storages(self) -> Iterator[Storage]:
        return chain(storages_of(self.one.values), storages_of(self.other.values))

    def extents(self) -> Iterator[tuple[ByteSource, int, int]]:
        return chain(extents(self.one.values), extents(self.other.values))


@dataclass(frozen=True)
class _LateValues:
    tensor: TensorRef
    count: int

    def blocks(self, start: int, stop: int, limit: int) -> Iterator[Array]:
        for block in self.tensor.values.blocks(start, stop, limit):
            kept = block.copy()
            kept[: max(self.count - start, 0)] = 0
            start += block.size
            yield kept

    def storages(self) -> Iterator[Storage]:
        return iter(storages_of(self.tensor.values))

    def extents(self) -> Iterator[tuple[ByteSource, int, int]]:
        return extents(self.tensor.values)


@dataclass(frozen=True)
class _CutValues:
    tensor: TensorRef
    first: int
    last: int

    def blocks(self, start: int, stop: int, limit: int) -> Iterator[Array]:
        whole = self.tensor.read().reshape(-1)
        kept = np.concatenate([whole[: self.first], whole[self.last :]])
        for begin in range(start, stop, limit):
            yield kept[begin : min(begin + limit, stop)]

    def storages(self) -> Iterator[Storage]:
        return iter(storages_of(self.tensor.values))

    def extents(self) -> Iterator[tuple[ByteSource, int, int]]:
        return extents(self.tensor.values)

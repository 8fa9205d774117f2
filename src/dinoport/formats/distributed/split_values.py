"""Values of a tensor that several ranks wrote: each holds a box of it, and blocks are put together from the boxes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinoport.files.byte_sources import ByteSource
from dinoport.formats.storage import Storage, storages_of
from dinoport.formats.values import byte_ranges, extents
from dinoport.tensor import Array, Shape, Values, shape_text

MAX_CELLS = 4_000_000
"""Of the grid that the edges of all boxes span. A mesh of a thousand ranks over two axes spans a thousand."""


@dataclass(frozen=True, slots=True)
class Box:
    """A part of a tensor: where it begins along each axis, and how far it reaches, in elements."""

    offsets: Shape
    sizes: Shape

    @property
    def size(self) -> int:
        return prod(self.sizes)

    def __str__(self) -> str:
        return f"{shape_text(self.sizes)} at {shape_text(self.offsets)}"


@dataclass(frozen=True, slots=True)
class BoxedValues:
    """A box and the values in it, in C order."""

    box: Box
    values: Values


@dataclass(frozen=True)
class SplitValues:
    """Values that lie in `parts`, whose boxes tile `shape`.

    Elements of a box keep their order in the flattened tensor. So a block takes one contiguous run of each box, and no
    more than a block is ever held, along whatever axes the tensor was split.
    """

    dtype: np.dtype[Any]
    shape: Shape
    parts: Sequence[BoxedValues]

    def blocks(self, start: int, stop: int, limit: int) -> Iterator[Array]:
        if start >= stop:
            return
        runs = self._runs()
        buffer = np.empty(min(limit, stop - start), dtype=self.dtype)
        for first in range(start, stop, limit):
            last = min(first + limit, stop)
            for begin, part in runs:
                if begin <= first and last <= begin + part.box.size:
                    yield from part.values.blocks(first - begin, last - begin, last - first)
                    break
            else:
                block = buffer[: last - first]
                for part in self.parts:
                    self._fill(block, first, part)
                yield block

    def byte_ranges(self) -> Iterator[tuple[ByteSource, int, int]]:
        for part in self.parts:
            yield from byte_ranges(part.values)

    def extents(self) -> Iterator[tuple[ByteSource, int, int]]:
        for part in self.parts:
            yield from extents(part.values)

    def storages(self) -> Iterator[Storage]:
        for part in self.parts:
            yield from storages_of(part.values)

    def _runs(self) -> list[tuple[int, BoxedValues]]:
        """The parts that are one run of the flattened tensor each, and where it begins: blocks in them pass through."""
        return [(flat_index(part.box, self.shape), part) for part in self.parts if is_contiguous(part.box, self.shape)]

    def _fill(self, block: Array, first: int, part: BoxedValues) -> None:
        """Put into `block`, which begins at element `first` of the tensor, what `part` has of it."""
        begin = elements_before(part.box, self.shape, first)
        end = elements_before(part.box, self.shape, first + block.size)
        if begin == end:
            return
        contiguous = is_contiguous(part.box, self.shape)
        origin = flat_index(part.box, self.shape) - first
        for values in part.values.blocks(begin, end, block.size):
            if contiguous:
                block[origin + begin : origin + begin + values.size] = values
            else:
                block[_places(part.box, self.shape, begin, begin + values.size) - first] = values
            begin += values.size


def flat_index(box: Box, shape: Shape) -> int:
    """Where in the flattened tensor the first element of a box lies."""
    index = 0
    for offset, length in zip(box.offsets, shape, strict=True):
        index = index * length + offset
    return index


def is_contiguous(box: Box, shape: Shape) -> bool:
    """Whether a box is one run of the flattened tensor: whole along every axis after the first that is split."""
    split = [size != length for size, length in zip(box.sizes, shape, strict=True)]
    last = max((axis for axis, is_split in enumerate(split) if is_split), default=0)
    return all(size == 1 for size in box.sizes[:last])


def elements_before(box: Box, shape: Shape, position: int) -> int:
    """How many elements of a box come before element `position` of the flattened tensor."""
    if position >= prod(shape):
        return box.size
    count, inner_shape, inner_box = 0, prod(shape), box.size
    for offset, size, length in zip(box.offsets, box.sizes, shape, strict=True):
        inner_shape //= length
        inner_box //= size
        coordinate, position = divmod(position, inner_shape)
        if coordinate < offset:
            return count
        if coordinate >= offset + size:
            return count + size * inner_box
        count += (coordinate - offset) * inner_box
    return count


def tiling_problem(shape: Shape, boxes: Sequence[Box]) -> str | None:
    """What keeps boxes from covering a tensor exactly, each element once; None if nothing does."""
    for box in boxes:
        if any(offset + size > length for offset, size, length in zip(box.offsets, box.sizes, shape, strict=True)):
            return f"a part {box}, which reaches beyond the tensor"
    filled = [box for box in boxes if box.size]
    edges = [
        sorted({edge for box in filled for edge in (box.offsets[axis], box.offsets[axis] + box.sizes[axis])})
        for axis in range(len(shape))
    ]
    cells = [len(along) - 1 for along in edges] if filled else []
    if prod(cells) > MAX_CELLS:
        return f"{len(filled)} parts that form no regular grid"
    places = [{edge: place for place, edge in enumerate(along)} for along in edges]
    taken = np.zeros(cells, dtype=bool)
    for box in filled:
        cell = tuple(
            slice(place[offset], place[offset + size])
            for place, offset, size in zip(places, box.offsets, box.sizes, strict=True)
        )
        if taken[cell].any():
            return f"a part {box}, which another part covers too"
        taken[cell] = True
    covered = sum(box.size for box in filled)
    if covered != prod(shape):
        return f"{prod(shape) - covered} of {prod(shape)} elements that no part covers"
    return None


def _places(box: Box, shape: Shape, begin: int, end: int) -> NDArray[np.int64]:
    """Where in the flattened tensor elements `begin` to `end` of a box lie."""
    left = np.arange(begin, end, dtype=np.int64)
    places = np.zeros(end - begin, dtype=np.int64)
    stride = 1
    for offset, size, length in zip(reversed(box.offsets), reversed(box.sizes), reversed(shape), strict=True):
        left, coordinate = np.divmod(left, size)
        places += (coordinate + offset) * stride
        stride *= length
    return places

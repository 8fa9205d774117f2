"""Values of tensors that lie in storages: contiguous ones are streamed, all others gathered."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from dinoport.errors import CheckpointError
from dinoport.files.byte_sources import ByteRange, ByteSource
from dinoport.files.damage import damaged
from dinoport.files.names import short_text
from dinoport.formats.storage import Storage
from dinoport.tensor import BLOCK_BYTES, Array, Shape, TensorRef, Values, shape_text

MAX_GATHER_BYTES = 256 * 1024 * 1024
"""What a tensor that is not contiguous spans in its file is read whole. The largest of a 7B model takes 200 MB."""

MAX_AXES = 32
"""As in NumPy before 2; a patch kernel has four."""

MAX_SIZE = 2**63
"""Of an axis, a stride and an offset, in elements: torch keeps them in 64 bits."""

MAX_ITEM_BYTES = 16
"""Of one element, a complex number."""

_spare: list[Array] = []
"""Buffers of a block's size that no stream uses: the system takes longer to provide one than to fill it."""


@dataclass(frozen=True)
class StoredValues:
    """A view of a storage: `first` and `strides` in elements, as torch keeps them."""

    storage: Storage
    dtype: np.dtype[Any]
    first: int
    shape: Shape
    strides: tuple[int, ...]
    big_endian: bool = False

    @property
    def is_contiguous(self) -> bool:
        expected = 1
        for length, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if length != 1 and stride != expected:
                return False
            expected *= length
        return True

    def blocks(self, start: int, stop: int, limit: int) -> Iterator[Array]:
        if start >= stop:
            return
        if self.is_contiguous:
            yield from self._stream(start, stop, limit)
            return
        view = self._view()
        for first in range(start, stop, limit):
            block = view.flat[first : min(first + limit, stop)]
            yield block.byteswap() if self.big_endian else block

    def storages(self) -> tuple[Storage]:
        return (self.storage,)

    def byte_ranges(self) -> Iterator[tuple[ByteSource, int, int]]:
        """Where every byte of the values lies, and nothing else; nothing where they are scattered."""
        size = prod(self.shape)
        if self.is_contiguous and size:
            source: ByteSource = self.storage.source
            begin = self.storage.offset_bytes + self.first * self.dtype.itemsize
            while isinstance(source, ByteRange):
                begin += source.start
                source = source.source
            yield source, begin, begin + size * self.dtype.itemsize

    def extents(self) -> Iterator[tuple[ByteSource, int, int]]:
        if self.storage.extent is not None:
            yield self.storage.source, *self.storage.extent()

    def _stream(self, start: int, stop: int, limit: int) -> Iterator[Array]:
        size_bytes = limit * self.dtype.itemsize
        buffer = _buffer(size_bytes)
        try:
            for first in range(start, stop, limit):
                count = min(limit, stop - first)
                part = buffer[: count * self.dtype.itemsize]
                self.storage.readinto((self.first + first) * self.dtype.itemsize, part.data)
                block = part.view(self.dtype)
                if self.big_endian:
                    block.byteswap(inplace=True)
                yield block
        finally:
            if buffer.nbytes == BLOCK_BYTES:
                _spare.append(buffer)

    def _view(self) -> Array:
        """The tensor over what it spans in the storage, in the byte order of the file."""
        itemsize = self.dtype.itemsize
        span = 1 + sum((length - 1) * stride for length, stride in zip(self.shape, self.strides, strict=True))
        if span * itemsize > MAX_GATHER_BYTES:
            raise CheckpointError(
                f"{self.storage.source.where} holds a tensor that is not contiguous, and too large to gather",
                where=self.storage.label,
                expected=f"at most {MAX_GATHER_BYTES} bytes",
                found=f"shape {shape_text(self.shape)} with strides {shape_text(self.strides)}",
                cause="a view was saved without .contiguous()",
                next_step="save the state dict again with contiguous tensors",
            )
        data = self.storage.source.read(self.storage.offset_bytes + self.first * itemsize, span * itemsize)
        strides = tuple(stride * itemsize for stride in self.strides)
        flat = np.frombuffer(data, dtype=f"V{itemsize}")  # as_strided does not know each dtype: float8_e5m2 it does not
        return np.lib.stride_tricks.as_strided(flat, self.shape, strides, writeable=False).view(self.dtype)


def _buffer(size_bytes: int) -> Array:
    """Room for at least so many bytes."""
    if size_bytes <= BLOCK_BYTES:
        with suppress(IndexError):  # also where another thread was faster
            return _spare.pop()
    return np.empty(size_bytes, dtype=np.uint8)


def are_sizes(values: Sequence[object]) -> bool:
    """Whether these can be a tensor's strides, or where it begins."""
    return len(values) <= MAX_AXES and all(type(value) is int and 0 <= value < MAX_SIZE for value in values)


def is_shape(values: Sequence[object]) -> bool:
    """Whether these can be the shape of an array in memory: one with an axis of 0 holds nothing, but has its limit."""
    sizes = [value for value in values if isinstance(value, int)]
    return are_sizes(values) and prod(max(size, 1) for size in sizes) < MAX_SIZE // MAX_ITEM_BYTES


def byte_ranges(values: Values) -> Iterator[tuple[ByteSource, int, int]]:
    """The source, begin and end of every run of bytes that is known to hold values and nothing else."""
    own = getattr(values, "byte_ranges", None)
    return iter(()) if own is None else own()


def extents(values: Values) -> Iterator[tuple[ByteSource, int, int]]:
    """The source, begin and end of spans that hold the values and hardly more, as far as known without reading."""
    own = getattr(values, "extents", None)
    return iter(()) if own is None else own()


def view_of(tensor: TensorRef) -> StoredValues | None:
    """What a tensor shows of which storage; None where it is not stored. Where the storage begins is not looked up."""
    return tensor.values if isinstance(tensor.values, StoredValues) else None


def is_one(tensor: TensorRef, other: TensorRef) -> bool:
    """Whether two names lead to one place of a file, read in one way."""
    view = view_of(tensor)
    return view is not None and view == view_of(other)


def announce(tensors: Iterable[TensorRef]) -> None:
    """Tell remote sources that these tensors will be read, in this order, so that they fetch ahead of the reader."""
    spans: dict[int, tuple[ByteSource, list[tuple[int, int]]]] = {}
    for tensor in tensors:
        for source, start, stop in extents(tensor.values):
            if source.is_remote:
                spans.setdefault(id(source), (source, []))[1].append((start, stop))
    for remote, wanted in spans.values():
        remote.will_read(wanted)


def stored_tensor(
    name: str,
    storage: Storage,
    dtype: np.dtype[Any],
    first: int,
    shape: Sequence[int],
    strides: Sequence[int],
    *,
    origin: int = 0,
    count: int | None = None,
    big_endian: bool = False,
) -> TensorRef:
    """A tensor over a storage, once it is certain that it lies inside. Raises CheckpointError; allocates nothing.

    `first` counts from `origin`, and `count` elements from there on may belong to the tensor: all, unless it is given.
    """
    if len(shape) != len(strides) or not (is_shape(shape) and are_sizes(strides) and are_sizes([first])):
        found = f"shape {short_text(shape)}, strides {short_text(strides)}, offset {short_text(first)}"
        raise _impossible(storage, found, f"whole numbers, none negative, for {MAX_AXES} axes at most")
    if prod(shape):
        last = first + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True))
        held = storage.size_bytes // dtype.itemsize if count is None else count
        if last >= held:
            raise _impossible(
                storage, f"shape {shape_text(tuple(shape))}, so elements up to {last}", f"{held} elements"
            )
    values = StoredValues(storage, dtype, origin + first, tuple(shape), tuple(strides), big_endian)
    return TensorRef(name, dtype, tuple(shape), values)


def _impossible(storage: Storage, found: str, expected: str) -> CheckpointError:
    what = f"{storage.source.where} declares a tensor that its data cannot hold"
    return damaged(what, found, expected, where=storage.label)

"""One tensor of a checkpoint by reference: name, dtype, shape, and where its values lie.

A reference costs nothing to make and nothing to rename. Its values come only from reading, as flat blocks of a few
MiB in C order and native byte order, so that a conversion holds one block at a time whatever the file's size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

import ml_dtypes
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Array: TypeAlias = "NDArray[Any]"
Shape: TypeAlias = tuple[int, ...]

BLOCK_BYTES = 1024 * 1024
"""How much one block holds: it stays in a core's cache on its way. Writes of 2 MiB make Linux take whole huge pages for
its cache, which virtual machines have to fetch from their host: up to four times slower, where 1 MiB never was."""

BFLOAT16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)

FLOAT_DTYPES: dict[str, np.dtype[Any]] = {
    "float16": np.dtype(np.float16),
    "bfloat16": BFLOAT16,
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
}
"""The dtypes that a weight can have, by the names that torch and Transformers give them."""


class Values(Protocol):
    """Where the values of one tensor lie, and how they are read."""

    def blocks(self, start: int, stop: int, limit: int) -> Iterator[Array]:
        """Yield elements `start` to `stop` of the flattened tensor, in blocks of at most `limit` elements.

        A block is one-dimensional, in native byte order, and valid until the next one is asked for.
        """
        ...


@dataclass(frozen=True, slots=True)
class TensorRef:
    """A tensor that has not been read.

    `shape` is in elements. `values` is the place; two references may share one place.
    """

    name: str
    dtype: np.dtype[Any]
    shape: Shape
    values: Values

    @property
    def size(self) -> int:
        """The number of elements."""
        return prod(self.shape)

    @property
    def size_bytes(self) -> int:
        return self.size * self.dtype.itemsize

    @property
    def is_float(self) -> bool:
        return self.dtype in FLOAT_DTYPES.values()

    def renamed(self, name: str) -> TensorRef:
        return replace(self, name=name)

    def blocks(self, start: int = 0, stop: int | None = None, granule: int = 1) -> Iterator[Array]:
        """Yield the flattened values from element `start` to `stop`, in blocks of whole granules.

        `granule` is the number of elements that must not be parted, for an operation that works on rows.
        """
        limit = max(BLOCK_BYTES // self.dtype.itemsize // granule, 1) * granule
        return self.values.blocks(start, self.size if stop is None else stop, limit)

    def read(self, dtype: np.dtype[Any] | None = None) -> Array:
        """Read the whole tensor into memory, in its shape; as another dtype, if one is given that holds its values."""
        whole = np.empty(self.size, dtype=dtype or self.dtype)
        filled = 0
        for block in self.blocks():
            whole[filled : filled + block.size] = block
            filled += block.size
        return whole.reshape(self.shape)


class TensorSpec(NamedTuple):
    """A tensor that will be written: its name, dtype and shape."""

    name: str
    dtype: np.dtype[Any]
    shape: Shape

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def size_bytes(self) -> int:
        return self.size * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class ArrayValues:
    """Values that are in memory already: declared constants, and tensors in tests."""

    array: Array

    def blocks(self, start: int, stop: int, limit: int) -> Iterator[Array]:
        flat = np.ascontiguousarray(self.array).reshape(-1)
        for first in range(start, stop, limit):
            yield flat[first : min(first + limit, stop)]


def is_matrix(shape: Shape) -> bool:
    """Whether more than one axis is longer than 1: a layer's weights or a table, but no bias, scale or token."""
    return prod(shape) > max(shape, default=1)


def dtype_name(dtype: np.dtype[Any]) -> str:
    """The name that torch gives a dtype: `float32`, `bfloat16`, `int64`."""
    return dtype.name


def shape_text(shape: Shape) -> str:
    """A shape as people write it: `(384, 3, 16, 16)`, `(384)`, `()`."""
    return f"({', '.join(map(str, shape))})"


def size_text(size_bytes: int) -> str:
    """A size in powers of 1000: `543 bytes`, `86.7 MB`, `4.55 GB`."""
    value = float(size_bytes)
    for unit in ("bytes", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.2f} GB"

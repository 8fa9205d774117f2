"""Tensors that a target needs and no source holds: declared constants, made block by block."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias
from zlib import crc32

import numpy as np

from dinoport.tensor import Array, ArrayValues, Shape, TensorRef


@dataclass(frozen=True)
class Constant:
    """`shape` filled with `value`; with `identity`, a square matrix with `value` on its diagonal and zeros beside.

    It takes the dtype of the tensors around it.
    """

    shape: Shape
    value: float
    identity: bool = False
    dtype: ClassVar[np.dtype[Any] | None] = None

    def tensor(self, name: str, dtype: np.dtype[Any]) -> TensorRef:
        return TensorRef(name, dtype, self.shape, _ConstantValues(self, dtype))

    def __str__(self) -> str:
        if self.identity:
            return "identity"
        return "empty" if 0 in self.shape else f"all {self.value:g}"


@dataclass(frozen=True)
class Count(Constant):
    """A whole number, whatever dtype the tensors around it have."""

    dtype: ClassVar[np.dtype[Any] | None] = np.dtype(np.int64)


@dataclass(frozen=True)
class Listed:
    """A vector of float32 values, and in words what they are."""

    values: tuple[float, ...]
    words: str
    dtype: ClassVar[np.dtype[Any] | None] = np.dtype(np.float32)

    @property
    def shape(self) -> Shape:
        return (len(self.values),)

    def tensor(self, name: str, dtype: np.dtype[Any]) -> TensorRef:
        return TensorRef(name, dtype, self.shape, ArrayValues(np.array(self.values, dtype)))

    def __str__(self) -> str:
        return self.words


@dataclass(frozen=True)
class Seeded:
    """Random values of mean 0 and standard deviation `deviation`, the same on every machine and in every version.

    Each is a sum of eight uniform numbers: bell-shaped, and never more than five deviations from 0. They follow from
    `seed` and the tensor's name alone.
    """

    shape: Shape
    deviation: float
    seed: int = 0
    dtype: ClassVar[np.dtype[Any] | None] = np.dtype(np.float32)

    def tensor(self, name: str, dtype: np.dtype[Any]) -> TensorRef:
        return TensorRef(name, dtype, self.shape, _SeededValues(self, name, dtype))

    def __str__(self) -> str:
        return f"random with deviation {self.deviation:g}, seed {self.seed}"


Declared: TypeAlias = Constant | Listed | Seeded
"""A tensor that follows from its declaration alone."""


def zeros(*shape: int) -> Constant:
    return Constant(shape, 0.0)


def ones(*shape: int) -> Constant:
    return Constant(shape, 1.0)


def identity(width: int) -> Constant:
    return Constant((width, width), 1.0, identity=True)


@dataclass(frozen=True)
class _ConstantValues:
    constant: Constant
    dtype: np.dtype[Any]

    def blocks(self, start: int, stop: int, limit: int) -> Iterator[Array]:
        for first in range(start, stop, limit):
            count = min(limit, stop - first)
            if not self.constant.identity:
                yield np.full(count, self.constant.value, self.dtype)
                continue
            block = np.zeros(count, self.dtype)
            diagonal = self.constant.shape[0] + 1
            block[-first % diagonal :: diagonal] = self.constant.value
            yield block


UNIFORMS = 8
"""Of 16 bits in each sum, two words of a bit generator: numpy keeps its streams of bits, not those of its numbers."""

LANES, LOW = np.uint64(0x0000FFFF0000FFFF), np.uint64(0xFFFFFFFF)

WORDS_OF_A_COUNT = 4
"""How many words of 64 bits Philox makes of one count, from which it can start anywhere."""


@dataclass(frozen=True)
class _SeededValues:
    seeded: Seeded
    name: str
    dtype: np.dtype[Any]

    def blocks(self, start: int, stop: int, limit: int) -> Iterator[Array]:
        words = UNIFORMS // 4
        whole = WORDS_OF_A_COUNT // words
        key = np.array([self.seeded.seed, crc32(self.name.encode())], np.uint64)
        scale = self.seeded.deviation / (UNIFORMS * (2.0**32 - 1) / 12) ** 0.5
        for first in range(start, stop, limit):
            count, before = min(limit, stop - first), first % whole
            bits = np.random.Philox(key=key, counter=first // whole).random_raw((before + count) * words)
            pairs = (bits & LANES) + ((bits >> np.uint64(16)) & LANES)
            fours = ((pairs & LOW) + (pairs >> np.uint64(32)))[before * words :]
            sums = fours[0::words] + fours[1::words]
            yield ((sums - UNIFORMS * 65535 / 2) * scale).astype(self.dtype)

"""Tensors that a target needs and no source holds: declared constants, made block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

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


Declared: TypeAlias = Constant | Listed
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

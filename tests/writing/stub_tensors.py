"""Tensors for the writers, from arrays in memory or from whatever blocks a test supplies."""

from collections.abc import Callable, Iterator

import ml_dtypes
import numpy as np

from dinoport.tensor import TensorSpec

BLOCK = 7
"""Elements in a block: small and odd, so that blocks never end where rows do."""


class Stub:
    """Announces a tensor of one shape and dtype, and yields what `blocks` gives."""

    def __init__(self, name: str, dtype: object, shape: tuple[int, ...], blocks: Callable[[], Iterator[np.ndarray]]):
        self.target = TensorSpec(name, np.dtype(dtype), shape)
        self.blocks = blocks


def tensor(name: str, array: np.ndarray, block: int = BLOCK) -> Stub:
    """An array that comes in blocks through one buffer, which is overwritten as soon as the next block is asked for."""
    array = np.asarray(array)
    flat = np.ascontiguousarray(array).reshape(-1)

    def blocks() -> Iterator[np.ndarray]:
        buffer = np.empty(min(block, flat.size), flat.dtype)
        for start in range(0, flat.size, block):
            part = flat[start : start + block]
            buffer[: part.size] = part
            yield buffer[: part.size]
            buffer.view(np.uint8)[:] = 0xAA

    return Stub(name, array.dtype, array.shape, blocks)


def arrays() -> dict[str, np.ndarray]:
    """One array for each dtype and for each shape that is easily got wrong, unique in every value."""
    values = np.random.default_rng(7)
    return {
        "bias": values.integers(-9, 9, 5).astype(np.int8),
        "counter": np.array(1234567890123),
        "flags": np.array([True, False, True]),
        "half": values.standard_normal((3, 5)).astype(np.float16),
        "brain": values.standard_normal((2, 3, 5)).astype(ml_dtypes.bfloat16),
        "weight": values.standard_normal((11, 13)).astype(np.float32),
        "scalar": np.array(0.1, np.float32),
        "empty": np.empty((2, 0, 4), np.float32),
        "double": values.standard_normal(9),
        "bytes": values.integers(0, 255, (1, 3)).astype(np.uint8),
        "small": values.integers(-999, 999, 3).astype(np.int16),
        "whole": values.integers(-999, 999, (2, 2)).astype(np.int32),
        '名前 "quoted"': np.ones(1, np.float32),
    }


def equal_bits(one: np.ndarray, other: np.ndarray) -> bool:
    return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())

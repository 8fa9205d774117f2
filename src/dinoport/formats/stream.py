"""Tensors on their way into a file: as bytes, block by block, checked against what was announced."""

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from dinoport.errors import FolderError
from dinoport.files.census import Census, take_census
from dinoport.tensor import Array, TensorSpec, dtype_name


class Writable(Protocol):
    """What can be written: a step of a plan, or anything that announces a tensor and then yields its values."""

    @property
    def target(self) -> TensorSpec: ...

    def blocks(self) -> Iterator[Array]:
        """Yield the flattened values in the target's dtype; a block is valid until the next one is asked for."""
        ...


def specs(tensors: Sequence[Writable]) -> list[TensorSpec]:
    """What is announced. Raises RuntimeError for two tensors of one name, of which a file could hold but one."""
    names = Counter(tensor.target.name for tensor in tensors)
    if twice := [name for name, count in names.items() if count > 1]:
        raise RuntimeError(f"would be written twice: {', '.join(twice)}")
    return [tensor.target for tensor in tensors]


def dtype_called(spec: TensorSpec, names: Mapping[np.dtype[Any], str], files: str) -> str:
    """What some files call the dtype of a tensor. Raises FolderError for one that they do not hold."""
    if spec.dtype not in names:
        raise FolderError(
            f"{spec.name} has a dtype that {files}",
            expected=", ".join(map(dtype_name, names)),
            found=dtype_name(spec.dtype),
            next_step="store it as one of these in the source",
        )
    return names[spec.dtype]


def stream(tensor: Writable, census: dict[str, Census]) -> Iterator[memoryview]:
    """Yield the values of one tensor as little-endian bytes, and note in `census` what was seen of them.

    Raises RuntimeError where the blocks are not what the target announces, before the surplus is yielded.
    """
    spec, done, found = tensor.target, 0, Census()
    for block in tensor.blocks():
        if block.dtype != spec.dtype:
            raise RuntimeError(f"{spec.name}: {dtype_name(block.dtype)} came for {dtype_name(spec.dtype)}")
        done += block.size
        if done > spec.size:
            raise RuntimeError(f"{spec.name}: more than {spec.size} elements came")
        flat = np.ascontiguousarray(block).reshape(-1)
        found += take_census(flat)
        if sys.byteorder == "big":
            flat = flat.byteswap()
        yield flat.view(np.uint8).data
    if done != spec.size:
        raise RuntimeError(f"{spec.name}: {done} of {spec.size} elements came")
    census[spec.name] = found

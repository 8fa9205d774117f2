"""The safetensors format: a length, a JSON header, and the raw bytes of all tensors without a gap."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import prod
from typing import Any

import ml_dtypes
import numpy as np

from dinoport.checkpoints.byte_sources import ByteSource
from dinoport.checkpoints.storage import Storage
from dinoport.checkpoints.values import stored_tensor
from dinoport.errors import CheckpointError
from dinoport.tensor import TensorRef

MAX_HEADER_BYTES = 100_000_000
"""The limit of the safetensors library itself."""

LENGTH_BYTES = 8

DTYPES: Mapping[str, np.dtype[Any]] = {
    "F64": np.dtype("f8"), "F32": np.dtype("f4"), "F16": np.dtype("f2"), "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn), "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "I64": np.dtype("i8"), "I32": np.dtype("i4"), "I16": np.dtype("i2"), "I8": np.dtype("i1"),
    "U64": np.dtype("u8"), "U32": np.dtype("u4"), "U16": np.dtype("u2"), "U8": np.dtype("u1"), "BOOL": np.dtype("?"),
}  # fmt: skip
"""The format's dtypes, by the names in its header."""


def looks_like_safetensors(start: bytes) -> bool:
    """Whether a file that begins with these bytes can be safetensors: a length, then an opening brace."""
    return len(start) > LENGTH_BYTES and start[LENGTH_BYTES : LENGTH_BYTES + 1] == b"{"


def read_safetensors(source: ByteSource) -> dict[str, TensorRef]:
    """The tensors of one file, by name. Reads the header only; raises CheckpointError for each way to lie in it."""
    if source.size_bytes < LENGTH_BYTES:
        raise _broken(source, f"{source.size_bytes} bytes", "a length of 8 bytes, then a header")
    length = int.from_bytes(source.read(0, LENGTH_BYTES), "little")
    if length > min(MAX_HEADER_BYTES, source.size_bytes - LENGTH_BYTES):
        raise _broken(source, f"a header length of {length}", f"at most {source.size_bytes - LENGTH_BYTES}")
    header = _parse(source, source.read(LENGTH_BYTES, length))
    base = LENGTH_BYTES + length
    tensors: dict[str, TensorRef] = {}
    ranges: list[tuple[int, int, str]] = []
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        dtype, shape, start, stop = _entry(source, name, entry)
        if prod(shape) * dtype.itemsize != stop - start or stop > source.size_bytes - base:
            found = f"shape {shape} of {dtype} in bytes {start} to {stop}"
            raise _broken(source, f"{name}: {found}", f"bytes of that size, within {source.size_bytes - base}")
        ranges.append((start, stop, name))
        storage = Storage(source, name, stop - start, _at(base + start))
        strides = [prod(shape[axis + 1 :]) for axis in range(len(shape))]
        tensors[name] = stored_tensor(name, storage, dtype, 0, shape, strides)
    end = 0
    for start, stop, name in sorted(ranges):
        if start != end:
            raise _broken(source, f"{name} begins at byte {start}", f"byte {end}: neither a gap nor an overlap")
        end = stop
    if end != source.size_bytes - base:
        raise _broken(source, f"{source.size_bytes - base} bytes of data", f"{end}, as the header says")
    return tensors


def _parse(source: ByteSource, data: bytes) -> dict[str, object]:
    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        names = dict(pairs)
        if len(names) != len(pairs):
            raise ValueError("two entries of one name")
        return names

    try:
        header = json.loads(data.decode("utf-8"), object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise _broken(source, f"a header that is not sound JSON ({type(error).__name__})", "a JSON object") from error
    if not isinstance(header, dict):
        raise _broken(source, f"a header that is a {type(header).__name__}", "a JSON object")
    return header


def _entry(source: ByteSource, name: str, entry: object) -> tuple[np.dtype[Any], list[int], int, int]:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise _broken(source, f"an entry {name} without dtype, shape and data_offsets", "these three")
    shape, offsets = entry["shape"], entry["data_offsets"]
    dtype = DTYPES.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
    if dtype is None:
        raise _broken(source, f"{name} of dtype {entry['dtype']!r}", f"one of {', '.join(DTYPES)}")
    for numbers in (shape, offsets):
        if not isinstance(numbers, list) or any(type(number) is not int or number < 0 for number in numbers):
            raise _broken(source, f"{name} with {str(numbers)[:60]}", "whole numbers, none negative")
    if len(offsets) != 2 or offsets[0] > offsets[1]:
        raise _broken(source, f"{name} in bytes {offsets}", "a begin and an end")
    return dtype, shape, offsets[0], offsets[1]


def _at(offset: int) -> Any:
    return lambda: offset


def _broken(source: ByteSource, found: str, expected: str) -> CheckpointError:
    return CheckpointError(
        f"{source.where} is not a sound safetensors file",
        expected=expected,
        found=found,
        cause="a download that broke off, a damaged file, or one that was made to mislead",
        next_step="fetch the file again and compare its size with the original's",
    )

"""The safetensors format: a length, a JSON header, and the raw bytes of all tensors without a gap."""

from collections.abc import Mapping
from math import prod
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from dinoport.errors import CheckpointError
from dinoport.files.byte_sources import ByteSource
from dinoport.files.damage import COMPARE_SIZES, MADE_TO_MISLEAD, damaged, too_short
from dinoport.files.json_text import parse_object
from dinoport.files.names import MAX_NAME_CHARACTERS, is_name, short_text
from dinoport.formats.storage import Storage
from dinoport.formats.values import MAX_AXES, are_sizes, stored_tensor
from dinoport.shown.packages import saved_again
from dinoport.tensor import BFLOAT16, TensorRef, dtype_name, shape_text

MAX_HEADER_BYTES = 16 * 1024 * 1024
"""Fifty thousand tensors with names of two hundred characters. The library's own limit is 100 MB."""

MAX_TENSORS = 50_000
"""In one file: a 7B model has some five hundred. One takes 1.5 kB of memory here."""

DTYPES: Mapping[str, np.dtype[Any]] = {
    "F64": np.dtype("f8"), "F32": np.dtype("f4"), "F16": np.dtype("f2"), "BF16": BFLOAT16,
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn), "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "I64": np.dtype("i8"), "I32": np.dtype("i4"), "I16": np.dtype("i2"), "I8": np.dtype("i1"),
    "U64": np.dtype("u8"), "U32": np.dtype("u4"), "U16": np.dtype("u2"), "U8": np.dtype("u1"), "BOOL": np.dtype("?"),
}  # fmt: skip
"""By the names in a header. Source: safetensors/src/tensor.rs, `Dtype`."""

NAMES: Mapping[np.dtype[Any], str] = {dtype: name for name, dtype in DTYPES.items() if not name.startswith("F8")}
"""What the writer writes, by dtype: no weight is kept in eight bits."""

LENGTH_BYTES = 8

OTHER_LAYOUTS = {"tf": "TensorFlow", "flax": "Flax"}
"""Formats in a file's metadata for which Transformers 4 transposes weights as it loads them."""


def looks_like_safetensors(start: bytes) -> bool:
    """Whether a file that begins with these bytes can be safetensors: a length, then an opening brace."""
    return len(start) > LENGTH_BYTES and start[LENGTH_BYTES : LENGTH_BYTES + 1] == b"{"


def read_safetensors(source: ByteSource) -> dict[str, TensorRef]:
    """The tensors of one file, by name. Reads the header only; raises CheckpointError for each way to lie in it."""
    if source.size_bytes < LENGTH_BYTES:
        raise _broken(source, f"{source.size_bytes} bytes", "a length of 8 bytes, then a header")
    length = int.from_bytes(source.read(0, LENGTH_BYTES), "little")
    longest = min(MAX_HEADER_BYTES, source.size_bytes - LENGTH_BYTES)
    if length > longest:
        raise _broken(source, f"a header that is said to take {length} bytes", f"at most {longest}")
    text = source.read(LENGTH_BYTES, length)
    try:
        header = parse_object(text)
    except ValueError as error:
        raise _broken(source, f"in its header, {error}", "a JSON object") from error
    if not text.startswith(b"{"):
        raise _broken(source, "a header that begins with spaces", "a JSON object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise _broken(source, f"the metadata {short_text(metadata)}", "texts by name")
    if library := OTHER_LAYOUTS.get(metadata.get("format", "")):
        raise CheckpointError(
            f"{source.where} holds the weights of a {library} model",
            expected="weights that PyTorch saved",
            found=f"format {metadata['format']} in its metadata",
            cause=f"{library} keeps the axes of weights in another order, and Transformers turns them",
            next_step=saved_again(),
        )
    if len(header) > MAX_TENSORS:
        raise _broken(source, f"{len(header)} tensors", f"at most {MAX_TENSORS}")
    base = LENGTH_BYTES + length
    entries = {name: _entry(source, name, entry) for name, entry in header.items()}
    _check_ranges(source, entries, source.size_bytes - base)
    tensors: dict[str, TensorRef] = {}
    for name, entry in entries.items():
        extent = (base + entry.start, base + entry.stop)
        storage = Storage(source, name, entry.stop - entry.start, _at(extent[0]), extent=_at(extent))
        strides = [prod(entry.shape[axis + 1 :]) for axis in range(len(entry.shape))]
        tensors[name] = stored_tensor(name, storage, entry.dtype, 0, entry.shape, strides)
    return tensors


class _Entry(NamedTuple):
    dtype: np.dtype[Any]
    shape: list[int]
    start: int
    stop: int


def _check_ranges(source: ByteSource, entries: Mapping[str, _Entry], data_bytes: int) -> None:
    """Whether the tensors take all bytes behind the header, each once."""
    end = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].stop)):
        if entry.start != end:
            raise _broken(source, f"{name} begins at byte {entry.start}", f"byte {end}: neither a gap nor an overlap")
        end = entry.stop
    if end > data_bytes:
        cause = "a download or a copy that broke off, or a header that was made to mislead"
        raise too_short(source.where, f"{end} bytes of tensors, as its header says", f"{data_bytes}", cause=cause)
    if end != data_bytes:
        raise _broken(source, f"{data_bytes} bytes of tensors", f"{end}, as the header says")


def _entry(source: ByteSource, name: str, entry: object) -> _Entry:
    if not is_name(name):
        raise _broken(source, f"an impossible name: {short_text(name)}", f"at most {MAX_NAME_CHARACTERS} characters")
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise _broken(source, f"an entry {name} without dtype, shape and data_offsets", "these three")
    shape, offsets = entry["shape"], entry["data_offsets"]
    dtype = DTYPES.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
    if dtype is None:
        raise _broken(source, f"{name} of dtype {short_text(entry['dtype'])}", f"one of {', '.join(DTYPES)}")
    for numbers in (shape, offsets):
        if not isinstance(numbers, list) or not are_sizes(numbers):
            raise _broken(source, f"{name} with {short_text(numbers)}", f"{MAX_AXES} whole numbers at most, from 0 on")
    if len(offsets) != 2 or prod(shape) * dtype.itemsize != offsets[1] - offsets[0]:
        found = f"{name}: shape {shape_text(tuple(shape))} of {dtype_name(dtype)} in bytes {short_text(offsets)}"
        raise _broken(source, found, f"{prod(shape) * dtype.itemsize} bytes")
    return _Entry(dtype, shape, offsets[0], offsets[1])


def _at(place: Any) -> Any:
    return lambda: place


def _broken(source: ByteSource, found: str, expected: str) -> CheckpointError:
    cause = f"a download that broke off, {MADE_TO_MISLEAD}"
    what = f"{source.where} is not a sound safetensors file"
    return damaged(what, found, expected, cause=cause, next_step=COMPARE_SIZES)

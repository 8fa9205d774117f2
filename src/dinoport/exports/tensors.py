"""The tensors of an ONNX file: references to bytes of it, or of files beside it."""

from itertools import islice
from math import prod
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from dinoport.errors import UnsafeCheckpointError
from dinoport.exports.wire import EXPORT_AGAIN, MAX_UNPACKED, Run, Wire
from dinoport.files.byte_sources import ByteSource
from dinoport.files.damage import too_short
from dinoport.files.folders import LocalFolder
from dinoport.files.names import is_name, short_text
from dinoport.formats.storage import Storage
from dinoport.formats.values import MAX_AXES, is_shape, stored_tensor
from dinoport.tensor import BFLOAT16, ArrayValues, TensorRef, shape_text

DTYPES: dict[int, np.dtype[Any]] = {
    1: np.dtype("f4"), 10: np.dtype("f2"), 11: np.dtype("f8"), 16: BFLOAT16, 9: np.dtype("?"),
    2: np.dtype("u1"), 3: np.dtype("i1"), 5: np.dtype("i2"), 6: np.dtype("i4"), 7: np.dtype("i8"),
}  # fmt: skip
"""By ONNX's number. What is narrower than a byte, complex, or a text is not read."""

NUMBERS: dict[int, tuple[str, ...]] = {
    4: ("float32",),
    5: ("int32", "int16", "int8", "uint8", "bool", "float16", "bfloat16"),
    7: ("int64",),
    10: ("float64",),
    11: (),
}
"""Which tensors have their numbers in which field of TensorProto, by `onnx.proto`; the last holds types not read."""


class Tensors:
    """Those of one file. `files` are the others that some of them lie in, by name; the caller closes them."""

    def __init__(self, wire: Wire, folder: LocalFolder) -> None:
        self.wire, self.source, self.folder = wire, wire.source, folder
        self.files: dict[str, ByteSource] = {}

    def tensor(self, message: Run) -> TensorRef:
        """TensorProto: its values lie in the file as bytes, in another file, or are few and written one by one."""
        fields = message.message(1, 2, 3, *NUMBERS, 6, 8, 9, 13, 14)
        name, shape = fields.text(8), list(islice(fields.wholes(1), MAX_AXES + 1))
        if fields.numbers & {3, 6}:
            raise self.wire.broken(f"a tensor {short_text(name)} of texts or segments", "numbers, whole")
        numbers = (number for field in (5, 7, 11) for number in fields.wholes(field))
        unpacked = [*fields.floats(4), *fields.floats(10), *islice(numbers, MAX_UNPACKED + 1)]
        if len(unpacked) > MAX_UNPACKED:
            raise self.wire.broken(f"more than {MAX_UNPACKED} numbers written one by one", "weights as bytes")
        if not is_name(name):
            raise self.wire.broken(f"a wrong name: {short_text(name)}", "a short text")
        code = fields.whole(2)
        dtype = DTYPES.get(code)
        if dtype is None:
            raise self.wire.broken(f"{name} of ONNX's type {code}", f"one of {', '.join(map(str, DTYPES.values()))}")
        if not is_shape(shape) or any(size >= 2**40 for size in shape) or prod(shape) >= 2**40:
            raise self.wire.broken(f"{name} of shape {short_text(shape)}", "the shape of a weight")
        if of_others := sorted(field for field in fields.numbers & NUMBERS.keys() if dtype.name not in NUMBERS[field]):
            found = f"{name} of {dtype} with numbers in field {of_others[0]}"
            raise self.wire.broken(found, f"numbers of {' or '.join(NUMBERS[of_others[0]]) or 'types not read'} there")
        if fields.whole(14):
            pairs = [pair.message(1, 2) for pair in fields.runs(13)]
            return self._external(name, dtype, shape, {pair.text(1): pair.text(2) for pair in pairs})
        if unpacked:
            return self._numbered(name, dtype, shape, unpacked)
        raw = next((fields.run(field) for field in (9, 4, 10) if fields.run(field)), None)
        size_bytes = prod(shape) * dtype.itemsize
        if (raw.size_bytes if raw else 0) != size_bytes:
            found = f"{name}: shape {shape_text(tuple(shape))} in {raw.size_bytes if raw else 0} bytes"
            raise self.wire.broken(found, f"{size_bytes} bytes")
        return self._stored(name, dtype, shape, self.source, raw.start if raw else 0)

    def _numbered(self, name: str, dtype: np.dtype[Any], shape: list[int], numbers: list[int | float]) -> TensorRef:
        if len(numbers) != prod(shape):
            raise self.wire.broken(f"{name}: {len(numbers)} numbers", f"{prod(shape)}")
        if dtype in (np.float16, BFLOAT16):  # written as the bits that they have
            bits = np.array([int(number) & 0xFFFF for number in numbers], np.uint16)
            values = bits.view(dtype)
        elif np.issubdtype(dtype, np.floating):
            values = np.array(numbers, dtype)
        else:
            values = np.array([signed(int(number)) for number in numbers], np.int64).astype(dtype)
        return TensorRef(name, dtype, tuple(shape), ArrayValues(values.reshape(shape)))

    def _external(self, name: str, dtype: np.dtype[Any], shape: list[int], place: dict[str, str]) -> TensorRef:
        """A tensor in a file beside this one."""
        location = place.get("location", "")
        parts = PurePosixPath(location).parts
        if not location or not is_name(location) or "\\" in location or ":" in location:
            raise self._leaving(name, location)
        if location.startswith("/") or ".." in parts:
            raise self._leaving(name, location)
        numbers = {key: place.get(key, "0") for key in ("offset", "length")}
        if not all(text.isdecimal() and len(text) < 19 for text in numbers.values()):
            raise self.wire.broken(f"{name} at {short_text(numbers)}", "whole numbers of bytes")
        offset, length = int(numbers["offset"]), int(numbers["length"])
        size_bytes = prod(shape) * dtype.itemsize
        if "length" in place and length != size_bytes:
            raise self.wire.broken(f"{name}: shape {shape_text(tuple(shape))} in {length} bytes", f"{size_bytes} bytes")
        if location not in self.files:
            self.files[location] = self.folder.open(location)
        return self._stored(name, dtype, shape, self.files[location], offset)

    def _leaving(self, name: str, location: str) -> UnsafeCheckpointError:
        return UnsafeCheckpointError(
            f"{self.source.where} names a file outside its folder",
            where=name,
            expected="the name of a file beside it",
            found=short_text(location) if location else "no name",
            cause="a file that was made to mislead",
            next_step="export the model again, or ask where the file came from",
        )

    def _stored(self, name: str, dtype: np.dtype[Any], shape: list[int], source: ByteSource, offset: int) -> TensorRef:
        size_bytes = prod(shape) * dtype.itemsize
        if offset + size_bytes > source.size_bytes:
            expected, found = f"{size_bytes} bytes at offset {offset}", f"a file of {source.size_bytes} bytes"
            raise too_short(source.where, expected, found, where=name, next_step=EXPORT_AGAIN)
        storage = Storage(source, name, size_bytes, lambda: offset)
        strides = [prod(shape[axis + 1 :]) for axis in range(len(shape))]
        return stored_tensor(name, storage, dtype, 0, shape, strides)


def packed(run: Run, size: int) -> bytes:
    """The bytes of packed numbers, of `size` bytes each."""
    if run.size_bytes % size or run.size_bytes // size > MAX_UNPACKED:
        raise run.wire.broken(f"{run.size_bytes} bytes of packed numbers", f"a multiple of {size}, and no weights")
    return run.bytes()


def signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value

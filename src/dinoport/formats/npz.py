"""NumPy's archive of arrays, `.npz`: a zip file with one `.npy` for each, stored or deflated.

`numpy.load` is not used: it runs what a pickled array says, and unpacks whatever an archive announces.
"""

import re
import struct
import zlib
from itertools import accumulate
from math import prod
from threading import Lock
from typing import Any

import numpy as np

from dinoport.errors import CheckpointError
from dinoport.files.byte_sources import ByteSource
from dinoport.files.damage import MADE_TO_MISLEAD, damaged, too_short
from dinoport.files.names import is_name, short_text
from dinoport.formats.storage import Storage
from dinoport.formats.torch.zip_directory import read_directory
from dinoport.formats.torch.zip_record import DEFLATED, Record
from dinoport.formats.values import stored_tensor
from dinoport.tensor import BLOCK_BYTES, TensorRef

SUFFIX = ".npy"

MAGIC = b"\x93NUMPY"

MAX_HEADER_BYTES = 10_000
"""Of an array: NumPy's own limit."""

MAX_UNPACKED = 8
"""How many times the file's size its records may unpack to. Weights hardly deflate; zeros do a thousandfold."""

SMALL_BYTES = 64 * 1024 * 1024
"""What records may unpack to in any case."""

HEADER = re.compile(
    rb"\{'descr': '(?P<dtype>[^'\\]{1,20})', 'fortran_order': (?P<fortran>True|False), "
    rb"'shape': \((?P<shape>(?:[0-9]{1,19},? ?){0,32})\), \} *\n?"
)
"""As `numpy.lib.format` writes it. Descriptions of structured arrays have another form."""

DTYPE = re.compile(r"[<>=|]([fiuc](?:1|2|4|8|16)|b1)")
"""Of numbers. `O` is pickled objects, `V` bytes without a dtype."""


def read_npz(source: ByteSource) -> dict[str, TensorRef]:
    """The arrays of an archive by name. Reads the directory and the headers of arrays; raises CheckpointError."""
    records = read_directory(source, deflated=True)
    strangers = [name for name in records if not name.endswith(SUFFIX) or not is_name(name.removesuffix(SUFFIX))]
    if strangers:
        raise _broken(source, f"{short_text(strangers[0])}, which is not an array", "arrays alone, each NAME.npy")
    unpacked = sum(record.size_bytes for record in records.values())
    if unpacked > MAX_UNPACKED * source.size_bytes + SMALL_BYTES:
        raise _broken(source, f"{unpacked} bytes, packed into {source.size_bytes}", "what weights unpack to")
    return {(name := record.name.removesuffix(SUFFIX)): _array(source, name, record) for record in records.values()}


def _array(source: ByteSource, name: str, record: Record) -> TensorRef:
    """One array by reference."""
    if record.method == DEFLATED:
        inflated = Inflated(source, record)
        storage = Storage(inflated, record.name, record.size_bytes, lambda: 0, record.crc32)
    else:
        storage = Storage(
            source, record.name, record.size_bytes, lambda: record.data_offset(source), record.crc32, record.extent
        )
    begin, text = _header(storage)
    match = HEADER.fullmatch(text)
    if match is None:
        raise _broken(storage.source, f"{name}: {short_text(text.strip())}", "a plain array of numbers")
    described = match["dtype"].decode("ascii", "replace")
    if not DTYPE.fullmatch(described):
        raise _unreadable(storage.source, name, described)
    dtype: np.dtype[Any] = np.dtype(described)
    shape = [int(length) for length in match["shape"].replace(b" ", b"").split(b",") if length]
    axes = shape if match["fortran"] == b"True" else shape[::-1]
    strides = list(accumulate(axes[:-1], lambda stride, length: stride * length, initial=1)) if shape else []
    if begin % dtype.itemsize or begin + dtype.itemsize * prod(shape) != record.size_bytes:
        found = f"{name}: shape {short_text(tuple(shape))} of {described} in {record.size_bytes - begin} bytes"
        raise _broken(storage.source, found, "the bytes of its shape, and no other")
    return stored_tensor(
        name,
        storage,
        dtype.newbyteorder("="),
        0,
        shape,
        strides if match["fortran"] == b"True" else strides[::-1],
        origin=begin // dtype.itemsize,
        count=(record.size_bytes - begin) // dtype.itemsize,
        big_endian=described.startswith(">"),
    )


def _header(storage: Storage) -> tuple[int, bytes]:
    """Where the values of an array begin, and the text that describes them."""
    start = _read(storage, 0, min(12, storage.size_bytes))
    version = start[6:8]
    if not start.startswith(MAGIC) or version not in (b"\1\0", b"\2\0", b"\3\0") or len(start) < 12:
        raise _broken(storage.source, f"{storage.label}, which does not begin as an array", "arrays alone")
    [length] = struct.unpack_from("<H" if version == b"\1\0" else "<I", start, 8)
    begin = (10 if version == b"\1\0" else 12) + length
    if not 12 <= begin <= min(MAX_HEADER_BYTES, storage.size_bytes):
        raise _broken(storage.source, f"{storage.label} with a header of {length} bytes", f"{MAX_HEADER_BYTES} at most")
    return begin, start[begin - length :] + _read(storage, 12, begin - 12)  # in order, for the checksum


def _read(storage: Storage, offset: int, size: int) -> bytes:
    buffer = bytearray(size)
    storage.readinto(offset, memoryview(buffer))
    return bytes(buffer)


def _unreadable(source: ByteSource, name: str, dtype: str) -> CheckpointError:
    what = "pickled objects" if "O" in dtype else "bytes without a dtype" if "V" in dtype else "no numbers"
    return CheckpointError(
        f"{source.where} holds {name} in a form that is not read",
        expected="arrays of numbers",
        found=f"dtype {dtype!r}: {what}",
        cause="a dict or a list that was saved as an array, which NumPy pickles"
        if "O" in dtype
        else "a dtype that NumPy does not have, such as bfloat16",
        next_step="save the arrays one by one: numpy.savez(FILE, **{name: array}), as float32",
    )


def _broken(source: ByteSource, found: str, expected: str) -> CheckpointError:
    cause = f"an archive that another program wrote, {MADE_TO_MISLEAD}"
    next_step = "save the arrays again: numpy.savez(FILE, **{name: array})"
    return damaged(f"{source.where} is not a sound .npz file", found, expected, cause=cause, next_step=next_step)


class Inflated(ByteSource):
    """What a record unpacks to. A reader that goes back begins anew; no more than it asks for is ever unpacked."""

    def __init__(self, source: ByteSource, record: Record) -> None:
        self.where = source.where
        self.size_bytes = record.size_bytes
        self._source, self._record = source, record
        self._lock = Lock()
        self._begin()

    def readinto(self, offset: int, buffer: memoryview) -> None:
        with self._lock:
            if offset < self._position:
                self._begin()
            while self._position < offset:
                self._inflate(min(BLOCK_BYTES, offset - self._position))
            done = 0
            while done < len(buffer):
                part = self._inflate(len(buffer) - done)
                buffer[done : done + len(part)] = part
                done += len(part)

    def too_short(self, offset: int, size: int) -> CheckpointError:
        held = f"{self._record.name}, of {self.size_bytes} bytes"
        return too_short(self.where, f"{size} bytes at offset {offset}", held)

    def check_unchanged(self) -> None:
        self._source.check_unchanged()

    def _begin(self) -> None:
        self._stream = zlib.decompressobj(-zlib.MAX_WBITS)
        self._position = 0
        self._taken = 0

    def _inflate(self, limit: int) -> bytes:
        """The next bytes, at most `limit`. Raises CheckpointError where they cannot be had."""
        packed = self._stream.unconsumed_tail
        if not packed and self._taken < self._record.packed_bytes:
            size = min(BLOCK_BYTES, self._record.packed_bytes - self._taken)
            packed = self._source.read(self._record.data_offset(self._source) + self._taken, size)
            self._taken += size
        try:
            found = self._stream.decompress(packed, limit)
        except zlib.error as error:
            raise self._damaged(str(error)) from error
        if not found and (self._stream.eof or (not packed and self._taken == self._record.packed_bytes)):
            raise self._damaged(f"{self._position} bytes, where the directory says {self.size_bytes}")
        self._position += len(found)
        return found

    def _damaged(self, found: str) -> CheckpointError:
        return damaged(
            f"{self.where} is damaged: a record cannot be unpacked",
            found,
            where=self._record.name,
            cause="a download or a copy that broke off, or a flipped bit",
        )

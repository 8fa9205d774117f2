"""One record of a zip file: where its bytes lie, and whether its own header says the same as the directory."""

import struct
from typing import NamedTuple

from dinoport.errors import CheckpointError
from dinoport.files.byte_sources import ByteSource
from dinoport.files.damage import damaged

DESCRIPTORS = frozenset({0, 12, 16, 20, 24})
"""Bytes behind a record: none, or its checksum and sizes with or without a signature. torch may count on them."""

MAX_HEADER_BYTES = 2048
"""Of a record of torch.save's: a hundred, with a name of MAX_NAME_BYTES at most."""

LOCAL_HEADER = struct.Struct("<4s2x2H16x2H")
"""Signature, flags, method, then the lengths of name and extra field."""

STORED, DEFLATED = 0, 8
"""Methods of a record."""

ENCRYPTED = 0x2061
"""Flags: encrypted, a patch, strongly encrypted, masked."""


class Record(NamedTuple):
    """One record: its bytes lie somewhere behind its header, and end before `limit`. Some have no checksum.

    `packed_bytes` is what they take in the file: less than `size_bytes` where they are deflated.
    """

    name: str
    size_bytes: int
    crc32: int | None
    header_offset: int
    limit: int
    packed_bytes: int
    method: int = STORED

    @property
    def is_stored(self) -> bool:
        return self.method == STORED and self.packed_bytes == self.size_bytes

    def extent(self) -> tuple[int, int]:
        """A span that holds the record with its header, and hardly more."""
        return self.header_offset, min(self.limit, self.header_offset + MAX_HEADER_BYTES + self.packed_bytes)

    def data_offset(self, source: ByteSource) -> int:
        """Where the record's bytes begin. Raises CheckpointError where its header contradicts the directory."""
        return self._data_offset(source, source.read(self.header_offset, self._header_bytes))

    def content(self, source: ByteSource) -> bytes:
        """All bytes of a stored record, which is small: read at once with its header."""
        begin, end = self.extent()
        data = source.read(begin, end - begin)
        offset = self._data_offset(source, data) - begin
        if offset + self.size_bytes > len(data):
            return source.read(begin + offset, self.size_bytes)
        return data[offset : offset + self.size_bytes]

    @property
    def _header_bytes(self) -> int:
        return LOCAL_HEADER.size + len(self.name.encode())

    def _data_offset(self, source: ByteSource, header: bytes) -> int:
        signature, flags, method, name_bytes, extra_bytes = LOCAL_HEADER.unpack_from(header)
        name = self.name.encode()
        same = name_bytes == len(name) and header[LOCAL_HEADER.size : self._header_bytes] == name
        if signature != b"PK\3\4" or not same or method != self.method or flags & ENCRYPTED:
            raise broken(source, f"{self.name} is not where the directory says")
        offset = self.header_offset + self._header_bytes + extra_bytes
        behind = self.limit - offset - self.packed_bytes
        if behind < 0:
            raise broken(source, f"{self.name} reaches into what comes after it")
        if behind not in DESCRIPTORS:
            raise broken(source, f"{behind} bytes behind {self.name} that belong to no record")
        return int(offset)


def broken(source: ByteSource, found: str) -> CheckpointError:
    return damaged(f"{source.where} is not a sound zip file", found)

"""A run of bytes that tensors are views of: one record of a torch file, with its checksum if the file has one."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol, runtime_checkable

from dinoport.checkpoints.byte_sources import ByteSource
from dinoport.errors import CheckpointError
from dinoport.tensor import BLOCK_BYTES, Values


@dataclass(frozen=True, eq=False)
class Storage:
    """`size_bytes` bytes of `source`. Where they begin is found out when they are first wanted.

    `crc32` is the checksum that the file itself holds for them.
    """

    source: ByteSource
    label: str
    size_bytes: int
    locate: Callable[[], int] = field(repr=False)
    crc32: int | None = None

    @cached_property
    def offset_bytes(self) -> int:
        """Where the storage begins in its source. Raises CheckpointError where the file contradicts itself."""
        offset = self.locate()
        if offset + self.size_bytes > self.source.size_bytes:
            raise CheckpointError(
                f"{self.source.where} ends too early",
                where=self.label,
                expected=f"{self.size_bytes} bytes at offset {offset}",
                found=f"a file of {self.source.size_bytes} bytes",
                cause="a download or a copy that broke off",
                next_step="fetch the file again and compare its size with the original's",
            )
        return offset

    def check(self) -> None:
        """Read the whole storage and compare it with the file's own checksum. Raises CheckpointError."""
        if self.crc32 is None:
            return
        found = 0
        buffer = memoryview(bytearray(min(BLOCK_BYTES, self.size_bytes)))
        for start in range(0, self.size_bytes, BLOCK_BYTES):
            part = buffer[: min(BLOCK_BYTES, self.size_bytes - start)]
            self.source.readinto(self.offset_bytes + start, part)
            found = zlib.crc32(part, found)
        if found != self.crc32:
            raise CheckpointError(
                f"{self.source.where} is damaged: a checksum does not hold",
                where=self.label,
                expected=f"CRC-32 {self.crc32:08x}, as the file says",
                found=f"{found:08x}",
                cause="a flipped bit on disk or in transfer; torch.load does not check this",
                next_step="fetch the file again",
            )


@runtime_checkable
class InStorages(Protocol):
    """Values that lie in storages, of which a file may hold checksums."""

    def storages(self) -> Iterable[Storage]:
        """Every storage that the values lie in. Raises CheckpointError where one cannot be found."""
        ...


def storages_of(values: Values) -> Iterable[Storage]:
    """The storages that values lie in; none for values that are made in memory."""
    return values.storages() if isinstance(values, InStorages) else ()

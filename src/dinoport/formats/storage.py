"""A run of bytes that tensors are views of: one record of a torch file, with its checksum if the file has one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock

import numpy as np

from dinoport.errors import CheckpointError
from dinoport.files.byte_sources import ByteSource
from dinoport.files.checksums import crc32
from dinoport.files.damage import too_short
from dinoport.tensor import BLOCK_BYTES, TensorRef, Values


@dataclass(eq=False)
class Storage:
    """`size_bytes` bytes of `source`. Where they begin is found out when they are first wanted.

    `crc32` is the checksum that the file itself holds for them. `extent` gives a span of the source that surely holds
    them, and hardly more, where that is known without reading. `doubt` names a step of the file that may change the
    bytes as it is loaded: then they are not what a tensor holds, and are not read. It is set once the pickle was read.
    """

    source: ByteSource
    label: str
    size_bytes: int
    locate: Callable[[], int] = field(repr=False)
    crc32: int | None = None
    extent: Callable[[], tuple[int, int]] | None = field(default=None, repr=False)
    doubt: str | None = None
    _sum: _RunningSum = field(default_factory=lambda: _RunningSum(), repr=False)

    @cached_property
    def offset_bytes(self) -> int:
        """Where the storage begins in its source. Raises CheckpointError where the file contradicts itself."""
        self.refuse_doubt()
        offset = self.locate()
        if offset + self.size_bytes > self.source.size_bytes:
            expected, found = f"{self.size_bytes} bytes at offset {offset}", f"a file of {self.source.size_bytes} bytes"
            raise too_short(self.source.where, expected, found, where=self.label)
        return offset

    def refuse_doubt(self) -> None:
        """Raise CheckpointError where loading the file may change these bytes."""
        if self.doubt:
            raise CheckpointError(
                f"{self.source.where} may change a tensor while it is loaded",
                where=self.label,
                expected="tensors that stay what their bytes in the file are",
                found=f"{self.doubt}, which can reach the tensor; what it does is not known here",
                cause="a training loop's object that was saved with the weights, or a file that was made to mislead",
                next_step="load it where you trust it, and save the state dict alone with torch.save",
            )

    def readinto(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from byte `offset` of the storage, and carry its checksum on where these bytes come next."""
        self.source.readinto(self.offset_bytes + offset, buffer)
        if self.crc32 is not None:
            self._sum.add(offset, buffer)

    def check(self) -> None:
        """Compare with the file's own checksum what was read; what was not read in order yet is read now.

        Raises CheckpointError.
        """
        if self.crc32 is None:
            return
        buffer = np.empty(min(BLOCK_BYTES, self.size_bytes), dtype=np.uint8).data
        while (done := self._sum.size_bytes) < self.size_bytes:
            self.readinto(done, buffer[: min(BLOCK_BYTES, self.size_bytes - done)])
        found = self._sum.crc32
        if found != self.crc32:
            raise checksum_error(self.source.where, self.label, self.crc32, found)


def checksum_error(where: str, label: str, expected: int, found: int) -> CheckpointError:
    return CheckpointError(
        f"{where} is damaged: a checksum does not hold",
        where=label,
        expected=f"CRC-32 {expected:08x}, as the file says",
        found=f"{found:08x}",
        cause="a flipped bit on disk or in transfer; torch.load does not check this",
        next_step="fetch the file again",
    )


class _RunningSum:
    """The checksum of a storage's bytes as far as they were read in order, from the first on. Safe for threads."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self.crc32 = 0
        self._lock = Lock()

    def add(self, offset: int, data: memoryview) -> None:
        """Count bytes in that come next; others are of no use."""
        with self._lock:
            if offset == self.size_bytes:
                self.crc32 = crc32(data, self.crc32)
                self.size_bytes += len(data)


def storages_of(values: Values) -> Iterable[Storage]:
    """Every storage that values lie in; none for values that are made in memory.

    Raises CheckpointError where one cannot be found.
    """
    own = getattr(values, "storages", None)
    return () if own is None else own()


def summed_storages(tensors: Iterable[TensorRef]) -> list[Storage]:
    """Every storage behind these tensors that carries a checksum, once."""
    found: dict[int, Storage] = {}
    for tensor in tensors:
        found |= {id(storage): storage for storage in storages_of(tensor.values) if storage.crc32 is not None}
    return list(found.values())

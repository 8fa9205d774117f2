"""The bytes of a deflated record, as a source: inflated block by block in order, and never kept."""

import zlib
from threading import Lock

from dinoport.errors import CheckpointError
from dinoport.files.byte_sources import ByteSource, Readable
from dinoport.files.damage import damaged, too_short
from dinoport.formats.torch.zip_record import Record
from dinoport.tensor import BLOCK_BYTES


class Inflated(Readable):
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

    def close(self) -> None:
        """The source is closed by its owner."""

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

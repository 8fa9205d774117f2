"""Where bytes come from: a local file today, a range of a remote one behind the same few methods."""

from __future__ import annotations

import io
import os
from pathlib import Path
from threading import Lock
from typing import Protocol

from dinoport.errors import CheckpointError


class ByteSource(Protocol):
    """Random access to bytes. Safe to read from several threads."""

    @property
    def where(self) -> str:
        """What a message calls it."""
        ...

    @property
    def size_bytes(self) -> int: ...

    def read(self, offset: int, size: int) -> bytes:
        """Exactly `size` bytes at `offset`. Raises CheckpointError where there are fewer."""
        ...

    def readinto(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset`. Raises CheckpointError where there are fewer bytes."""
        ...

    def check_unchanged(self) -> None:
        """Raise CheckpointError if the source is not what it was when it was opened."""
        ...

    def close(self) -> None: ...


class LocalFile:
    """A file on disk, never mapped: reading a mapped file that shrinks kills the process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.where = str(path)
        try:
            self._file = path.open("rb", buffering=0)
        except OSError as error:
            raise _unreadable(path, error) from error
        self._stat = os.fstat(self._file.fileno())
        self.size_bytes = self._stat.st_size
        self._lock = Lock()

    def read(self, offset: int, size: int) -> bytes:
        if size > max(self.size_bytes - offset, 0):
            raise self._too_short(offset, size)
        buffer = bytearray(size)
        self.readinto(offset, memoryview(buffer))
        return bytes(buffer)

    def readinto(self, offset: int, buffer: memoryview) -> None:
        done = 0
        while done < len(buffer):
            count = self._readinto_once(offset + done, buffer[done:])
            if not count:
                raise self._too_short(offset, len(buffer))
            done += count

    def _readinto_once(self, offset: int, buffer: memoryview) -> int:
        try:
            if hasattr(os, "preadv"):
                return os.preadv(self._file.fileno(), [buffer], offset)
            with self._lock:
                self._file.seek(offset)
                return self._file.readinto(buffer) or 0
        except OSError as error:
            raise _unreadable(self.path, error) from error

    def check_unchanged(self) -> None:
        now = os.fstat(self._file.fileno())
        if (now.st_size, now.st_mtime_ns) != (self._stat.st_size, self._stat.st_mtime_ns):
            raise CheckpointError(
                f"{self.where} changed while it was read",
                expected=f"{self._stat.st_size} bytes, as when it was opened",
                found=f"{now.st_size} bytes, modified since",
                cause="a training run or a download is still writing it",
                next_step="wait until it is complete, or copy it first",
            )

    def close(self) -> None:
        self._file.close()

    def _too_short(self, offset: int, size: int) -> CheckpointError:
        return CheckpointError(
            f"{self.where} ends too early",
            expected=f"{size} bytes at offset {offset}",
            found=f"a file of {self.size_bytes} bytes",
            cause="a download or a copy that broke off",
            next_step="fetch the file again and compare its size with the original's",
        )


class SourceFile(io.RawIOBase):
    """A read-only file object over a byte source, for the standard library's `zipfile`."""

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._source.size_bytes}[whence]
        self._position = max(base + offset, 0)
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        left = max(self._source.size_bytes - self._position, 0)
        count = left if size is None or size < 0 else min(size, left)
        data = self._source.read(self._position, count)
        self._position += count
        return data


def _unreadable(path: Path, error: OSError) -> CheckpointError:
    return CheckpointError(
        f"{path} cannot be read: {error.strerror or error}",
        cause="the file does not exist" if isinstance(error, FileNotFoundError) else None,
        next_step=f"ls -l {path}",
    )

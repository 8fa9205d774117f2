"""Files of a folder that holds more of them than a process may keep open."""

import os
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from stat import S_ISREG
from threading import Lock

from dinoport.files.byte_sources import ByteSource, LocalFile, check_same, not_regular, unreadable

MAX_OPEN_FILES = 64
"""Of one pool. A run of a thousand ranks writes a thousand files, and many systems allow a process 256."""


class FilePool:
    """Files that are opened when they are first read, no more than `limit` of them kept open.

    A reader takes a file out and puts it back, so none is closed while it is read.
    """

    def __init__(self, limit: int = MAX_OPEN_FILES) -> None:
        self._limit = limit
        self._idle: OrderedDict[Path, LocalFile] = OrderedDict()
        self._lock = Lock()

    @contextmanager
    def borrow(self, path: Path) -> Iterator[LocalFile]:
        with self._lock:
            file = self._idle.pop(path, None)
        file = file or LocalFile(path)
        try:
            yield file
        finally:
            with self._lock:
                surplus = [file] if path in self._idle else []
                if not surplus:
                    self._idle[path] = file
                if len(self._idle) > self._limit:
                    surplus.append(self._idle.popitem(last=False)[1])
            for each in surplus:
                each.close()

    def close(self) -> None:
        with self._lock:
            while self._idle:
                self._idle.popitem()[1].close()


class PooledFile(ByteSource):
    """A file on disk, one of more than a process may hold open at once. One that is replaced is noticed."""

    def __init__(self, path: Path, pool: FilePool) -> None:
        self.path = path
        self.where = str(path)
        self._pool = pool
        self._stat = _stat(path)
        if not S_ISREG(self._stat.st_mode):
            raise not_regular(path)
        self.size_bytes = self._stat.st_size

    def readinto(self, offset: int, buffer: memoryview) -> None:
        with self._pool.borrow(self.path) as file:
            check_same(self.where, self._stat, file.stat)
            file.readinto(offset, buffer)

    def check_unchanged(self) -> None:
        check_same(self.where, self._stat, _stat(self.path))

    def close(self) -> None:
        """Close the whole pool: its files belong together."""
        self._pool.close()


def _stat(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise unreadable(path, error) from error

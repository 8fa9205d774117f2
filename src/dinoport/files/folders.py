"""Folders that hold a checkpoint in several files, wherever they lie, and where the links in them may lead.

A folder may be a stranger's: a link out of it could have a conversion copy a private model, or a message quote a
private file. Caches that keep a folder's files elsewhere, and link to them, are known by their layout, and allowed.
"""

from __future__ import annotations

import os
import shutil
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from stat import S_ISREG
from threading import Lock
from typing import TYPE_CHECKING, TypeAlias

from dinoport.errors import CheckpointError, UnsafeCheckpointError
from dinoport.files.byte_sources import ByteSource, LocalFile, check_same, not_regular, unreadable
from dinoport.files.damage import damaged
from dinoport.shown.text import as_word

if TYPE_CHECKING:
    from dinoport.files.remote.folder import RemoteFolder

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


SNAPSHOTS, BLOBS = "snapshots", "blobs"
"""Hugging Face's cache: `snapshots/<revision>/model.safetensors` leads to `blobs/<hash>` beside."""

ANNEX = Path(".git", "annex", "objects")
"""git-annex and DataLad: every large file is a link to this folder of the repository that it is in."""

Folder: TypeAlias = "LocalFolder | RemoteFolder"
"""Where the files of a checkpoint lie. No web server is sure to list them, so they are asked for by name."""


class LocalFolder:
    """A folder on disk. Its files may be links, as in a cache of the Hub, but to no place outside of that.

    Of more files than a process may keep open, those of a `pool` are open at once.
    """

    def __init__(self, path: Path, pool: FilePool | None = None) -> None:
        self.where = str(path)
        self._path, self._pool = path, pool

    def named(self, name: str) -> str:
        """What a message calls a file of the folder."""
        return str(self._path / name)

    def open(self, name: str) -> ByteSource:
        """A file of the folder. Raises CheckpointError for a link that leaves it, and for what is not a file."""
        path = self._path / name
        refuse_leaving(path, self._path)
        return PooledFile(path, self._pool) if self._pool else LocalFile(path)

    def missing(self, names: Sequence[str]) -> list[str]:
        """Those of these files that are not there."""
        return [name for name in names if not _exists(self._path / name)]

    def read(self, name: str, max_bytes: int) -> bytes | None:
        """A small file, whole; None where it is not there. Raises CheckpointError for a larger one."""
        if not (self._path / name).is_file():
            return None
        refuse_leaving(self._path / name, self._path)
        with closing(LocalFile(self._path / name)) as source:
            if source.size_bytes > max_bytes:
                raise unsound(source.where, f"{source.size_bytes} bytes, where at most {max_bytes} are sound")
            return source.read(0, source.size_bytes)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # such as a name that is too long
        return False


def unsound(where: str, found: str) -> CheckpointError:
    cause = "a download that broke off, or a file that was edited"
    return damaged(f"{where} is not sound", found, cause=cause, next_step="fetch the folder again")


def refuse_leaving(path: Path, folder: Path) -> None:
    """Raise UnsafeCheckpointError for a file of `folder` that is a link out of it, to no cache of the folder's own."""
    real, home = Path(os.path.realpath(path)), Path(os.path.realpath(folder))
    if home in real.parents or any(store in real.parents for store in _stores(home)):
        return
    raise UnsafeCheckpointError(
        f"{path} is a link that leaves its folder",
        expected="a file in the folder itself, or in the cache that the folder belongs to",
        found=f"a link to {real}",
        cause="a link to save space, or a folder that was made to mislead",
        next_step=(f"if you know where it comes from: cp -rL {as_word(folder)} COPY", "then give COPY"),
    )


def link_or_copy(path: Path, place: Path) -> None:
    """Let a place lead to a file. On Windows, where links are a privilege, it is a copy."""
    try:
        place.symlink_to(path.resolve())
    except OSError:
        shutil.copyfile(path, place)


def _stores(home: Path) -> Iterator[Path]:
    for above in (home, *home.parents):
        if above.name == SNAPSHOTS:
            yield above.parent / BLOBS
        yield above / ANNEX

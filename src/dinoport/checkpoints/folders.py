"""Folders that hold a checkpoint in several files, wherever they lie."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Protocol

from dinoport.checkpoints.byte_sources import ByteSource, LocalFile
from dinoport.checkpoints.file_pool import FilePool, PooledFile
from dinoport.errors import CheckpointError


class Folder(Protocol):
    """Where the files of a checkpoint lie. No web server is sure to list them, so they are asked for by name."""

    @property
    def where(self) -> str: ...

    def named(self, name: str) -> str:
        """What a message calls a file of the folder."""
        ...

    def open(self, name: str) -> ByteSource:
        """A file of the folder. Raises CheckpointError where it cannot be read."""
        ...

    def missing(self, names: Sequence[str]) -> list[str]:
        """Those of these files that are not there."""
        ...

    def read(self, name: str, max_bytes: int) -> bytes | None:
        """A small file, whole; None where it is not there. Raises CheckpointError for a larger one."""
        ...


class LocalFolder:
    """A folder on disk. Its files may be links: a cache of the Hub is made of them."""

    def __init__(self, path: Path) -> None:
        self.where = str(path)
        self._path = path

    def named(self, name: str) -> str:
        return str(self._path / name)

    def open(self, name: str) -> ByteSource:
        return LocalFile(self._path / name)

    def missing(self, names: Sequence[str]) -> list[str]:
        return [name for name in names if not (self._path / name).is_file()]

    def read(self, name: str, max_bytes: int) -> bytes | None:
        if not (self._path / name).is_file():
            return None
        with closing(LocalFile(self._path / name)) as source:
            if source.size_bytes > max_bytes:
                raise unsound(source.where, f"{source.size_bytes} bytes, where at most {max_bytes} are sound")
            return source.read(0, source.size_bytes)


class PooledFolder(LocalFolder):
    """A folder of more files than a process may keep open, none of them outside it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._pool = FilePool()

    def open(self, name: str) -> ByteSource:
        """Raises CheckpointError for a link that leaves the folder, and for what is no file."""
        path = self._path / name
        if path.is_symlink() and path.resolve().parent != self._path.resolve():
            raise CheckpointError(
                f"{path} is a link that leaves its folder",
                expected="a file in the folder itself",
                found=f"a link to {path.resolve()}",
                cause="a cache that links to its files, or a folder that was made to mislead",
                next_step=f"cp -rL {self._path} COPY, if you know where it comes from, and give COPY",
            )
        return PooledFile(path, self._pool)

    def missing(self, names: Sequence[str]) -> list[str]:
        return [name for name in names if not (self._path / name).exists()]


def unsound(where: str, found: str) -> CheckpointError:
    return CheckpointError(
        f"{where} is not sound",
        found=found,
        cause="a download that broke off, or a file that was edited",
        next_step="fetch the folder again",
    )

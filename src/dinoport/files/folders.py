"""Folders that hold a checkpoint in several files, wherever they lie."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Protocol

from dinoport.errors import CheckpointError
from dinoport.files.byte_sources import ByteSource, LocalFile
from dinoport.files.damage import damaged
from dinoport.files.file_pool import FilePool, PooledFile
from dinoport.files.links import refuse_leaving


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
    """A folder on disk. Its files may be links, as in a cache of the Hub, but to no place outside of that."""

    def __init__(self, path: Path) -> None:
        self.where = str(path)
        self._path = path

    def named(self, name: str) -> str:
        return str(self._path / name)

    def open(self, name: str) -> ByteSource:
        """Raises CheckpointError for a link that leaves the folder, and for what is not a file."""
        refuse_leaving(self._path / name, self._path)
        return LocalFile(self._path / name)

    def missing(self, names: Sequence[str]) -> list[str]:
        return [name for name in names if not (self._path / name).is_file()]

    def read(self, name: str, max_bytes: int) -> bytes | None:
        if not (self._path / name).is_file():
            return None
        refuse_leaving(self._path / name, self._path)
        with closing(LocalFile(self._path / name)) as source:
            if source.size_bytes > max_bytes:
                raise unsound(source.where, f"{source.size_bytes} bytes, where at most {max_bytes} are sound")
            return source.read(0, source.size_bytes)


class PooledFolder(LocalFolder):
    """A folder of more files than a process may keep open."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._pool = FilePool()

    def open(self, name: str) -> ByteSource:
        refuse_leaving(self._path / name, self._path)
        return PooledFile(self._path / name, self._pool)

    def missing(self, names: Sequence[str]) -> list[str]:
        return [name for name in names if not _exists(self._path / name)]


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # such as a name that is too long
        return False


def unsound(where: str, found: str) -> CheckpointError:
    cause = "a download that broke off, or a file that was edited"
    return damaged(f"{where} is not sound", found, cause=cause, next_step="fetch the folder again")

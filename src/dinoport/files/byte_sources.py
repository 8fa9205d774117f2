"""Where bytes come from: a local file today, a range of a remote one behind the same few methods."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from stat import S_ISREG
from threading import Lock
from typing import ClassVar

from dinoport.errors import CheckpointError
from dinoport.files.damage import too_short
from dinoport.shown.text import as_word
from dinoport.tensor import BLOCK_BYTES

OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
"""Opening a named pipe would wait for its other end; with O_NONBLOCK it is opened, and refused. Files ignore it."""

MAX_LOOKED_AT = 10_000
"""Names in a folder that are compared with one that does not exist."""

HEAD_BYTES = 2048
"""Of a range; what torch.save puts in front of one tensor's values takes 1.2 kB."""


EDGE_BYTES = 1024**2
"""Of a file at each end: a safetensors header lies in the first, a zip's directory, with its checksums, in the last."""


class ByteSource:
    """Random access to bytes, in no more memory than the source has bytes. Safe to read from several threads.

    `where` is what a message calls it; `is_remote` says that its bytes have to be fetched.
    """

    where: str
    size_bytes: int
    is_remote: ClassVar[bool] = False

    def read(self, offset: int, size: int) -> bytes:
        """Exactly `size` bytes at `offset`. Raises CheckpointError where there are fewer."""
        self.check_within(offset, size)
        buffer = bytearray(size)
        self.readinto(offset, memoryview(buffer))
        return bytes(buffer)

    def readinto(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset`. Raises CheckpointError where there are fewer bytes."""
        raise NotImplementedError

    def blocks(self, start: int, stop: int) -> Iterator[memoryview]:
        """Yield a range in blocks, each valid until the next one is asked for. Raises as `readinto`."""
        buffer = memoryview(bytearray(min(BLOCK_BYTES, stop - start)))
        for first in range(start, stop, BLOCK_BYTES):
            part = buffer[: min(BLOCK_BYTES, stop - first)]
            self.readinto(first, part)
            yield part

    def will_read(self, spans: Iterable[tuple[int, int]]) -> None:
        """Fetch what is read next ahead of its reader, where the source is remote."""

    def expect(self, begin: int, end: int) -> None:
        """Let the disk fetch these bytes meanwhile: they are read next."""

    def forget(self, begin: int, end: int) -> None:
        """Let the system take the memory in which it keeps these bytes: they are not read again soon."""

    def check_unchanged(self) -> None:
        """Raise CheckpointError if the source is not what it was when it was opened."""

    def close(self) -> None:
        """Nothing, where another source holds the bytes."""

    def check_within(self, offset: int, size: int) -> None:
        """Raise CheckpointError for bytes that the source does not have."""
        if offset < 0 or size > max(self.size_bytes - offset, 0):
            raise self.too_short(offset, size)

    def too_short(self, offset: int, size: int) -> CheckpointError:
        return too_short(self.where, f"{size} bytes at offset {offset}", f"a file of {self.size_bytes} bytes")


class LocalFile(ByteSource):
    """A file on disk, never mapped: reading a mapped file that shrinks kills the process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.where = str(path)
        try:
            self._file = os.fdopen(os.open(path, OPEN_FLAGS), "rb", buffering=0)
        except OSError as error:
            raise unreadable(path, error) from error
        self.stat = os.fstat(self._file.fileno())
        if not S_ISREG(self.stat.st_mode):
            self._file.close()
            raise not_regular(path)
        self.size_bytes = self.stat.st_size
        self._lock = Lock()

    def readinto(self, offset: int, buffer: memoryview) -> None:
        done = 0
        while done < len(buffer):
            count = self._readinto_once(offset + done, buffer[done:])
            if not count:
                raise self.too_short(offset, len(buffer))
            done += count

    def _readinto_once(self, offset: int, buffer: memoryview) -> int:
        try:
            if hasattr(os, "preadv"):
                return os.preadv(self._file.fileno(), [buffer], offset)
            with self._lock:
                self._file.seek(offset)
                return self._file.readinto(buffer) or 0
        except OSError as error:
            raise unreadable(self.path, error) from error

    def expect(self, begin: int, end: int) -> None:
        self._advise(begin, end, "POSIX_FADV_WILLNEED")

    def forget(self, begin: int, end: int) -> None:
        self._advise(begin, end, "POSIX_FADV_DONTNEED")

    def _advise(self, begin: int, end: int, advice: str) -> None:
        if hasattr(os, "posix_fadvise"):
            with suppress(OSError):
                os.posix_fadvise(self._file.fileno(), begin, end - begin, getattr(os, advice))

    def check_unchanged(self) -> None:
        check_same(self.where, self.stat, os.fstat(self._file.fileno()))

    def close(self) -> None:
        self._file.close()


@dataclass(frozen=True)
class ByteRange(ByteSource):
    """`size_bytes` bytes of another source from `start` on, as a source of their own.

    Its first bytes are read once and kept until values are read: torch.save has its headers there, in a dozen reads.
    """

    source: ByteSource
    where: str
    start: int
    size_bytes: int

    @cached_property
    def _head(self) -> bytes:
        return self.source.read(self.start, min(HEAD_BYTES, self.size_bytes))

    def read(self, offset: int, size: int) -> bytes:
        self.check_within(offset, size)
        if offset + size <= HEAD_BYTES:
            return self._head[offset : offset + size]
        return self.source.read(self.start + offset, size)

    def readinto(self, offset: int, buffer: memoryview) -> None:
        self.check_within(offset, len(buffer))
        self.__dict__.pop("_head", None)
        self.source.readinto(self.start + offset, buffer)

    def check_unchanged(self) -> None:
        self.source.check_unchanged()

    def too_short(self, offset: int, size: int) -> CheckpointError:
        return too_short(self.where, f"{size} bytes at offset {offset}", f"a range of {self.size_bytes} bytes")


@contextmanager
def closed_on_error(close: Callable[[], None]) -> Iterator[None]:
    """Close what was opened before, where the block fails; else whoever gets it does."""
    try:
        yield
    except BaseException:
        close()
        raise


def check_same(where: str, then: os.stat_result, now: os.stat_result) -> None:
    """Raise CheckpointError if a file is not what it was `then`."""
    if (now.st_size, now.st_mtime_ns, now.st_ino) != (then.st_size, then.st_mtime_ns, then.st_ino):
        raise CheckpointError(
            f"{where} changed while it was read",
            expected=f"{then.st_size} bytes, as when it was opened",
            found=f"{now.st_size} bytes, modified since",
            cause="a training run or a download is still writing it",
            next_step="wait until it is complete, or copy it first",
        )


def ends_of(sources: Iterable[ByteSource]) -> str:
    """A hash of the sizes and both ends of some files, which tells them from others at the price of a few reads."""
    from hashlib import sha256

    digest = sha256()
    for source in sources:
        size = source.size_bytes
        digest.update(size.to_bytes(8, "little"))
        for start in (0, max(0, size - EDGE_BYTES)):
            digest.update(source.read(start, min(EDGE_BYTES, size)))
    return digest.hexdigest()


def not_regular(path: Path) -> CheckpointError:
    if path.is_fifo():
        found, step = "a pipe, which has no size and is read once", f"copy its content into a file: cat {as_word(path)}"
        step += " > checkpoint.pth"
    else:
        found, step = "a socket or a device, which has no size", "give the file itself"
    return CheckpointError(f"{path} is not a regular file", expected="a file, or a folder", found=found, next_step=step)


def leads_nowhere(path: Path) -> bool:
    """Whether a path is a symbolic link, and what it leads to is gone."""
    return path.is_symlink() and not os.path.exists(path)  # noqa: PTH110  # which answers where it may not look


def refuse_absent(path: Path) -> None:
    """Raise CheckpointError where nothing is at a path, with what lies there under nearly its name."""
    try:
        path.stat()
    except OSError as error:
        raise unreadable(path, error) from None


def unreadable(path: Path, error: OSError) -> CheckpointError:
    if isinstance(error, FileNotFoundError) and leads_nowhere(path):
        return CheckpointError(
            f"{path} is a symbolic link that leads nowhere",
            found=f"a link to {path.readlink()}",
            cause="the file was moved or deleted, or lies on a disk that is not mounted",
            next_step="give the file itself",
        )
    if not isinstance(error, FileNotFoundError):
        return CheckpointError(f"{path} cannot be read: {error.strerror or error}", next_step=f"ls -l {as_word(path)}")
    folder = next((above for above in path.absolute().parents if above.is_dir()), path.parent)
    is_beside = folder == path.absolute().parent
    close = _close_names(path.name, folder) if is_beside else []
    return CheckpointError(
        f"{path} cannot be read: {error.strerror or error}",
        did_you_mean=" or ".join(str(path.with_name(name)) for name in close) or None,
        cause=None if is_beside else f"the folder {path.parent} does not exist",
        next_step=f"ls -l {as_word(path.parent if is_beside else folder)}",
    )


def _close_names(name: str, folder: Path) -> list[str]:
    """What lies in a folder under nearly this name."""
    from difflib import get_close_matches

    try:
        there = [entry.name for entry in islice(folder.iterdir(), MAX_LOOKED_AT)]
    except OSError:
        return []
    return get_close_matches(name, there, n=2, cutoff=0.8)

"""A file that stays where it is: what is read of it is fetched once, and kept on disk until it is closed.

A conversion reads the same bytes up to four times (to write them, to compare them, for their checksums, and to run the
original), so what has come is spooled into a temporary file: no byte is fetched twice, and memory holds none of it.
"""

from __future__ import annotations

import tempfile
import threading
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, TypeAlias, cast

from dinoport.errors import CheckpointError
from dinoport.files.byte_sources import ByteSource
from dinoport.files.damage import too_short
from dinoport.files.remote.caches import own_cache
from dinoport.files.remote.fetching import REQUEST_BYTES, Fetching, Span, coalesce

if TYPE_CHECKING:
    from dinoport.files.remote.filesystem import FilesystemRanges
    from dinoport.files.remote.http_ranges import HttpRanges

BLOCK_BYTES = 64 * 1024
"""What was not announced is fetched in whole blocks of this size."""


Ranges: TypeAlias = "HttpRanges | FilesystemRanges"
"""A remote file that gives out ranges. Safe to use from several threads."""


@dataclass
class _Piece:
    """Bytes of the file from `start` to before `stop`, of which the first `done` lie in the spool at `place`."""

    start: int
    stop: int
    place: int
    done: int = 0


class RemoteFile(ByteSource):
    """A remote file by its ranges."""

    is_remote = True

    def __init__(self, ranges: Ranges, beginning: bytes = b"", fetching: Fetching | None = None) -> None:
        """`beginning` is what came when the file was opened; `fetching` is shared by the files of one checkpoint.

        Raises CheckpointError where nothing can be spooled.
        """
        self.where, self.size_bytes = ranges.where, ranges.size_bytes
        self.tells_versions = ranges.tells_versions
        self._ranges, self._fetching = ranges, fetching or Fetching()
        self._changed = threading.Condition()
        self._pieces: list[_Piece] = []
        self._planned: list[Span] = []
        self._failure: Exception | None = None
        self._closed = False
        self._spool: BinaryIO | None = None
        self._spooled = 0
        self.fetched_bytes = 0
        if beginning:
            (piece,) = self._claim(0, len(beginning))
            self._store(piece, beginning)

    def readinto(self, offset: int, buffer: memoryview) -> None:
        stop = offset + len(buffer)
        self.check_within(offset, len(buffer))
        for piece in self._claim(*self._window(offset, stop)):
            self._fetch(piece)
        with self._changed:
            while True:
                if self._failure is not None or self._closed:
                    raise self._failure or self._was_closed()
                pieces = self._overlapping(offset, stop)
                if all(min(stop, piece.stop) <= piece.start + piece.done for piece in pieces):
                    break
                self._changed.wait()
            spool = self._open_spool()
            for piece in pieces:
                first, last = max(offset, piece.start), min(stop, piece.stop)
                spool.seek(piece.place + first - piece.start)
                buffer[first - offset : last - offset] = spool.read(last - first)

    def will_read(self, spans: Iterable[Span]) -> None:
        """Fetch these spans in the background, in this order. Raises CheckpointError where the disk has no room."""
        planned = coalesce(spans)
        with self._changed:
            self._open_spool()
            missing = sum(stop - start for span in planned for start, stop in self._gaps(*span))
            self._planned = sorted(coalesce([*self._planned, *planned]))  # none inside another
        self._fetching.ahead(self.where, self.fetch_ahead, planned, missing)

    def fetch_ahead(self, span: Span) -> bool:
        """Fetch of an announced span what nobody fetches yet; whether to go on."""
        try:
            for piece in self._claim(*span):
                self._fetch(piece)
        except Exception:
            return False  # kept for whoever reads
        return not self._closed

    def check_unchanged(self) -> None:
        self._ranges.check_unchanged()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            if self._spool is not None:
                self._spool.close()

    def _window(self, offset: int, stop: int) -> Span:
        """What to fetch when these bytes are wanted: the announced request that they lie in, else whole blocks."""
        first, last = self._request_of(offset), self._request_of(stop - 1)
        if first is not None and last is not None:
            return first[0], last[1]
        end = min(-(-stop // BLOCK_BYTES) * BLOCK_BYTES, self.size_bytes)
        return offset // BLOCK_BYTES * BLOCK_BYTES, end

    def _request_of(self, offset: int) -> Span | None:
        index = bisect_right(self._planned, (offset, self.size_bytes + 1)) - 1
        return self._planned[index] if index >= 0 and offset < self._planned[index][1] else None

    def _claim(self, start: int, stop: int) -> list[_Piece]:
        """Take over fetching whatever of a span nobody fetches yet."""
        with self._changed:
            if self._closed:
                return []
            mine = []
            for first, last in self._gaps(start, stop):
                for begin in range(first, last, REQUEST_BYTES):
                    piece = _Piece(begin, min(begin + REQUEST_BYTES, last), self._spooled)
                    self._spooled += piece.stop - piece.start
                    mine.append(piece)
                    if self._request_of(begin) is None:  # what was announced is expected already
                        self._fetching.expect(piece.stop - piece.start)
            self._pieces = sorted([*self._pieces, *mine], key=lambda piece: piece.start)
            return mine

    def _gaps(self, start: int, stop: int) -> list[Span]:
        gaps = []
        for piece in self._overlapping(start, stop):
            if start < piece.start:
                gaps.append((start, piece.start))
            start = max(start, piece.stop)
        return [*gaps, (start, stop)] if start < stop else gaps

    def _overlapping(self, start: int, stop: int) -> list[_Piece]:
        first = max(bisect_right(self._pieces, start, key=lambda piece: piece.start) - 1, 0)
        last = bisect_right(self._pieces, stop - 1, key=lambda piece: piece.start)
        return [piece for piece in self._pieces[first:last] if piece.stop > start]

    def _fetch(self, piece: _Piece) -> None:
        try:
            for data in self._ranges.stream(piece.start, piece.stop):
                self._store(piece, data)
        except Exception as error:  # whatever it is: a reader in another thread waits for these bytes
            with self._changed:
                self._failure = self._failure or error
                self._changed.notify_all()
            raise

    def _store(self, piece: _Piece, data: bytes) -> None:
        with self._changed:
            if self._closed:  # the number of a closed file may by now be another file's
                raise self._was_closed()
            spool = self._open_spool()
            try:
                spool.seek(piece.place + piece.done)
                spool.write(data)
            except OSError as error:
                raise _no_spool(error) from error
            piece.done += len(data)
            self.fetched_bytes += len(data)
            self._changed.notify_all()
        self._fetching.add(len(data))

    def _open_spool(self) -> BinaryIO:
        """Made when the first bytes come: of a folder of many files, most are hardly read. To be called locked."""
        self._spool = self._spool or _new_spool()
        return self._spool

    def _was_closed(self) -> CheckpointError:
        return CheckpointError(f"{self.where} was closed while it was read")

    def too_short(self, offset: int, size: int) -> CheckpointError:
        return too_short(
            self.where,
            f"{size} bytes at offset {offset}",
            f"a file of {self.size_bytes} bytes",
            cause="an upload that broke off",
            next_step="compare the size with the original's",
        )


def _new_spool() -> BinaryIO:
    """A file without a name in the cache folder: /tmp is memory on many machines. It goes when it is closed."""
    try:
        own_cache().mkdir(parents=True, exist_ok=True)
        return cast(BinaryIO, tempfile.TemporaryFile(dir=own_cache()))
    except OSError as error:
        raise _no_spool(error) from error


def _no_spool(error: OSError) -> CheckpointError:
    return CheckpointError(
        f"{own_cache()} cannot hold what is fetched: {error.strerror or error}",
        next_step="set DINOPORT_CACHE to a folder that can be written to, with room for the weights",
    )

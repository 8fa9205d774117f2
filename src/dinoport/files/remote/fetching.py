"""What is fetched ahead of its readers, for all files of one checkpoint together: how much of it, and how far it is."""

import shutil
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeAlias

from dinoport.errors import CheckpointError
from dinoport.files.remote.caches import own_cache
from dinoport.files.remote.coalesce import Span
from dinoport.progress import Progress, silent, stage_of

CONNECTIONS = 4
"""Requests at a time for what was announced, however many files it lies in."""


Fetch: TypeAlias = Callable[[Span], bool]
"""Fetches of one file what nobody fetches yet, and says whether to go on with it. Safe to call from several threads."""


class Fetching:
    """Fetches what was announced a few requests at a time, from each file in turn, and tells how far it is."""

    def __init__(self, name: str = "", on_progress: Progress = silent) -> None:
        """`name` is what a bar calls what is fetched."""
        self._stage, self._on_progress = stage_of("fetching", name), on_progress
        self._lock = threading.Lock()
        self._files: deque[tuple[Fetch, deque[Span]]] = deque()
        self._workers = 0
        self._expected = self._done = 0

    def expect(self, count: int) -> None:
        """Bytes that will be fetched, for the total."""
        with self._lock:
            self._expected += count

    def add(self, count: int) -> None:
        """Bytes that have come."""
        with self._lock:
            self._done += count
            done, expected = self._done, self._expected
        self._on_progress(self._stage, done, expected)

    def ahead(self, where: str, fetch: Fetch, spans: Sequence[Span], count: int) -> None:
        """Fetch `spans`, `count` bytes, in the background. Raises CheckpointError where there is no room for them."""
        free = shutil.disk_usage(own_cache()).free
        with self._lock:
            outstanding = self._expected - self._done
            if outstanding + count > free:
                raise _no_room(where, outstanding + count, free)
            self._expected += count
            self._files.append((fetch, deque(spans)))
            new = min(CONNECTIONS - self._workers, len(spans))
            self._workers += new
        for _ in range(new):
            threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        while (turn := self._next()) is not None:
            fetch, span = turn
            if not fetch(span):
                self._forget(fetch)

    def _next(self) -> tuple[Fetch, Span] | None:
        """The next span of the file whose turn it is; None where all are done, which ends a worker."""
        with self._lock:
            while self._files:
                fetch, spans = self._files.popleft()
                if spans:
                    span = spans.popleft()
                    self._files.append((fetch, spans))
                    return fetch, span
            self._workers -= 1
            return None

    def _forget(self, fetch: Fetch) -> None:
        with self._lock:
            self._files = deque(turn for turn in self._files if turn[0] != fetch)


def _no_room(where: str, wanted: int, free: int) -> CheckpointError:
    return CheckpointError(
        f"{own_cache()} has no room for what is wanted of {where}",
        expected=f"{wanted} bytes free, until the conversion is done",
        found=f"{free}",
        next_step="free some space, or set DINOPORT_CACHE to a folder on a larger disk",
    )

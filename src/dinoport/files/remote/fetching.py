"""What is fetched ahead of its readers, for all files of one checkpoint together: how much of it, and how far it is."""

import shutil
import threading
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Container, Iterable, Sequence
from itertools import pairwise
from typing import TypeAlias

from dinoport.errors import CheckpointError
from dinoport.files.remote.caches import own_cache
from dinoport.progress import Progress, silent, stage_of

Span: TypeAlias = tuple[int, int]
"""The bytes from the first to before the second."""

REQUEST_BYTES = 8 * 1024 * 1024
"""What one request fetches at most: a second of a fast connection, and little to repeat when it breaks."""

WASTE = 1 / 128
"""How much may be fetched that is not wanted, for each wanted byte, to save requests."""

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
                raise CheckpointError(
                    f"{own_cache()} has no room for what is wanted of {where}",
                    expected=f"{outstanding + count} bytes free, until the conversion is done",
                    found=f"{free}",
                    next_step="free some space, or set DINOPORT_CACHE to a folder on a larger disk",
                )
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
                with self._lock:
                    self._files = deque(turn for turn in self._files if turn[0] != fetch)

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


def coalesce(wanted: Iterable[Span]) -> list[Span]:
    """Requests that cover the `wanted` spans, in the order in which these are wanted first.

    Spans that overlap or touch are joined. Small gaps are fetched too, the smallest first, while their sum stays below
    WASTE of the wanted bytes. No request is larger than REQUEST_BYTES.
    """
    spans = [span for span in wanted if span[0] < span[1]]
    joined = _joined(sorted(spans))
    closed = _close_gaps(joined)
    turns = _turns(spans, closed)
    ordered = sorted(closed, key=lambda span: turns[span])
    return [
        (start, min(start + REQUEST_BYTES, stop))
        for first, stop in ordered
        for start in range(first, stop, REQUEST_BYTES)
    ]


def _joined(ordered: Sequence[Span], closing: Container[int] = ()) -> list[Span]:
    """Spans that overlap, touch, or end where a gap is to be closed, as one."""
    joined: list[Span] = []
    for start, stop in ordered:
        if joined and (start <= joined[-1][1] or joined[-1][1] in closing):
            joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
        else:
            joined.append((start, stop))
    return joined


def _close_gaps(joined: Sequence[Span]) -> list[Span]:
    budget = int(sum(stop - start for start, stop in joined) * WASTE)
    gaps = sorted((after[0] - before[1], before[1]) for before, after in pairwise(joined))
    closing: set[int] = set()
    for size, start in gaps:
        if size > budget:
            break
        budget -= size
        closing.add(start)
    return _joined(joined, closing)


def _turns(spans: Sequence[Span], closed: Sequence[Span]) -> dict[Span, int]:
    """For each closed span, the place in line of the first wanted span in it."""
    starts = [span[0] for span in closed]
    turns: dict[Span, int] = {}
    for turn, (start, _) in enumerate(spans):
        turns.setdefault(closed[bisect_right(starts, start) - 1], turn)
    return turns

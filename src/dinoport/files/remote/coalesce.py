"""Which requests to make for the bytes that are wanted: few, and hardly a byte more."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TypeAlias

Span: TypeAlias = tuple[int, int]
"""The bytes from the first to before the second."""

REQUEST_BYTES = 8 * 1024 * 1024
"""What one request fetches at most: a second of a fast connection, and little to repeat when it breaks."""

WASTE = 1 / 128
"""How much may be fetched that is not wanted, for each wanted byte, to save requests."""


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


def _joined(ordered: Sequence[Span]) -> list[Span]:
    joined: list[Span] = []
    for start, stop in ordered:
        if joined and start <= joined[-1][1]:
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
    closed: list[Span] = []
    for start, stop in joined:
        if closed and closed[-1][1] in closing:
            closed[-1] = (closed[-1][0], stop)
        else:
            closed.append((start, stop))
    return closed


def _turns(spans: Sequence[Span], closed: Sequence[Span]) -> dict[Span, int]:
    """For each closed span, the place in line of the first wanted span in it."""
    starts = [span[0] for span in closed]
    turns: dict[Span, int] = {}
    for turn, (start, _) in enumerate(spans):
        turns.setdefault(closed[bisect_right(starts, start) - 1], turn)
    return turns

"""Where marks stand on the page's plots: logarithmic, with a place of its own for zero.

Places along an axis are in per cent of the plot, so that it is as wide as the page is and its letters stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dinoport.networks.heads.reading import ALLOWED, HeadReading
from dinoport.networks.observing import EMBEDDING
from dinoport.proofs.difference import Difference
from dinoport.shown.lines import figure

HEIGHT = 300.0
"""Pixels of the plot, without the labels below it."""

ZERO_ROW = 26.0
"""Pixels at the bottom for what is exactly zero."""

MAX_LABELS = 9
EDGE = 2.0
"""Per cent that stay free at both sides."""


@dataclass(frozen=True)
class Scale:
    """Decades from `low` to `high`, as powers of ten."""

    low: int
    high: int

    @classmethod
    def over(cls, values: Iterable[float]) -> Scale:
        decades = [math.log10(value) for value in values if 0 < value < math.inf]
        return cls(min(math.floor(min(decades, default=-16)), -16), max(math.ceil(max(decades, default=0)), -6))

    def fraction(self, value: float) -> float:
        """0 at the lowest decade, 1 at the highest; values beyond are held at the ends."""
        if value <= 0:
            return 0.0
        decade = math.log10(value) if math.isfinite(value) else self.high
        return min(max((decade - self.low) / max(self.high - self.low, 1), 0.0), 1.0)

    def ticks(self, step: int) -> list[int]:
        return [decade for decade in range(self.low, self.high + 1) if decade % step == 0]


@dataclass(frozen=True)
class Mark:
    """A point at `x` per cent and `y` pixels; `title` says what it is."""

    x: float
    y: float
    title: str


@dataclass(frozen=True)
class Chart:
    """Two curves, and what the limit leaves free. `labels` are in per cent, all else in pixels from the top.

    Marks at `zero` stand for differences of exactly zero, and no line leads to them. `circled` is the mark to look at.
    """

    main: tuple[Mark, ...]
    other: tuple[Mark, ...]
    limit: float
    allowed: float
    zero: float | None
    ticks: tuple[tuple[float, str], ...]
    labels: tuple[tuple[float, str], ...]
    circled: Mark | None
    height: float = HEIGHT


def block_chart(
    blocks: Mapping[str, tuple[Difference, Difference | None]], gate: float, first: str | None = None
) -> Chart:
    """Differences in float64 and float32, block by block; `first` is the one where they begin to be too large."""
    names = list(blocks)
    figures = [difference.relative for pair in blocks.values() for difference in pair if difference]
    scale = Scale.over([*figures, gate])
    across = (100 - 2 * EDGE) / max(len(names) - 1, 1)

    def y(value: float) -> float:
        if value == 0:
            return HEIGHT - ZERO_ROW / 2
        return (1 - scale.fraction(value)) * (HEIGHT - ZERO_ROW)

    def marks(which: int) -> tuple[Mark, ...]:
        return tuple(
            Mark(EDGE + place * across, y(found.relative), f"{name}: {figure(found.relative, gate)}")
            for place, (name, pair) in enumerate(blocks.items())
            if (found := pair[which]) is not None
        )

    float64 = marks(0)
    return Chart(
        main=float64,
        other=marks(1),
        limit=y(gate),
        allowed=y(gate),
        zero=HEIGHT - ZERO_ROW / 2,
        ticks=tuple((y(10.0**decade), f"1e{decade}" if decade else "1") for decade in scale.ticks(3)),
        labels=tuple((EDGE + place * across, _short(names[place])) for place in labelled(names)),
        circled=float64[names.index(first)] if first in names else None,
    )


def labelled(names: Sequence[str]) -> list[int]:
    """Which blocks get a label: all, or the first and every second, third … of the others."""
    longest = max((len(_short(name)) for name in names), default=1)
    room = MAX_LABELS if longest <= 3 else MAX_LABELS // 2
    step = max(math.ceil(len(names) / room), 1)
    return list(range(0, len(names), step))


def _short(name: str) -> str:
    return "in" if name == EMBEDDING else name.removeprefix("blocks.")


def head_chart(reading: HeadReading) -> Chart:
    """Boundaries from 0.1 up by size of head, inside heads of it and inside the same moved by half.

    The size that the weights show is circled. The whole width cannot be moved.
    """
    sizes = [str(score.head_dim) for score in reading.scores]
    largest = max(max(score.inside, score.moved) for score in reading.scores)
    scale = Scale(-1, math.ceil(math.log10(max(largest, 10 * reading.limit))))
    across = (100 - 2 * EDGE) / max(len(sizes) - 1, 1)

    def y(value: float) -> float:
        return (1 - scale.fraction(value)) * HEIGHT

    def mark(place: int, value: float, what: str) -> Mark:
        return Mark(EDGE + place * across, y(value), f"{what} {sizes[place]} channels: {value:.1f}")

    inside = tuple(mark(place, score.inside, "inside") for place, score in enumerate(reading.scores))
    moved = (mark(place, score.moved, "inside moved blocks of") for place, score in enumerate(reading.scores[:-1]))
    found = next((inside[place] for place, score in enumerate(reading.scores) if score.heads == reading.found), None)
    return Chart(
        main=inside,
        other=tuple(moved),
        limit=y(reading.limit),
        allowed=y(ALLOWED),
        zero=None,
        ticks=tuple((y(10.0**decade), f"{10.0**decade:g}") for decade in scale.ticks(1)),
        labels=tuple((inside[place].x, sizes[place]) for place in labelled(sizes)),
        circled=found,
    )


@dataclass(frozen=True)
class SizeRow:
    """One input size: `at` and `gate` are per cent along the row."""

    size: str
    figure: str
    at: float
    gate: float
    is_equal: bool


def size_rows(sizes: Mapping[tuple[int, int], float], gate: float) -> list[SizeRow]:
    """Every input size on one logarithmic line."""
    scale = Scale.over([*sizes.values(), gate, 1.0])
    return [
        SizeRow(
            size=f"{height}×{width}",
            figure=figure(relative, gate),
            at=scale.fraction(relative) * 100,
            gate=scale.fraction(gate) * 100,
            is_equal=relative <= gate,
        )
        for (height, width), relative in sizes.items()
    ]

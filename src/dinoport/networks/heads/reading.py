"""The number of attention heads, as trained weights show it.

Training treats the channels of one head alike: initialisation, gradient and optimiser know no order among them. So
inside a head nothing about the channels depends on their place, whatever was learned, and between heads it does. A size
is refuted where blocks of that size show a boundary inside. The true size never is, nor are its divisors; the answer is
the largest size that is not refuted, if all larger ones are, clearly, and its own blocks too once moved by half a block
(else it is a trend along the channels, and no boundary).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dinoport.networks.heads.channels import AttentionWeights, projection_channels, value_channels
from dinoport.networks.heads.layout import Layout
from dinoport.networks.heads.tables import tables

MAX_LAYERS = 8
"""So many layers, evenly spaced, are enough; each alone names 115 of 136 layers of trained models right, none wrong."""

MIN_WIDTH = 128
"""Narrower models have too few pairs of channels: of five trained ones, 32 to 120 wide, none could be told."""

ALLOWED = 3.0
"""Boundaries that the answer may show inside. Chance is 1. The true sizes of 19 trained models show 0.5 to 1.2, and 2.4
at most with the channels shuffled inside their heads, 215 times."""


def refuting(layers: int) -> float:
    """Boundaries that every larger size must show, and the answer's own blocks once moved.

    12.5 with 8 layers, 30 with one. Of 348 untrained sets of weights none shows as much at every larger size. Of 19
    trained models the weakest larger size shows 142, the weakest moved blocks 45.
    """
    return 10.0 + 20.0 / max(layers, 1)


class Score(NamedTuple):
    """One size of head: how strong the boundaries are inside blocks of it, and inside the same blocks moved by half.

    The mean over layers and tables of z², of the split that shows most. Chance is about 1.
    """

    head_dim: int
    heads: int
    inside: float
    moved: float


class HeadReading(NamedTuple):
    """What the weights say. `scores` are by size, up to the whole width; `layers` is how many were read and told."""

    width: int
    layers: int
    scores: tuple[Score, ...] = ()

    @property
    def limit(self) -> float:
        return refuting(self.layers)

    @property
    def found(self) -> int | None:
        """The number of heads; None where the weights cannot tell."""
        whole = [score for score in self.scores if score.inside < ALLOWED]
        if self.width < MIN_WIDTH or not self.layers or not whole or whole[-1].heads == 1:
            return None
        best = whole[-1]
        larger = [score.inside for score in self.scores if score.head_dim > best.head_dim]
        return best.heads if min(best.moved, *larger) > self.limit else None

    @property
    def silence(self) -> str:
        """Why the weights cannot tell."""
        if self.width < MIN_WIDTH:
            return f"{self.width} channels are too few ({MIN_WIDTH} are needed)"
        if not self.layers:
            return "no layer of plain attention has finite weights that differ"
        return f"no size shows clear boundaries: {self.curve}; little training, one head, or channels in another order"

    @property
    def curve(self) -> str:
        """What was tried: the boundaries by the size of a head."""
        tried = ", ".join(f"{score.inside:.1f} inside {score.head_dim}" for score in self.scores)
        return f"{tried} channels of a head, where chance is 1 and clear is {self.limit:.1f}"


def evenly_spaced(layers: Sequence[AttentionWeights]) -> list[AttentionWeights]:
    """The layers that are read."""
    return [layers[round(place)] for place in np.linspace(0, len(layers) - 1, min(len(layers), MAX_LAYERS))]


def read_heads(layers: Sequence[AttentionWeights], width: int) -> HeadReading:
    """Read some layers of one width, one at a time. Raises CheckpointError where the file cannot be read."""
    if width < MIN_WIDTH:
        return HeadReading(width, 0)
    layout, told = Layout(width), 0
    found: list[list[float]] = []
    for layer in evenly_spaced(layers):
        values, outputs = value_channels(layer, width), projection_channels(layer, width)
        if values is not None and outputs is not None:
            found += [table.z_squares() for table in tables(layout, values, outputs)]
            told += 1
    return HeadReading(width, told, _scores(layout, np.mean(found, axis=0))) if found else HeadReading(width, 0)


def _scores(layout: Layout, z_squares: np.ndarray) -> tuple[Score, ...]:
    inside, moved = dict.fromkeys(layout.sizes, 0.0), dict.fromkeys(layout.sizes, 0.0)
    remaining = iter(z_squares)
    for division in layout.divisions:
        worst = max((float(next(remaining)) for _ in division.parts), default=0.0)
        (moved if division.is_moved else inside)[division.blocks.size] = worst
    return tuple(Score(size, layout.width // size, inside[size], moved[size]) for size in layout.sizes)

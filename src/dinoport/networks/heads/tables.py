"""Sums over blocks of a table of channel pairs, for every kind of block, in one pass over strips of its rows.

No table is ever whole in memory. What a row has of its own, whatever the column, is taken out afterwards by arithmetic
on the sums: an entry t_ij becomes t_ij + a_i + a_j, which is double centring that leaves out the diagonal.
"""

from collections.abc import Iterator
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from dinoport.networks.heads.channels import Channels
from dinoport.networks.heads.layout import Division, Layout
from dinoport.tensor import Array

STRIP_VALUES = 2**18
"""In one strip: 1 MiB of float32, which a core's cache holds."""

ROUNDING = 1e-6
"""The largest entry of a table of float32 products in which only rounding is left: its rows are orthogonal."""

ALIKE = 1e-4
"""Norms that differ by a smaller share of their mean are one norm, and their ranks are noise."""


class BlockSums(NamedTuple):
    """Of one table, without its diagonal, by kind of block and row: the sum over the row's part of the block.

    `squares` are sums of squares, of divided blocks alone; `rows` are sums over whole rows.
    """

    layout: Layout
    rows: Array
    sums: Array
    squares: Array

    def z_squares(self) -> list[float]:
        """z² of every part of every division: the pairs within one part against the other pairs of the same block."""
        width = self.layout.width
        own = self.rows.sum() / ((width - 1) * (width - 2)) / 2 - self.rows / (width - 2)
        place = {blocks: number for number, blocks in enumerate(self.layout.blocks)}
        found = []
        for division in self.layout.divisions:
            within, size, whole = slice(division.start, division.stop), division.blocks.size, place[division.blocks]
            effects, effect = own[within], own[within].sum()
            blockwise = effects.reshape(-1, size).sum(axis=1)
            sums = self.sums[:, within].sum(axis=1)
            total = sums[whole] + 2 * (size - 1) * effect
            spread = self.squares[whole, within].sum() + 4 * (self.sums[whole, within] @ effects)
            spread += 2 * (size - 2) * (effects @ effects) + 2 * (blockwise @ blockwise)
            for part in division.parts:
                near = sums[place[part]] + 2 * (part.size - 1) * effect
                found.append(_z_square(division, part.size, float(near), float(total), float(spread)))
        return found


def _z_square(division: Division, part: int, near: float, total: float, spread: float) -> float:
    """From sums over ordered pairs: within parts, within blocks, and of the squares within blocks."""
    size, channels = division.blocks.size, division.stop - division.start
    pairs, near_pairs = channels * (size - 1), channels * (part - 1)
    far_pairs = pairs - near_pairs
    variance = spread / pairs - (total / pairs) ** 2
    gap = near / near_pairs - (total - near) / far_pairs
    return gap**2 / (variance * 2 * (1 / near_pairs + 1 / far_pairs)) if variance > 0 else 0.0


def tables(layout: Layout, values: Channels, outputs: Channels) -> Iterator[BlockSums]:
    """The six tables of a layer. One in which only rounding is left is passed over."""
    yield from _products(layout, values.directions, outputs.directions)
    for side in (values, outputs):
        if np.ptp(side.norms) > ALIKE * side.norms.mean():
            yield _outer(layout, _normal_scores(side.norms))


def _products(layout: Layout, values: Array, outputs: Array) -> Iterator[BlockSums]:
    """Squared cosines within W_o, within W_v, both cosines multiplied, and squared cosines between the two."""
    width, wholes = layout.width, len(layout.wholes)
    first, last = layout.edges
    sums, squares = np.empty((4, len(layout.blocks), width)), np.empty((4, wholes, width))
    rows, largest = np.empty((4, width)), np.zeros(4)
    height = max(STRIP_VALUES // width, 1)
    for start in range(0, width, height):
        strip = slice(start, min(start + height, width))
        for number, table in enumerate(_strips(values, outputs, strip)):
            for grain, kinds in layout.grains.items():
                edges = first[kinds, strip], last[kinds, strip]
                sums[number][kinds, strip], rows[number, strip] = _within(table, grain, *edges)
            edges = first[:wholes, strip], last[:wholes, strip]
            squares[number][:, strip], _ = _within(table * table, layout.grain, *edges)
            largest[number] = max(largest[number], np.abs(table).max())
    for number in range(4):
        if largest[number] >= ROUNDING:
            yield BlockSums(layout, rows[number], sums[number], squares[number])


def _strips(values: Array, outputs: Array, strip: slice) -> Iterator[Array]:
    within_outputs, within_values = outputs[strip] @ outputs.T, values[strip] @ values.T
    between = (values[strip] @ outputs.T) ** 2 + (outputs[strip] @ values.T) ** 2
    for table in (within_outputs**2, within_values**2, within_values * within_outputs, between):
        table[np.arange(len(table)), np.arange(strip.start, strip.stop)] = 0.0
        yield table


def _within(table: Array, grain: int, first: Array, last: Array) -> tuple[Array, Array]:
    """Each row's sum from every `first` to its `last`, which are multiples of `grain`, and over the whole row."""
    coarse = table.reshape(len(table), -1, grain) @ np.ones(grain, np.float32)
    running = np.zeros((coarse.shape[0], coarse.shape[1] + 1))
    np.cumsum(coarse, axis=1, dtype=np.float64, out=running[:, 1:])
    numbers = np.arange(len(table))
    return running[numbers, last // grain] - running[numbers, first // grain], running[:, -1]


def _outer(layout: Layout, scores: Array) -> BlockSums:
    """The table of products of two channels' scores, whose sums need no table."""
    first, last = layout.edges

    def within(own: Array) -> Array:
        running = np.concatenate([[0.0], np.cumsum(own)])
        return np.asarray(own * (running[last] - running[first] - own))

    return BlockSums(layout, scores * (scores.sum() - scores), within(scores), within(scores**2)[: len(layout.wholes)])


def _normal_scores(norms: Array) -> Array:
    """A normal distribution's values in the order of the norms."""
    normal = NormalDist()
    scores = np.array([normal.inv_cdf((rank + 0.5) / len(norms)) for rank in range(len(norms))])
    return scores[np.argsort(np.argsort(norms, kind="stable"), kind="stable")]

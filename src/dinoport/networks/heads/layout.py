"""Which blocks of channels are compared: every size a head can have, in place and moved, with its splits."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import gcd
from typing import NamedTuple

import numpy as np

from dinoport.tensor import Array

MIN_HEAD = 16
"""Channels in the smallest head that is looked for. Trained models with heads of 4, 8 and 15 could not be told."""

MIN_PART = 3
"""Channels in the smallest part of a block. Two have one pair, whose mean says little."""


class Blocks(NamedTuple):
    """Blocks of `size` channels, one of which starts at channel `offset`."""

    size: int
    offset: int = 0


class Division(NamedTuple):
    """Whole blocks of one size within the channels from `start` to `stop`, and each way to split them into parts."""

    blocks: Blocks
    start: int
    stop: int
    parts: tuple[Blocks, ...]

    @property
    def is_moved(self) -> bool:
        return self.start > 0


@dataclass(frozen=True)
class Layout:
    """All that is summed over, for a width."""

    width: int

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        return tuple(size for size in range(MIN_HEAD, self.width + 1) if self.width % size == 0)

    @cached_property
    def divisions(self) -> tuple[Division, ...]:
        """Each size in place, and each but the whole width moved by half a block."""
        moved = [self._division(size, size // 2, self.width - size) for size in self.sizes if size < self.width]
        return (*(self._division(size, 0, self.width) for size in self.sizes), *moved)

    def _division(self, size: int, start: int, length: int) -> Division:
        parts = (part for part in range(MIN_PART, size) if size % part == 0)
        return Division(
            Blocks(size, start % size), start, start + length, tuple(Blocks(part, start % part) for part in parts)
        )

    @cached_property
    def wholes(self) -> tuple[Blocks, ...]:
        """The blocks that are divided."""
        return tuple(division.blocks for division in self.divisions)

    @cached_property
    def blocks(self) -> tuple[Blocks, ...]:
        """Every kind of block once: those that are divided, then all other parts."""
        parts = [part for division in self.divisions for part in division.parts]
        return tuple(dict.fromkeys([*self.wholes, *parts]))

    @cached_property
    def grain(self) -> int:
        """Channels that no edge of a divided block parts."""
        return gcd(*(number for blocks in self.wholes for number in (blocks.size, blocks.offset)))

    @cached_property
    def grains(self) -> Mapping[int, Array]:
        """The same of every kind of block, by as few grains as there can be: the numbers of the kinds that go by each.

        Sums over grains come first: they are much cheaper than running sums, of which fewer are left then.
        """
        own = [gcd(blocks.size, blocks.offset) for blocks in self.blocks]
        least = [grain for grain in sorted({*own}) if not any(grain % other == 0 for other in {*own} if other < grain)]
        taken = [next(grain for grain in least if each % grain == 0) for each in own]
        return {grain: np.flatnonzero(np.equal(taken, grain)) for grain in least}

    @cached_property
    def edges(self) -> tuple[Array, Array]:
        """For every kind of block and every channel: where the channel's block begins, and where it ends."""
        channels = np.arange(self.width)
        size, offset = (np.array([[getattr(blocks, name)] for blocks in self.blocks]) for name in ("size", "offset"))
        first = (channels - offset) // size * size + offset
        return np.clip(first, 0, self.width), np.clip(first + size, 0, self.width)

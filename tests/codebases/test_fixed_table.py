"""A table of sines and cosines is told by all of its values, and one that is learnt by its first row."""

from collections.abc import Iterator

import numpy as np
import pytest

from dinoport.codebases.fixed_table import PERIOD, encoded_first
from dinoport.tensor import Array, TensorRef

SIDE, WIDTH = 4, 16


class Counted:
    """Values that count how many of them are read."""

    def __init__(self, values: Array) -> None:
        self.values, self.read = values.reshape(-1), 0

    def blocks(self, start: int, stop: int, limit: int) -> Iterator[Array]:
        self.read += stop - start
        yield self.values[start:stop]


def waves(places: Array) -> Array:
    """Half of the channels: sines, then cosines, of growing periods."""
    channels = np.arange(WIDTH // 4)
    angles = np.stack([places / PERIOD ** (channel / (WIDTH // 4)) for channel in channels], axis=1)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)


def fixed(first: str, extra: int = 1) -> Array:
    row, column = np.divmod(np.arange(SIDE * SIDE), SIDE)
    order = (column, row) if first == "column" else (row, column)
    table = np.concatenate([waves(places) for places in order], axis=1)
    return np.concatenate([np.zeros((extra, WIDTH)), table])[None].astype(np.float32)


def found(values: Array) -> tuple[str | None, int]:
    counted = Counted(values)
    return encoded_first(TensorRef("pos_embed", values.dtype, values.shape, counted)), counted.read


@pytest.mark.parametrize("first", ["column", "row"])
@pytest.mark.parametrize("extra", [0, 1])
def test_what_the_first_half_of_the_channels_encodes_is_told(first: str, extra: int) -> None:
    assert found(fixed(first, extra))[0] == first


def test_of_a_learnt_table_one_row_is_read() -> None:
    learnt = np.random.default_rng(0).normal(size=(1, SIDE * SIDE + 1, WIDTH)).astype(np.float32)
    assert found(learnt) == (None, WIDTH)


@pytest.mark.parametrize("place", [1, SIDE * SIDE])
@pytest.mark.parametrize("value", [2e-2, np.nan])
def test_one_other_value_anywhere_makes_it_a_learnt_one(place: int, value: float) -> None:
    table = fixed("column")
    table[0, place, 5] += value
    assert found(table)[0] is None

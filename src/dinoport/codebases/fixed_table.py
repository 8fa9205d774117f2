"""Position tables that are made of sines and cosines, and not learnt: MAE's, I-JEPA's and MoCo v3's."""

import numpy as np

from dinoport.codebases.shapes import square_side
from dinoport.tensor import Array, TensorRef

PERIOD = 10_000.0

CLOSE = 1e-2
"""Largest difference of a value that counts as the same: weights may be rounded to bfloat16."""


def encoded_first(table: TensorRef | None) -> str | None:
    """`column` or `row`, whichever the first half of the channels encodes; None for a table that is learnt.

    Sources: `get_2d_sincos_pos_embed` in `util/pos_embed.py` of facebookresearch/mae, and
    `build_2d_sincos_position_embedding` in `vits.py` of facebookresearch/moco-v3.
    """
    if table is None or not table.is_float or len(table.shape) != 3 or table.shape[2] % 4 or table.shape[2] > 16384:
        return None
    _, rows, width = table.shape
    side = square_side(rows) or square_side(rows - 1)
    if side is None or side < 2:
        return None
    row, column = np.divmod(np.arange(side * side), side)
    half, start = width // 2, (rows - side * side) * width
    both = {"column": (column, row), "row": (row, column)}
    expected = {
        name: np.concatenate([_waves(places, half) for places in order], axis=1) for name, order in both.items()
    }
    for stop in (start + width, rows * width):  # the first row is another in nearly all tables that are learnt
        values = np.concatenate([np.array(block, np.float32) for block in table.blocks(start, stop)]).reshape(-1, width)
        expected = {name: waves for name, waves in expected.items() if _is_close(values, waves[: len(values)])}
        if not expected:
            return None
    return next(iter(expected))


def _is_close(values: Array, expected: Array) -> bool:
    with np.errstate(invalid="ignore"):  # a file may hold any bits, those of signalling NaNs too
        return bool(np.abs(values - expected).max() < CLOSE)


def _waves(places: Array, width: int) -> Array:
    frequencies = 1 / PERIOD ** (np.arange(width // 2) / (width / 2))
    angles = places[:, None] * frequencies
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)

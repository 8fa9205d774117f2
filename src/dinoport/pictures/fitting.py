"""A picture at the size that a model sees it, cut to whole patches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dinoport.errors import SettingError
from dinoport.request import MAX_IMAGE_SIZE
from dinoport.tensor import Array

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PATCHES = 16_384
"""The attention of one head takes a gigabyte in float32 there, and grows with the square of their number."""


def fit_input(picture: Image, size: int, cell: int, mean: Array, std: Array) -> tuple[Array, Array]:
    """The picture as the model sees it, and as an input of (1, channels, height, width).

    Raises SettingError where it does not fit.
    """
    if not cell <= size <= MAX_IMAGE_SIZE:
        raise SettingError(f"`size={size}` does not fit this model", expected=f"{cell} to {MAX_IMAGE_SIZE} pixels")
    check_count(picture.size, size, cell)
    levels = fitted(picture, size, cell)
    values = (levels / 255 - mean) / std
    return levels, np.ascontiguousarray(values.transpose(2, 0, 1)[None])


def check_count(sides: tuple[int, int], size: int, cell: int) -> None:
    """Raise SettingError where a picture of these sides would become more patches than fit: a long and narrow one."""
    count = round(size * size * max(sides) / min(sides)) // cell**2
    if count <= MAX_PATCHES:
        return
    fits = int(cell * (MAX_PATCHES * min(sides) / max(sides)) ** 0.5)
    raise SettingError(
        f"`size={size}` makes {count} patches of a picture of {sides[0]}×{sides[1]} pixels",
        expected=f"at most {MAX_PATCHES}, as attention takes memory and time with the square of their number",
        next_step=f"`size={fits}`, or a part of the picture",
    )


def fitted(picture: Image, size: int, cell: int) -> Array:
    """The picture with its shorter side at `size` pixels, cut at the right and at the bottom to whole cells."""
    from PIL import Image

    width, height = picture.size
    factor = size / min(width, height)
    scaled = picture.convert("RGB").resize(
        (max(round(width * factor), cell), max(round(height * factor), cell)), Image.Resampling.BICUBIC
    )
    levels = np.asarray(scaled)
    rows, columns = levels.shape[0] // cell, levels.shape[1] // cell
    return levels[: rows * cell, : columns * cell]

"""Arrays as pictures: PNG, with the colours of matplotlib."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np

from dinoport.tensor import Array

COLOURS = "magma"
"""Matplotlib's name of the colours that maps are drawn in: dark for little, bright for much, also in grey."""

OUTSHINING = 0.02
"""The share of patches that may be brighter than the scale reaches."""

DARKEST = 4
"""Of 255: the blue in the darkest of these colours."""

LARGEST_SIDE = 448
"""Pixels: larger pictures are reduced, for a page that is sent by mail."""


@dataclass(frozen=True)
class Picture:
    """A picture on a page. `text` says what is to be seen, `pixelated` that its pixels are patches."""

    source: str
    width: int
    height: int
    text: str
    pixelated: bool = False


def heat(values: Array, largest: float) -> Array:
    """Values from 0 to `largest` as colours, (rows, columns, 3) of 8 bits."""
    from matplotlib import colormaps

    scaled = np.clip(values / max(largest, np.finfo(np.float64).tiny), 0, 1)
    return np.round(colormaps[COLOURS](scaled)[..., :3] * 255).astype(np.uint8)


def brightest(values: Array) -> tuple[float, int]:
    """The value to draw as the brightest, and how many patches lie above it.

    A few patches may outshine all others, as DINOv2's do that hold no content: with the largest value as the
    brightest, the rest would be dark. Then it is the largest value of the rest.
    """
    flat = np.sort(values, axis=None)
    above = min(max(round(flat.size * OUTSHINING), 1), flat.size - 1)
    rest = float(flat[-above - 1])
    if flat[-1] <= 2 * rest or rest <= 0:
        return float(flat[-1]), 0
    return rest, int((flat > rest).sum())


def is_dark(colours: Array) -> bool:
    """Whether a picture is black everywhere, or as dark as a map of nothing."""
    return bool((colours <= DARKEST).all())


@dataclass(frozen=True)
class Components:
    """The three directions in which patch tokens differ most, and how they become colours."""

    mean: Array
    directions: Array
    low: Array
    high: Array

    @classmethod
    def of(cls, patches: Array) -> Components:
        """Of patches as (rows, columns, width). Their number and width must be three at least."""
        flat = patches.reshape(-1, patches.shape[-1]).astype(np.float64)
        mean = flat.mean(axis=0)
        _, _, directions = np.linalg.svd(flat - mean, full_matrices=False)
        directions = directions[:3]
        # The sign of a direction is arbitrary: the larger side is made the bright one, on every machine.
        projected = (flat - mean) @ directions.T
        signs = np.where(abs(projected.max(axis=0)) >= abs(projected.min(axis=0)), 1.0, -1.0)
        projected *= signs
        low, high = np.percentile(projected, [1, 99], axis=0)
        return cls(mean, directions * signs[:, None], low, high)

    def colours(self, patches: Array) -> Array:
        """Patches as colours, (rows, columns, 3) of 8 bits: red for the first direction, green, blue."""
        projected = (patches.astype(np.float64) - self.mean) @ self.directions.T
        spread = np.maximum(self.high - self.low, np.finfo(np.float64).tiny)
        colours: Array = np.round(np.clip((projected - self.low) / spread, 0, 1) * 255).astype(np.uint8)
        return colours


def reduced(levels: Array, largest_side: int = LARGEST_SIDE) -> Array:
    """A picture in 8 bits, reduced where it is larger than a page needs."""
    from PIL import Image

    picture = Image.fromarray(np.round(np.clip(levels, 0, 255)).astype(np.uint8))
    picture.thumbnail((largest_side, largest_side))
    return np.asarray(picture)


def png(colours: Array, software: str = "") -> bytes:
    """(height, width, 3) of 8 bits as a PNG file, in which `software` is what drew it."""
    from PIL import Image, PngImagePlugin

    text = PngImagePlugin.PngInfo()
    if software:
        text.add_text("Software", software)
    file = io.BytesIO()
    Image.fromarray(colours).save(file, "PNG", optimize=True, pnginfo=text)
    return file.getvalue()


def embedded(colours: Array, text: str, *, pixelated: bool = False) -> Picture:
    """A picture that lies in the page itself."""
    height, width = colours.shape[:2]
    data = base64.b64encode(png(colours)).decode("ascii")
    return Picture(f"data:image/png;base64,{data}", width, height, text, pixelated)

"""Pictures to compare on, and the originals' own transform of a picture, in PIL and NumPy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dinoport.errors import DinoportError
from dinoport.families.preprocessing import Preprocessing
from dinoport.tensor import Array

if TYPE_CHECKING:
    from PIL.Image import Image


def synthetic_picture(width: int = 640, height: int = 480) -> Image:
    """A picture with gradients, edges and texture, so that every mistake in resampling shows. The same everywhere."""
    from PIL import Image

    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    waves = np.stack([np.sin(x / 17 + y / 29), np.sin(x / 5 - y / 11), np.cos((x * x + y * y) / 9000)], axis=-1)
    edges = ((x // 37 + y // 23) % 2)[..., None] * np.array([60.0, -40.0, 25.0])
    grain = np.random.default_rng(7).integers(-20, 21, (height, width, 3))
    return Image.fromarray(np.clip(128 + 70 * waves + edges + grain, 0, 255).astype(np.uint8))


def load_picture(path: Path) -> Image:
    """A picture from a file, as RGB, orientation tags left alone as the originals' loaders do.

    Raises DinoportError for a file that is missing, damaged, or no picture.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError) as error:
        raise DinoportError(
            f"{path} cannot be used as a picture",
            expected="a picture that Pillow opens, such as JPEG or PNG",
            found=str(error),
            next_step="give another --image, or none",
        ) from error


def picture_tensor(
    picture: Image, preprocessing: Preprocessing, crop_offset: Callable[[float], int] = round
) -> Array:
    """The original's transform: a float32 array of (1, 3, size, size).

    Rounding follows torchvision, which the originals use: the longer side is truncated, and crop offsets are rounded,
    halves to even. `crop_offset` is another way to round those.
    """
    from PIL import Image

    resample = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}[preprocessing.resample]
    width, height = picture.size
    short, long = min(width, height), max(width, height)
    longer = int(preprocessing.resize * long / short)
    size = (preprocessing.resize, longer) if width <= height else (longer, preprocessing.resize)
    if preprocessing.crop is None:
        size = (preprocessing.resize, preprocessing.resize)
    resized = picture.convert("RGB").resize(size, resample)
    if preprocessing.crop is not None:
        left = crop_offset((size[0] - preprocessing.crop) / 2)
        top = crop_offset((size[1] - preprocessing.crop) / 2)
        resized = resized.crop((left, top, left + preprocessing.crop, top + preprocessing.crop))
    values = np.asarray(resized, dtype=np.float32) / np.float32(255)
    mean, std = (np.array(numbers, dtype=np.float32) for numbers in (preprocessing.mean, preprocessing.std))
    return np.ascontiguousarray(((values - mean) / std).transpose(2, 0, 1))[None]

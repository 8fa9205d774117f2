"""Pictures to compare on, and the originals' own transform of a picture, in PIL, NumPy and, for DINOv3, torch."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from dinoport.errors import CheckpointError, SettingError
from dinoport.files.byte_sources import LocalFile
from dinoport.networks.preprocessing import Preprocessing
from dinoport.tensor import Array, size_text

if TYPE_CHECKING:
    from PIL.Image import Image

Resize: TypeAlias = Callable[[Array, tuple[int, int], str], Array]
"""Grey levels of (height, width, 3), the new (width, height) and the filter's name to grey levels of the new size."""


def synthetic_picture(width: int = 640, height: int = 480, seed: int = 7) -> Image:
    """An RGB picture of gradients, edges, rings and grain, in which every mistake of a transform shows.

    Made of integers and raw bits of a fixed generator: every platform and version of NumPy gives the same picture.
    """
    from PIL import Image

    y, x = np.mgrid[0:height, 0:width].astype(np.int64)
    gradients = np.stack([_triangle(2 * x + y, 600), _triangle(x + 3 * y, 900), _triangle(3 * x - 2 * y, 1100)], -1)
    rings = _triangle((x * x + y * y) // 48, 256)[..., None] * np.array([1, -1, 1]) // 4
    edges = ((x // 37 + y // 23) % 2)[..., None] * np.array([48, -40, 32])
    grain = np.random.PCG64(seed).random_raw(height * width * 3).reshape(height, width, 3) % 33
    levels = gradients * 3 // 4 + rings + edges + grain.astype(np.int64) + np.array([-40, 68, -32])
    return Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8))


def _triangle(values: Array, period: int) -> Array:
    """A wave of straight lines between 0 and 255."""
    half = period // 2
    wave: Array = abs(values % period - half) * 255 // half
    return wave


FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "AVIF")
"""Of pictures, by what is in them. Pillow knows more, and has another program read some: Ghostscript runs an EPS."""

MAX_SIDE, MAX_PIXELS = 12_000, 25_000_000
"""Of a picture: most cameras stay below. The transforms of Transformers take up to forty bytes for each pixel."""

MAX_PROPORTION = 16
"""Of the longer side to the shorter, which a transform makes 256 pixels and more: a thread of pixels becomes a wall."""

MAX_FILE_BYTES = 500_000_000
"""Pillow reads some formats whole before it knows their size; MAX_PIXELS of 16 bits take a third of it."""


def load_picture(path: Path, otherwise: str = "give another picture") -> Image:
    """A picture from a file, as RGB. An orientation tag is left alone, as the originals' loaders leave it.

    Of several pictures in a file it is the first. Raises SettingError for a file that is missing, damaged, cut off, too
    large, or no picture, with `otherwise` as what to do then. Sizes are looked at before anything is decoded.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with closing(LocalFile(path)) as file:  # which no pipe and no device is
            if file.size_bytes > MAX_FILE_BYTES:
                raise _unusable(path, f"{size_text(file.size_bytes)}, more than {size_text(MAX_FILE_BYTES)}", otherwise)
        Image.init()  # so that all formats are known that this Pillow was built with
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's limit on pixels is above ours; damage raises later
            with Image.open(path, formats=[name for name in FORMATS if name in Image.OPEN]) as image:
                if too_large := _too_large(*image.size):
                    raise _unusable(path, too_large, otherwise)
                picture = image.convert("RGB")
                picture.info.pop("transparency", None)  # which Transformers 5 lays on white
                return picture
    except CheckpointError as error:
        found = "there is no such file" if not path.exists() else "it is a folder" if path.is_dir() else error.what
        raise _unusable(path, found, otherwise) from error
    except UnidentifiedImageError as error:
        raise _unusable(path, "its content is not a picture of a known format", otherwise) from error
    except Image.DecompressionBombError as error:
        raise _unusable(path, f"more pixels than Pillow opens: {error}", otherwise) from error
    except SettingError:
        raise
    except Exception as error:  # Pillow's readers raise what they like on damaged files: OSError, SyntaxError, …
        raise _unusable(path, f"damaged or cut off: {str(error) or type(error).__name__}", otherwise) from error


def _too_large(width: int, height: int) -> str | None:
    """Why a picture of this size is not decoded."""
    size = f"{width}×{height} pixels"
    if max(width, height) > MAX_SIDE:
        return f"{size}, where a side has at most {MAX_SIDE}"
    if width * height > MAX_PIXELS:
        return f"{size}, more than {MAX_PIXELS // 10**6} million"
    if max(width, height) > MAX_PROPORTION * max(min(width, height), 1):
        return f"{size}, where one side is at most {MAX_PROPORTION} times the other"
    return None


def _unusable(path: Path, found: str, next_step: str) -> SettingError:
    return SettingError(
        f"{path} cannot be used as a picture",
        expected="a picture that Pillow opens, such as JPEG or PNG",
        found=found,
        next_step=next_step,
    )


def picture_tensor(
    picture: Image,
    preprocessing: Preprocessing,
    resize: Resize | None = None,
    crop_offset: Callable[[float], int] = round,
) -> Array:
    """The original's transform of a picture: a float32 array of (1, 3, size, size).

    As `Resize`, `CenterCrop`, `ToTensor` and `Normalize` of torchvision, which the originals use, bit for bit: the
    longer side is cut off to whole pixels, the crop's offset is rounded, halves to even, and the mean is subtracted
    before the division. Tensors are scaled by a product where pictures are by a quotient (`to_dtype_image` in
    torchvision's transforms/v2/functional/_misc.py). `resize` (else the original's) and `crop_offset` are the two steps
    in which Transformers may differ.
    """
    of_tensors = preprocessing.resizes == "tensor"
    levels = np.asarray(picture.convert("RGB"))
    resize = resize or (tensor_resize if of_tensors else pil_resize)
    levels = resize(levels, _resized(picture.size, preprocessing), preprocessing.resample)
    if preprocessing.crop is not None:
        top, left = (crop_offset((side - preprocessing.crop) / 2) for side in levels.shape[:2])
        levels = levels[top : top + preprocessing.crop, left : left + preprocessing.crop]
    values = levels.astype(np.float32)
    values = values * np.float32(1 / 255) if of_tensors else values / np.float32(255)
    mean, std = (np.array(numbers, dtype=np.float32) for numbers in (preprocessing.mean, preprocessing.std))
    return np.ascontiguousarray(((values - mean) / std).transpose(2, 0, 1))[None]


def pil_resize(levels: Array, size: tuple[int, int], resample: str) -> Array:
    from PIL import Image

    method = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}[resample]
    return np.asarray(Image.fromarray(levels).resize(size, method))


def tensor_resize(levels: Array, size: tuple[int, int], resample: str) -> Array:
    """As torch resizes: whole grey levels to whole ones, floats to floats, both with antialiasing."""
    import torch

    pixels = torch.from_numpy(levels.copy()).permute(2, 0, 1)[None]
    resized = torch.nn.functional.interpolate(pixels, size[::-1], mode=resample, antialias=True)
    found: Array = resized[0].permute(1, 2, 0).numpy()
    return found


def _resized(size: tuple[int, int], preprocessing: Preprocessing) -> tuple[int, int]:
    """Width and height after the resize."""
    width, height = size
    if preprocessing.crop is None:
        return preprocessing.resize, preprocessing.resize
    longer = int(preprocessing.resize * max(size) / min(size))
    return (preprocessing.resize, longer) if width <= height else (longer, preprocessing.resize)

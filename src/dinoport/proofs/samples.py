"""Pictures that stand for all: one of each class of sizes, found by arithmetic, and one of each kind of picture."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dinoport.networks.preprocessing import Preprocessing
from dinoport.proofs.picture import synthetic_picture
from dinoport.tensor import Array

if TYPE_CHECKING:
    from PIL.Image import Image

SIDES = 1000
"""Shares are of all pictures with sides of up to so many pixels."""

FEW_ROWS = (1, 3)
"""Rows that the processors of Transformers 4 in PIL's form take for channels."""

OF_FEW_ROWS = 100
"""The numbers of their classes are this and more."""

KIND_SIDE = 60
MIDDLE = (KIND_SIDE // 2, KIND_SIDE // 2)
"""Of a picture of each kind: it is not to be cropped away."""

SCALED = ("shrunk", "kept", "enlarged")
SHAPES = ("tall", "square", "wide")


@dataclass(frozen=True)
class Sample:
    """A picture, the class that it stands for, and the class's share of all sizes; kinds of pictures have none."""

    name: str
    picture: Image
    share: float | None = None


def size_classes(width: Array, height: Array, preprocessing: Preprocessing) -> Array:
    """A number for the class of each size: two sizes of one class are resized and cropped alike.

    With a crop, the shorter side is always resized to the same. So the transforms can differ in these things only:
    which side is longer, whether pixels are added or left out, and what the longer side leaves beside the crop. Half of
    that margin is cut off on either side, and there are two ways to round a half: four remainders tell them apart.
    """
    few = np.isin(height, FEW_ROWS)
    if preprocessing.crop is None:
        across, down = (np.sign(preprocessing.resize - side) + 1 for side in (width, height))
        return np.where(few, OF_FEW_ROWS + height, across * 3 + down)
    shorter, longer = np.minimum(width, height), np.maximum(width, height)
    margin = (preprocessing.resize * longer / shorter).astype(np.int64) - preprocessing.crop
    scaled = np.sign(preprocessing.resize - shorter) + 1
    return np.where(few, OF_FEW_ROWS + height, ((np.sign(width - height) + 1) * 4 + margin % 4) * 3 + scaled)


def class_name(number: int, preprocessing: Preprocessing) -> str:
    """A class of sizes in words: `tall, margin 4n + 3, shrunk`."""
    if number >= OF_FEW_ROWS:
        rows = number - OF_FEW_ROWS
        return f"{rows} pixel{'s' if rows > 1 else ''} high"
    if preprocessing.crop is None:
        across, down = (SCALED[scaled] for scaled in divmod(number, 3))
        return f"width {across}, height {down}"
    number, scaled = divmod(number, 3)
    shape, remainder = divmod(number, 4)
    return f"{SHAPES[shape]}, margin 4n + {remainder}, {SCALED[scaled]}"


def shares(preprocessing: Preprocessing) -> dict[int, float]:
    """Every class of sizes, and its share of all."""
    sides = np.arange(1, SIDES + 1)
    classes, counts = np.unique(size_classes(sides[None], sides[:, None], preprocessing), return_counts=True)
    return dict(zip(classes.tolist(), (counts / SIDES**2).tolist(), strict=True))


def size_samples(preprocessing: Preprocessing) -> Iterator[Sample]:
    """A picture of each class of sizes; small ones, as their number is what costs."""
    share = shares(preprocessing)
    near = np.array([round(preprocessing.resize * scale) + more for scale in (0.6, 1.5, 1) for more in range(9)])
    sides = np.concatenate([FEW_ROWS, near])
    numbers = size_classes(near[None], sides[:, None], preprocessing)
    whole = synthetic_picture(int(sides.max()), int(sides.max()))
    for number, place in zip(*np.unique(numbers, return_index=True), strict=True):
        row, column = divmod(int(place), len(near))
        height = int(sides[row])
        width = 4 * height if height in FEW_ROWS else int(near[column])
        picture = whole.crop((0, 0, width, height))
        yield Sample(class_name(int(number), preprocessing), picture, share.get(int(number), 0.0))


def kind_samples() -> Iterator[Sample]:
    """A picture of each kind that an original's loader makes RGB of."""
    from PIL import Image

    colours = synthetic_picture(KIND_SIDE, KIND_SIDE)
    colours.paste(0, (20, 20, 40, 40))  # black, and seen through: what transparency can hide at most
    grey, palette = colours.convert("L"), colours.quantize(16)
    deep = np.asarray(grey).astype(np.uint16) * 3
    for mode in ("L", "1", "CMYK", "YCbCr", "HSV"):
        yield Sample(f"{mode} pictures", colours.convert(mode))
    yield Sample("P pictures", palette)
    for mode, levels in (("I;16", deep), ("I", deep.astype(np.int32)), ("F", deep.astype(np.float32))):
        yield Sample(f"{mode} pictures", Image.fromarray(levels))
    turned = colours.copy()
    turned.getexif()[0x0112] = 6
    yield Sample("pictures with an orientation tag", turned)
    for opaque in (colours, grey):
        seen_through = opaque.copy()
        seen_through.putalpha(grey)
        yield Sample(f"{seen_through.mode} pictures, transparent", seen_through)
    for mode, key in (("P", 3), ("P", bytes(range(0, 160, 10))), ("L", grey.getpixel(MIDDLE))):
        keyed = (palette if mode == "P" else grey).copy()
        keyed.info["transparency"] = key
        what = "colours" if isinstance(key, bytes) else "colour"
        yield Sample(f"{mode} pictures with transparent {what}", keyed)
    few = palette.convert("RGB")
    few.info["transparency"] = few.getpixel(MIDDLE)
    yield Sample("RGB pictures with transparent colour", few)


def as_rgb(picture: Image) -> Image:
    """What every original's loader makes of a picture: transparency is dropped."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow advises RGBA for palettes
        return picture.convert("RGB")


def on_white(picture: Image) -> Image | None:
    """A transparent picture laid on white; None for one that is not."""
    from PIL import Image

    if "A" not in picture.getbands() and picture.info.get("transparency") is None:
        return None
    picture = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, (255, 255, 255, 255)), picture).convert("RGB")


def rows_as_channels(picture: Image) -> Image | None:
    """A picture 3 pixels high whose rows are taken for its channels; None for any other."""
    from PIL import Image

    levels = np.asarray(as_rgb(picture))
    return Image.fromarray(np.ascontiguousarray(levels.transpose(1, 2, 0))) if levels.shape[0] == 3 else None

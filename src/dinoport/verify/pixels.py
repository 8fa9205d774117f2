"""The pixels proof: the written image processor against the original's own transform, on one picture."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dinoport.families.preprocessing import Preprocessing
from dinoport.tensor import Array
from dinoport.verify.picture import picture_tensor

if TYPE_CHECKING:
    from PIL.Image import Image

Status = Literal["equal", "one grey level", "one pixel", "different", "not shown"]

EQUAL_GREY_LEVELS = 1e-4
"""Rounding of float32 in another order of the same steps; half a grey level is the least that a resize can miss by."""


@dataclass(frozen=True)
class PixelsProof:
    """The largest difference in grey levels (of 255), and in which backend of Transformers it was measured.

    `one pixel` is a known difference: where the margin to be cropped is odd, torchvision rounds half of it to even and
    Transformers rounds it down, so about every second such picture is cropped one pixel aside. It is only said where
    the same crop makes both equal.
    """

    status: Status
    backend: str = ""
    max_grey_levels: float = 0.0
    picture: str = ""
    reason: str | None = None


def prove(folder: Path, preprocessing: Preprocessing, picture: Image, name: str, channels: int = 3) -> PixelsProof:
    """Compare the pixel values that the folder's processor gives with the original's."""
    if channels != 3:
        return PixelsProof("not shown", reason=f"image processors take RGB pictures, the model has {channels} channels")
    try:
        processor = _load(folder)
    except (ImportError, ValueError) as error:
        needs = "the processor needs torchvision" if "torchvision" in str(error).lower() else str(error).split("\n")[0]
        return PixelsProof("not shown", reason=needs)
    backend = _backend(processor)
    theirs = np.asarray(processor(picture, return_tensors="np")["pixel_values"], dtype=np.float64)
    ours = picture_tensor(picture, preprocessing).astype(np.float64)
    if theirs.shape != ours.shape:
        reason = f"the processor gives {theirs.shape[-2]}×{theirs.shape[-1]} pixels, the original {preprocessing.size}"
        return PixelsProof("different", backend, float("inf"), name, reason)
    worst = _grey_levels(theirs, ours, preprocessing)
    allowed = EQUAL_GREY_LEVELS + (1 if backend == "torchvision" else 0)
    if worst <= allowed:
        return PixelsProof("equal" if worst <= EQUAL_GREY_LEVELS else "one grey level", backend, worst, name)
    aside = _grey_levels(theirs, picture_tensor(picture, preprocessing, crop_offset=floor), preprocessing)
    if aside <= allowed:
        reason = f"the centre is cropped one pixel aside; with the same crop the difference is {aside:.2g} grey levels"
        return PixelsProof("one pixel", backend, worst, name, reason)
    return PixelsProof("different", backend, worst, name)


def _grey_levels(theirs: Array, ours: Array, preprocessing: Preprocessing) -> float:
    return float((np.abs(theirs - ours) * 255 * np.array(preprocessing.std)[None, :, None, None]).max())


def _load(folder: Path) -> Any:
    from transformers import AutoImageProcessor

    from dinoport.verify.loading import quiet

    with quiet():
        return AutoImageProcessor.from_pretrained(folder, local_files_only=True)


def _backend(processor: Any) -> str:
    """Which library resizes: Transformers 5 names it, 4.57 tells its torchvision classes by `Fast`."""
    named = getattr(processor, "backend", None)
    if isinstance(named, str):
        return "PIL" if named.lower() == "pil" else named
    return "torchvision" if type(processor).__name__.endswith("Fast") else "PIL"

"""preprocessor_config.json: the image processor of Transformers that does what the original's transform does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from dinoport.networks.preprocessing import Preprocessing

PIL_RESAMPLING = {"bilinear": 2, "bicubic": 3}

PROCESSOR = "preprocessor_config.json"


def transform_of(processor: Mapping[str, object], otherwise: Preprocessing) -> Preprocessing:
    """What a folder's own preprocessor_config.json says, step by step; `otherwise` where it does not say it plainly."""
    mean, std = (_statistics(processor.get(name)) for name in ("image_mean", "image_std"))
    if processor.get("do_normalize", True) is not True or None in (mean, std):
        return otherwise
    found = replace(otherwise, mean=mean, std=std, stored={"mean": PROCESSOR, "std": PROCESSOR})  # type: ignore[arg-type]  # neither is None
    resample = next((name for name, number in PIL_RESAMPLING.items() if processor.get("resample") == number), None)
    resize, crop = _sides(processor)
    if processor.get("do_resize", True) is not True or resample is None or resize is None:
        return found
    stored = dict.fromkeys(("resize", "crop", "resample", "mean", "std"), PROCESSOR)
    return replace(found, resize=resize, crop=crop, resample=resample, official=False, crops_to=None, stored=stored)  # type: ignore[arg-type]  # one of two names


def _sides(processor: Mapping[str, object]) -> tuple[int | None, int | None]:
    """The shortest edge and the crop, or a square and none; nothing for other ways."""
    sizes = {
        name: found
        for name in ("size", "crop_size")
        for found in (processor.get(name),)
        if isinstance(found, Mapping) and all(type(side) is int and 0 < side < MAX_SIDE for side in found.values())
    }
    size, crop = ({each: sizes.get(name, {}).get(each) for each in SIDES} for name in ("size", "crop_size"))
    if processor.get("do_center_crop"):
        square = crop["height"] is not None and crop["height"] == crop["width"]
        return (size["shortest_edge"], crop["height"]) if square else (None, None)
    return (size["height"], None) if size["height"] == size["width"] else (None, None)


SIDES = ("shortest_edge", "height", "width")

MAX_SIDE = 10_000
"""Pixels; a file is not trusted with more."""


def _statistics(found: object) -> tuple[float, ...] | None:
    """Three numbers from 0 to 1."""
    if not isinstance(found, list) or len(found) != 3:
        return None
    fits = all(type(value) in (int, float) and 0 <= value <= 1 for value in found)
    return tuple(float(value) for value in found) if fits else None


def processor_config(preprocessing: Preprocessing) -> dict[str, object]:
    """The content of preprocessor_config.json.

    It is a `BitImageProcessor`, which needs no torchvision and is equal to DINO's transform in its PIL form, or
    DINOv3's own where its official repositories name that, which needs torchvision. Both names load in transformers
    4.57 and 5.x: 4.57 does not know DINOv3's without `Fast`.
    """
    shared: dict[str, object] = {
        # DINOv3's official files leave this out, and fail on RGBA pictures; every original's loader converts.
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": list(preprocessing.mean),
        "image_std": list(preprocessing.std),
        "resample": PIL_RESAMPLING[preprocessing.resample],
        "rescale_factor": 1 / 255,
    }
    if preprocessing.official:
        return {
            "image_processor_type": "DINOv3ViTImageProcessorFast",
            **shared,
            "crop_size": None,
            "data_format": "channels_first",
            "default_to_square": True,
            "do_center_crop": None,
            "size": {"height": preprocessing.resize, "width": preprocessing.resize},
        }
    if preprocessing.crop is None:
        square = {"height": preprocessing.resize, "width": preprocessing.resize}
        return {"image_processor_type": "BitImageProcessor", **shared, "do_center_crop": False, "size": square}
    return {
        "image_processor_type": "BitImageProcessor",
        **shared,
        "crop_size": {"height": preprocessing.crop, "width": preprocessing.crop},
        "do_center_crop": True,
        "size": {"shortest_edge": preprocessing.resize},
    }

"""preprocessor_config.json: the image processor of Transformers that does what a transform does, and the way back."""

from collections.abc import Mapping
from typing import Any, Literal

from dinoport.codebases.transformers.processor_fields import effect_of, effective, fits, processor_of
from dinoport.files.names import short_text
from dinoport.networks.preprocessing import Preprocessing

FILTERS: Mapping[int, Literal["bilinear", "bicubic"]] = {2: "bilinear", 3: "bicubic"}
"""By the numbers of PIL."""


def processor_config(preprocessing: Preprocessing) -> dict[str, object]:
    """The content of preprocessor_config.json.

    It is a `BitImageProcessor`, which needs no torchvision and is equal to DINO's transform in its PIL form, or
    DINOv3's own where its official repositories name that, which needs torchvision. Both names load in transformers
    4.57 and 5.x: 4.57 does not know DINOv3's without `Fast`.
    """
    shared: dict[str, object] = {
        "image_processor_type": "DINOv3ViTImageProcessorFast" if preprocessing.official else "BitImageProcessor",
        # DINOv3's official files leave this out, and fail on RGBA pictures; every original's loader converts.
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": list(preprocessing.mean),
        "image_std": list(preprocessing.std),
        "resample": next(number for number, name in FILTERS.items() if name == preprocessing.resample),
        "rescale_factor": 1 / 255,
    }
    square = {"height": preprocessing.resize, "width": preprocessing.resize}
    if preprocessing.crop is None and preprocessing.official:
        return {
            **shared,
            "crop_size": None,
            "data_format": "channels_first",
            "default_to_square": True,
            "do_center_crop": None,
            "size": square,
        }
    if preprocessing.crop is None:
        return {**shared, "do_center_crop": False, "size": square}
    return {
        **shared,
        "crop_size": {"height": preprocessing.crop, "width": preprocessing.crop},
        "do_center_crop": True,
        "size": {"shortest_edge": preprocessing.resize},
    }


FILE = "preprocessor_config.json"


def transform_of(config: Mapping[str, object], model: Mapping[str, object]) -> Preprocessing | str:
    """The transform that an image processor does beside the config of a `model`; a text says which of its fields makes
    it another kind.
    """
    known, channels = processor_of(config, model.get("model_type")), model.get("num_channels", 3)
    if known is None:
        return _untaken("image_processor_type", config.get("image_processor_type"))
    strange = [name for name, each in config.items() if not fits(name, each) or effect_of(name, each) == "outputs"]
    if strange:
        return _untaken(strange[0], config[strange[0]])
    fields: dict[str, Any] = effective(known, config)
    size, crop = (fields[name] if isinstance(fields[name], dict) else {} for name in ("size", "crop_size"))
    resize = size.get("shortest_edge") if fields["do_center_crop"] else _square(size)
    side = _square(crop) if fields["do_center_crop"] else None
    checks = {
        **{name: fields[name] is True for name in ("do_resize", "do_rescale", "do_normalize")},
        "rescale_factor": abs((fields["rescale_factor"] or 0) - 1 / 255) < 1e-9,
        "resample": fields["resample"] in FILTERS,
        "size": resize is not None,
        "crop_size": not fields["do_center_crop"] or (side is not None and side <= (resize or 0)),
        "image_mean": _one_each(fields["image_mean"], channels),
        "image_std": _one_each(fields["image_std"], channels) and min(fields["image_std"]) > 0,
    }
    wrong = [name for name, fit in checks.items() if not fit]
    if wrong or resize is None:
        return _untaken(wrong[0], fields[wrong[0]])
    own = known.name == "DINOv3ViTImageProcessor"
    return Preprocessing(
        resize=resize,
        crop=side,
        resample=FILTERS[fields["resample"]],
        resizes="tensor" if own else "picture",
        mean=tuple(fields["image_mean"]),
        std=tuple(fields["image_std"]),
        official=own,
        reason=FILE,
        stored=dict.fromkeys(("resize", "crop", "resample", "mean", "std"), FILE),
    )


def _untaken(name: str, value: object) -> str:
    return f"the transform of {FILE} is not taken: {name} = {short_text(value)}"


def _square(size: Mapping[str, int]) -> int | None:
    height, width = size.get("height"), size.get("width")
    return height if height is not None and height == width else None


def _one_each(values: object, channels: object) -> bool:
    return isinstance(values, list) and len(values) == channels

"""The genuine image processors of Transformers, to measure what one changed field of preprocessor_config.json does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.transformers_target.genuine_classes import Outcome

STATISTICS = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
_SHARED = {
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    **STATISTICS,
    "resample": 3,
    "rescale_factor": 1 / 255,
}
CONFIGS: Mapping[str, Mapping[str, Any]] = {
    "BitImageProcessor": {
        **_SHARED,
        "crop_size": {"height": 28, "width": 28},
        "do_center_crop": True,
        "size": {"shortest_edge": 32},
    },
    "DINOv3ViTImageProcessorFast": {
        **_SHARED,
        "resample": 2,
        "crop_size": None,
        "data_format": "channels_first",
        "default_to_square": True,
        "do_center_crop": None,
        "size": {"height": 32, "width": 32},
    },
    "ViTImageProcessor": {**_SHARED, "resample": 2, "size": {"height": 32, "width": 32}},
}


@dataclass(frozen=True)
class GenuineProcessor:
    """One processor in a folder, with the pixels that it gives for pictures of several shapes and modes."""

    folder: Path
    config: Mapping[str, Any]
    pixels: tuple[Any, ...]

    @classmethod
    def make(cls, kind: str, folder: Path) -> GenuineProcessor:
        folder.mkdir(parents=True, exist_ok=True)
        config = {"image_processor_type": kind, **CONFIGS[kind]}
        return cls(folder, config, pixels_of(folder, config))

    def outcome(self, changed: Mapping[str, Any]) -> Outcome:
        try:
            pixels = pixels_of(self.folder, changed)
        except Exception:  # whatever a processor raises: it does not load or run with this value
            return "refused"
        moved = any(
            one.shape != other.shape or not (one == other).all() for one, other in zip(self.pixels, pixels, strict=True)
        )
        return "moved" if moved else "same"


def pixels_of(folder: Path, config: Mapping[str, Any]) -> tuple[Any, ...]:
    from transformers import AutoImageProcessor

    from dinoport.proofs.picture import synthetic_picture

    (folder / "preprocessor_config.json").write_text(json.dumps(config))
    processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    pictures = (
        synthetic_picture(61, 45),
        synthetic_picture(40, 57),
        synthetic_picture(24, 20),
        synthetic_picture(50, 50).convert("RGBA"),
        synthetic_picture(50, 40).convert("L"),
    )
    return tuple(processor(picture, return_tensors="pt")["pixel_values"].double() for picture in pictures)


def names_taken(folder: Path, config: Mapping[str, Any]) -> set[str]:
    """Fields that the processor's own class keeps when it is saved again, and its attributes."""
    from transformers import AutoImageProcessor

    (folder / "preprocessor_config.json").write_text(json.dumps(config))
    processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
    kwargs = getattr(type(processor), "valid_kwargs", None)
    return {*processor.to_dict(), *getattr(kwargs, "__annotations__", {})}

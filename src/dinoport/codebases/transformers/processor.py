"""preprocessor_config.json: the image processor of Transformers that does what the original's transform does."""

from __future__ import annotations

from dinoport.networks.preprocessing import Preprocessing

PIL_RESAMPLING = {"bilinear": 2, "bicubic": 3}


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

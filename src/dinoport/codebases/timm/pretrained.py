"""config.json of a timm folder: what is built, and the transform that it is evaluated with.

Source: `save_config_for_hf` and `_parse_model_cfg` in `timm/models/_hub.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import floor

from dinoport.codebases.record import original_fields
from dinoport.codebases.timm.builders import Builder
from dinoport.model import Model
from dinoport.networks.network import Architecture
from dinoport.networks.preprocessing import Preprocessing


def folder_config(
    model: Model,
    builder: Builder,
    wanted: Mapping[str, object],
    preprocessing: Preprocessing,
    labels: Mapping[int, str] | None,
    layers: tuple[str, str],
    **record: object,
) -> dict[str, object]:
    """The content of config.json but for the licence.

    `wanted` is all that the builder is asked for, of which `model_args` keeps what it does not do anyway. `layers` are
    timm's names for the first convolution and the classifier.
    """
    architecture = model.architecture
    classes = architecture.classifier.classes if architecture.classifier else 0
    first, last = layers
    return {
        "architecture": builder.name,
        "num_classes": classes,
        **({"label_names": [labels[index] for index in range(classes)]} if labels and classes else {}),
        "model_args": builder.differing({**wanted, "in_chans": architecture.channels}),
        "pretrained_cfg": {
            "tag": model.family.name,
            "num_classes": classes,
            **transform_fields(preprocessing, architecture),
            "first_conv": first,
            "classifier": last,
        },
        **original_fields(model.family.name, **record),
    }


def transform_fields(preprocessing: Preprocessing, architecture: Architecture) -> dict[str, object]:
    """The transform as `resolve_model_data_config` reads it.

    Of other than three channels only the statistics that were given are known: one for each.
    """
    size, channels = preprocessing.size, architecture.channels
    sized = {"input_size": [channels, size, size], "fixed_input_size": False}
    statistics = {"mean": list(preprocessing.mean), "std": list(preprocessing.std)}
    known = {name: values for name, values in statistics.items() if len(values) == channels}
    if channels != 3:
        return {**sized, **known}
    return {
        **sized,
        "interpolation": preprocessing.resample,
        "crop_pct": crop_share(preprocessing),
        "crop_mode": "center" if preprocessing.crop else "squash",
        **known,
    }


def crop_share(preprocessing: Preprocessing) -> float:
    """The share of which timm, which rounds down, makes the size before the crop."""
    if preprocessing.crop is None:
        return 1.0
    share = preprocessing.crop / preprocessing.resize
    return share if floor(preprocessing.crop / share) == preprocessing.resize else share * (1 - 1e-9)

"""config.json of a timm folder: what is built, and the transform that it is evaluated with.

Source: `save_config_for_hf` and `_parse_model_cfg` in `timm/models/_hub.py`.
"""

from collections.abc import Mapping
from dataclasses import replace
from math import floor

from dinoport.codebases.record import original_fields
from dinoport.codebases.target import Target, form_of, prepared
from dinoport.codebases.timm.builders import TimmBuilder
from dinoport.mapping.rule import Rule
from dinoport.model import Model
from dinoport.networks.network import Architecture
from dinoport.networks.preprocessing import Preprocessing
from dinoport.request import Request


def folder_of(
    model: Model,
    request: Request,
    labels: Mapping[int, str] | None,
    builder: TimmBuilder,
    wanted: Mapping[str, object],
    rules: tuple[Rule, ...],
    size: int,
    layers: tuple[str, str],
    *,
    processed: int | None = None,
    **record: object,
) -> Target:
    """The folder of a builder, with the content of its config.json but for the licence.

    `wanted` is all that the builder is asked for, of which `model_args` keeps what it does not do anyway. `layers` are
    timm's names for the first convolution and the classifier. `processed` is the input size that its transform makes,
    if another than that of its outputs.
    """
    architecture = model.architecture
    classes = architecture.classifier.classes if architecture.classifier else 0
    first, last = layers
    preprocessing = prepared(model.preprocessing, processed or size, request, architecture.channels)
    config = {
        "architecture": builder.name,
        "num_classes": classes,
        **({"label_names": [labels[index] for index in range(classes)]} if labels and classes else {}),
        "model_args": builder.differing({**wanted, "in_chans": architecture.channels}),
        "pretrained_cfg": {
            "tag": model.family.name,
            "num_classes": classes,
            **transform_fields(preprocessing, architecture),
            # Where a layer of other channels is named, an older timm takes it for one of three, and begins it anew.
            "first_conv": first if architecture.channels == 3 else None,
            "classifier": last,
        },
        **original_fields(model.family.name, **record),
    }
    made = form_of(model, request, builder.name, config, rules, size, processed=processed)
    return replace(made, title=f"timm's {builder.name}")


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

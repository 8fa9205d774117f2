"""DINOv3ConvNextModel: the home of DINOv3's ConvNeXts."""

from __future__ import annotations

from collections.abc import Iterator

from dinoport.codebases.dinov3.convnext import FAMILY
from dinoport.codebases.preprocessing import Preprocessing
from dinoport.codebases.transformers.common import input_size, original_fields, prepared
from dinoport.codebases.transformers.target import Choices, Target
from dinoport.mapping.constants import ones
from dinoport.mapping.rule import Rule, copy, drop_alias, make
from dinoport.networks.convnext.architecture import DinoV3ConvNext

# fmt: off
SHARED: tuple[Rule, ...] = (
    copy("downsample_layers.{s}.{k}.{p}",  "stages.{s}.downsample_layers.{k}.{p}"),
    copy("stages.{s}.{b}.dwconv.{p}",      "stages.{s}.layers.{b}.depthwise_conv.{p}"),
    copy("stages.{s}.{b}.norm.{p}",        "stages.{s}.layers.{b}.layer_norm.{p}"),
    copy("stages.{s}.{b}.pwconv1.{p}",     "stages.{s}.layers.{b}.pointwise_conv1.{p}"),
    copy("stages.{s}.{b}.pwconv2.{p}",     "stages.{s}.layers.{b}.pointwise_conv2.{p}"),
    copy("norm.{p}",                       "layer_norm.{p}"),
)
LAYER_SCALE = copy("stages.{s}.{b}.gamma", "stages.{s}.layers.{b}.gamma")
# fmt: on

NO_LAYER_SCALE = "the original has no layer scale: ones change nothing"


def target(model: DinoV3ConvNext, preprocessing: Preprocessing, choices: Choices) -> Target:
    """The Transformers class for a DINOv3 ConvNeXt."""
    size = input_size(choices, preprocessing.size, 1)
    config: dict[str, object] = {
        "architectures": ["DINOv3ConvNextModel"],
        "model_type": "dinov3_convnext",
        "num_channels": model.channels,
        "hidden_sizes": list(model.widths),
        "depths": list(model.depths),
        "hidden_act": "gelu",
        "layer_norm_eps": model.layer_norm_eps,
        "layer_scale_init_value": 1e-6,
        "drop_path_rate": 0.0,
        "image_size": size,
        "initializer_range": 0.02,
        **original_fields("dinov3_convnext", without=[] if model.layer_scale else ["layer_scale"]),
    }
    return Target(
        class_name="DINOv3ConvNextModel",
        config=config,
        rules=(*rules(model), *FAMILY.drops),
        preprocessing=prepared(preprocessing, size, choices, model.channels),
        image_size=size,
        channels=model.channels,
        resamples_alike=True,
    )


def rules(model: DinoV3ConvNext) -> tuple[Rule, ...]:
    """The table of one model; without layer scale the class gets ones."""
    scales = (LAYER_SCALE,) if model.layer_scale else tuple(_unit_scales(model))
    return (*SHARED, *scales, drop_alias("norms.3.{p}", of="norm.{p}"))


def _unit_scales(model: DinoV3ConvNext) -> Iterator[Rule]:
    for stage, (depth, width) in enumerate(zip(model.depths, model.widths, strict=True)):
        for block in range(depth):
            yield make(f"stages.{stage}.layers.{block}.gamma", ones(width), because=NO_LAYER_SCALE)

"""DINOv3ConvNextModel: the home of DINOv3's ConvNeXts."""

from collections.abc import Mapping

from dinoport.codebases.record import original_fields, recorded
from dinoport.codebases.target import Target, form_of, input_size
from dinoport.codebases.transformers.stated_sizes import MAX_WIDTH, unsized
from dinoport.codebases.vit_sizes import MAX_DEPTH
from dinoport.mapping.constants import ones
from dinoport.mapping.rule import Rule, copy, drop_alias, make
from dinoport.model import Model
from dinoport.networks.convnext.architecture import ConvNeXt
from dinoport.request import Request

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
ALIAS = drop_alias("norms.3.{p}",          of="norm.{p}")
# fmt: on

NO_LAYER_SCALE = "the original has no layer scale: ones change nothing"


def target(model: Model, request: Request, labels: Mapping[int, str] | None) -> Target:
    network = model.architecture_as(ConvNeXt)
    size = input_size(request, network.image_size, 1)
    config: dict[str, object] = {
        "architectures": ["DINOv3ConvNextModel"],
        "model_type": "dinov3_convnext",
        "num_channels": network.channels,
        "hidden_sizes": list(network.widths),
        "depths": list(network.depths),
        "hidden_act": "gelu",
        "layer_norm_eps": network.layer_norm_eps,
        "layer_scale_init_value": 1e-6,
        "drop_path_rate": 0.0,
        "image_size": size,
        "initializer_range": 0.02,
        **original_fields(model.family.name, without=[] if network.layer_scale else ["layer_scale"]),
    }
    return form_of(model, request, "DINOv3ConvNextModel", config, rules(network), size)


def sketch(where: str, config: Mapping[str, object]) -> tuple[str, tuple[Rule, ...]]:
    depths, widths = config.get("depths", [3, 3, 9, 3]), config.get("hidden_sizes", [96, 192, 384, 768])
    if not isinstance(depths, list) or not isinstance(widths, list) or len(depths) != 4 or len(widths) != 4:
        raise unsized(where, "depths and hidden_sizes", "four whole numbers each", (depths, widths))
    for values, limit in ((depths, MAX_DEPTH), (widths, MAX_WIDTH)):
        if any(type(value) is not int or not 0 < value <= limit for value in values):
            raise unsized(where, "depths and hidden_sizes", f"whole numbers from 1 to {limit}", values)
    scales = "layer_scale" not in recorded(config, "without")
    return "dinov3_convnext", rules(ConvNeXt(tuple(depths), tuple(widths), layer_scale=scales))


def rules(network: ConvNeXt) -> tuple[Rule, ...]:
    """The table of one model; without layer scale the class gets ones."""
    if network.layer_scale:
        return (*SHARED, LAYER_SCALE, ALIAS)
    stages = enumerate(zip(network.depths, network.widths, strict=True))
    blocks = ((f"stages.{stage}.layers.{block}", width) for stage, (depth, width) in stages for block in range(depth))
    return (*SHARED, *(make(f"{name}.gamma", ones(width), because=NO_LAYER_SCALE) for name, width in blocks), ALIAS)

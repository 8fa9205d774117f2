"""timm's names for DINOv3's ConvNeXts (`checkpoint_filter_fn` in `timm/models/convnext.py`).

Nothing tells these from another ConvNeXt of timm's, so what an original computes with them is assumed.
"""

from collections.abc import Mapping

from dinoport.codebases.dinov3 import convnext
from dinoport.codebases.names import Names
from dinoport.codebases.target import Target, input_size
from dinoport.codebases.timm.builders import CONVNEXT, chosen
from dinoport.codebases.timm.pretrained import folder_of
from dinoport.mapping.rule import Rule, copy, drop_alias
from dinoport.model import Model
from dinoport.networks.convnext.architecture import ConvNeXt
from dinoport.request import Request

# fmt: off
RULES: tuple[Rule, ...] = (
    copy("downsample_layers.0.{k}.{p}",   "stem.{k}.{p}"),
    *(copy(f"downsample_layers.{s}.{{k}}.{{p}}", f"stages.{s}.downsample.{{k}}.{{p}}") for s in (1, 2, 3)),
    copy("stages.{s}.{b}.gamma",          "stages.{s}.blocks.{b}.gamma"),
    copy("stages.{s}.{b}.dwconv.{p}",     "stages.{s}.blocks.{b}.conv_dw.{p}"),
    copy("stages.{s}.{b}.norm.{p}",       "stages.{s}.blocks.{b}.norm.{p}"),
    copy("stages.{s}.{b}.pwconv{n}.{p}",  "stages.{s}.blocks.{b}.mlp.fc{n}.{p}"),
    copy("norm.{p}",                      "head.norm.{p}"),
    drop_alias("norms.3.{p}",             of="norm.{p}"),
)
# fmt: on


def target(model: Model, request: Request, labels: Mapping[int, str] | None) -> Target:
    """Timm's ConvNeXt for DINOv3's, which norms the pooled vector alone: that is the original's CLS token."""
    network = model.architecture_as(ConvNeXt)
    size = input_size(request, network.image_size, 1)
    eps = None if network.layer_norm_eps == CONVNEXT[0].eps else network.layer_norm_eps
    wanted = {**shown(network), "norm_eps": eps}
    builder = chosen(CONVNEXT, wanted, CONVNEXT[0])
    return folder_of(model, request, labels, builder, wanted, RULES, size, ("stem.0", "head.fc"))


def shown(network: ConvNeXt) -> dict[str, object]:
    """What timm's class is asked for that tensors show."""
    return {
        "depths": list(network.depths),
        "dims": list(network.widths),
        "in_chans": network.channels,
        "ls_init_value": 1e-6 if network.layer_scale else None,
    }


NAMES = Names(convnext, RULES)

"""timm's names for DINOv3's ConvNeXts (`checkpoint_filter_fn` in `timm/models/convnext.py`).

Nothing tells these from another ConvNeXt of timm's, so what an original computes with them is assumed.
"""

from __future__ import annotations

from collections.abc import Mapping

from dinoport.codebases.dinov3.convnext import FAMILY, hub_entry, read
from dinoport.mapping.rule import Rule, copy, drop_alias
from dinoport.model import Wishes
from dinoport.tensor import Shape

__all__ = ["FAMILY", "hub_entry", "read", "rules"]

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


def rules(shapes: Mapping[str, Shape], wishes: Wishes) -> tuple[Rule, ...]:
    return RULES

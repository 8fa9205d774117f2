"""timm's names for DINOv3's ConvNeXts (`checkpoint_filter_fn` in `timm/models/convnext.py`).

Nothing tells these from another ConvNeXt of timm's, so what an original computes with them is assumed.
"""

from __future__ import annotations

from collections.abc import Mapping

from dinoport.codebases.dialect import Dialect
from dinoport.codebases.setting import Wishes
from dinoport.mapping.rule import Rule, copy, drop_alias
from dinoport.tensor import Shape

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


def recognises(shapes: Mapping[str, Shape]) -> bool:
    """Whether these are timm's names for a ConvNeXt without a classifier."""
    return "stem.0.weight" in shapes and "stages.0.blocks.0.conv_dw.weight" in shapes and "head.norm.weight" in shapes


def rules(shapes: Mapping[str, Shape], wishes: Wishes) -> tuple[Rule, ...]:
    return RULES


TIMM = Dialect("timm", recognises, rules)

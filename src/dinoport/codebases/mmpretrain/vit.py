"""A ViT under the names of MMPretrain (`models/backbones/vision_transformer.py`), whose last norm is `ln1` too.

MMSelfSup builds its models of the same class. MMSegmentation has one of its own (`mmseg/models/backbones/vit.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from dinoport.codebases.codebase import Evidence, Reading
from dinoport.codebases.dino import vit as dino
from dinoport.codebases.dinov2 import vit as dinov2
from dinoport.mapping.rule import Rule, copy
from dinoport.model import Family, Origin, Stated

# fmt: off
TABLE: tuple[Rule, ...] = (
    copy("cls_token",                "cls_token"),
    copy("mask_token",               "mask_token"),
    copy("pos_embed",                "pos_embed"),
    copy("patch_embed.proj.{p}",     "patch_embed.projection.{p}"),
    copy("blocks.{i}.norm1.{p}",     "layers.{i}.ln1.{p}"),
    copy("blocks.{i}.attn.qkv.{p}",  "layers.{i}.attn.qkv.{p}"),
    copy("blocks.{i}.attn.proj.{p}", "layers.{i}.attn.proj.{p}"),
    copy("blocks.{i}.ls1.gamma",     "layers.{i}.attn.gamma1.weight"),
    copy("blocks.{i}.norm2.{p}",     "layers.{i}.ln2.{p}"),
    copy("blocks.{i}.mlp.fc1.{p}",   "layers.{i}.ffn.layers.0.0.{p}"),
    copy("blocks.{i}.mlp.fc2.{p}",   "layers.{i}.ffn.layers.1.{p}"),
    copy("blocks.{i}.ls2.gamma",     "layers.{i}.ffn.gamma2.weight"),
    copy("norm.{p}",                 "ln1.{p}"),
)
OF_TORCH: Mapping[str, str] = {
    "layers.{i}.attn.qkv.{p}":  "layers.{i}.attn.attn.in_proj_{p}",
    "layers.{i}.attn.proj.{p}": "layers.{i}.attn.attn.out_proj.{p}",
}
"""What MMSegmentation calls otherwise."""
# fmt: on


@dataclass(frozen=True)
class Names:
    """The same table, for the models of one codebase. `classifier` is its own name of that layer, where it has one."""

    FAMILY: Family
    code: Any
    RULES: tuple[Rule, ...] = TABLE
    resamples: str | None = "MMPretrain"
    classifier: str | None = None
    eps: Stated | None = None

    def of(self, code: Any) -> Names:
        """The same names for the models of another codebase, which computes with this network too."""
        own = code.FAMILY if self.classifier is None else replace(code.FAMILY, classifiers=(self.classifier,))
        return replace(self, FAMILY=own, code=code)

    @property
    def original(self) -> Family:
        """The family as its own codebase has it, with its own names of a classifier."""
        found: Family = self.code.FAMILY
        return found

    def read(self, evidence: Evidence) -> Reading:
        """As the original's own, but for how positions are resampled, where it is known to be another way."""
        stated = Stated("size", f"as {self.resamples} resamples", Origin.INFERRED)
        own = {"interpolation": stated} if self.resamples else {}
        wishes = evidence.wishes.filled(own | ({"layer_norm_eps": self.eps} if self.eps else {}))
        reading: Reading = self.code.read(replace(evidence, wishes=wishes))
        return reading


VIT = Names(dino.FAMILY, dino)
DINOV2 = Names(dinov2.FAMILY, dinov2)
SEGMENTER = Names(
    dino.FAMILY,
    dino,
    tuple(rule.spelled(lambda template: OF_TORCH.get(template, template)) for rule in TABLE),
    "MMSegmentation",
    eps=Stated(1e-6, "as configs of MMSegmentation set it; 1e-5 where they do not", Origin.ASSUMED, doubted=True),
)

"""iBOT (bytedance/ibot): DINO's ViT and head, and a second head for masked patches; with layer scale where asked."""

from __future__ import annotations

from dataclasses import replace

from dinoport.codebases.clues import Signs
from dinoport.codebases.codebase import Facts
from dinoport.codebases.drops import OF_DINO
from dinoport.codebases.relative import Relative
from dinoport.codebases.relatives.layer_scale import own_scales, scaled
from dinoport.mapping.rule import drop
from dinoport.model import Family
from dinoport.networks.interpolation import SCALE_WITH_OFFSET
from dinoport.networks.preprocessing import EVALUATION

PATCHES = "the projection head for masked patches; no class has a place for it"


RELATIVE = Relative(
    family=Family(
        name="ibot",
        title="iBOT ViT",
        upstream="bytedance/ibot",
        drops=(
            *OF_DINO,
            drop("head.last_layer2.{p}", because=PATCHES),
            drop("head.mlp2.{k}.{p}", because=PATCHES),
            drop("masked_embed", because="the token of masked patches; it is used for training alone"),
        ),
        preprocessing=replace(EVALUATION, reason="as in iBOT's eval transform"),
    ),
    like="dino",
    facts=Facts("iBOT", interpolation=SCALE_WITH_OFFSET, says_builder=True),
    signs=Signs(
        names=("head.last_layer2.", "head.mlp2.", "masked_embed"),
        keys=(frozenset({"ibot_loss"}),),
        arguments=("patch_out_dim", "pred_ratio"),
    ),
    arrange=lambda tensors: own_scales(tensors, "iBOT"),
    table=scaled,  # `init_values` gives it layer scales (`models/vision_transformer.py`)
)

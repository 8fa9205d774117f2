"""MSN (facebookresearch/msn): DeiT's ViT under DINO's names, and prototypes beside it."""

from __future__ import annotations

from dataclasses import replace

from dinoport.codebases.clues import Signs
from dinoport.codebases.codebase import Facts
from dinoport.codebases.drops import AVERAGED
from dinoport.codebases.relative import Relative
from dinoport.mapping.rule import drop
from dinoport.model import Family
from dinoport.networks.interpolation import TO_SIZE
from dinoport.networks.preprocessing import EVALUATION

PROJECTOR = "the projector of training; no class has a place for it"

RELATIVE = Relative(
    family=Family(
        name="msn",
        title="MSN ViT",
        upstream="facebookresearch/msn",
        drops=(*(drop(f"fc.{layer}{{k}}.{{p}}", because=PROJECTOR) for layer in ("fc", "bn")), AVERAGED),
        preprocessing=replace(EVALUATION, resample="bilinear", reason="as in MSN's eval transform"),
    ),
    like="dino",
    facts=Facts("MSN", interpolation=TO_SIZE),
    signs=Signs(
        names=("fc.fc1.", "fc.bn1.", "fc.fc3."),
        keys=(frozenset({"prototypes", "target_encoder"}),),
        files=("vits16_800ep", "vitb16_600ep", "vitl16_600ep", "vitb4_300ep", "vitl7_200ep"),
    ),
    copies=("target_encoder", "encoder"),
    why="what its own scripts evaluate",
)

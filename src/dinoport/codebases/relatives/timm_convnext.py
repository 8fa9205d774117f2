"""Supervised ConvNeXts of timm without their classifier: the names and shapes of timm's DINOv3 ConvNeXts."""

from __future__ import annotations

from dataclasses import replace

from dinoport.codebases.clues import Clues, Signs, called
from dinoport.codebases.codebase import Facts
from dinoport.codebases.drops import AVERAGED
from dinoport.codebases.relative import Relative
from dinoport.model import Family
from dinoport.networks.preprocessing import EVALUATION

TRANSFORM = replace(EVALUATION, reason="as timm evaluates its ConvNeXts")


def tells(clues: Clues) -> str | None:
    """What timm's config.json calls a ConvNeXt, where it does not say DINOv3."""
    return None if ".dinov3" in clues.architecture else called(clues, "convnext_")


RELATIVE = Relative(
    family=Family(
        name="timm_convnext",
        title="timm ConvNeXt",
        upstream="huggingface/pytorch-image-models",
        drops=(AVERAGED,),
        preprocessing=TRANSFORM,
    ),
    like="dinov3_convnext",
    facts=Facts("timm", preprocessing=TRANSFORM),
    signs=Signs(tells=tells),
)

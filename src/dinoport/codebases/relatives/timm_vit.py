"""Supervised ViTs of timm (AugReg among them): DINO's names, mean and deviation 0.5."""

from __future__ import annotations

from dataclasses import replace

from dinoport.codebases.clues import Clues, Signs
from dinoport.codebases.codebase import Facts
from dinoport.codebases.drops import AVERAGED
from dinoport.codebases.relative import Relative
from dinoport.model import Family
from dinoport.networks.interpolation import TO_SIZE_ANTIALIASED
from dinoport.networks.preprocessing import EVALUATION

HALF = (0.5, 0.5, 0.5)


def tells(clues: Clues) -> str | None:
    """A folder's own config.json; timm's DINOs are named as such."""
    name = clues.architecture
    return f"config.json, {name}" if name.startswith("vit_") and "dino" not in name else None


RELATIVE = Relative(
    family=Family(
        name="timm_vit",
        title="timm ViT",
        upstream="huggingface/pytorch-image-models",
        drops=(AVERAGED,),
        preprocessing=replace(
            EVALUATION, resize=248, mean=HALF, std=HALF, reason="as timm evaluates its AugReg models"
        ),
        classifiers=("head",),
    ),
    like="dino",
    facts=Facts(
        "timm",
        heads={(1280, 32): 16},
        interpolation=TO_SIZE_ANTIALIASED,
        rule="as timm resamples when it loads",
    ),
    signs=Signs(tells=tells),
)

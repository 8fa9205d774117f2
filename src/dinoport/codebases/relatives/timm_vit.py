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
    """A folder's own config.json, or what timm's train.py keeps; timm's DINOs are named as such."""
    trained = clues.arguments.get("model") if {"arch", "args", "state_dict"} <= clues.keys else None
    for where, name in (("config.json", clues.architecture), ("args of timm's train.py", trained)):
        if isinstance(name, str) and name.startswith("vit_") and "dino" not in name:
            return f"{where}, {name}"
    return None


def guesses(clues: Clues) -> str | None:
    """A file that is called as timm calls the weights of AugReg, which is not a proof."""
    return "the file's name" if clues.file_name.startswith("vit_") and ".augreg" in clues.file_name else None


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
    signs=Signs(tells=tells, guesses=guesses),
)

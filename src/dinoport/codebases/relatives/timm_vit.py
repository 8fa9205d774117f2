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

OWN = ("vit_", "test_vit", "eva_large_")
OF_OTHERS = ("dino", "_tips", "_lingbot")
"""How builders of supervised ViTs are called, and parts of what timm calls those of others."""

AUGREG = replace(EVALUATION, resize=248, mean=HALF, std=HALF, reason="as timm evaluates its AugReg models")


def contradicts(clues: Clues) -> str | None:
    """A part that no supervised ViT of timm has; where it has layer scale, its patches are not DINOv2's."""
    parts = ("mask_token", "register_tokens", "blocks.0.mlp.w12.weight")
    if found := next((name for name in parts if name in clues.shapes), None):
        return found
    scaled = "blocks.0.ls1.gamma" in clues.shapes
    return "patches of 14 and layer scale" if scaled and clues.patch_size == 14 else None


def tells(clues: Clues) -> str | None:
    """A folder's own config.json, or what timm's train.py keeps; timm's DINOs are named as such."""
    trained = clues.arguments.get("model") if {"arch", "args", "state_dict"} <= clues.keys else None
    for where, name in (("config.json", clues.architecture), ("args of timm's train.py", trained)):
        if isinstance(name, str) and name.startswith(OWN) and not any(part in name for part in OF_OTHERS):
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
        preprocessing=AUGREG,
        classifiers=("head",),
    ),
    like="dino",
    facts=Facts(
        "timm",
        heads={(1280, 32): 16, (1408, 40): 16, (1664, 48): 16},
        interpolation=TO_SIZE_ANTIALIASED,
        rule="as timm resamples when it loads",
        preprocessing=AUGREG,
    ),
    signs=Signs(tells=tells, guesses=guesses),
    contradicts=contradicts,
)

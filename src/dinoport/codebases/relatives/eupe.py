"""EUPE (facebookresearch/EUPE): DINOv3's ViT, learnt from several teachers."""

from __future__ import annotations

from dataclasses import replace

from dinoport.codebases.clues import Clues, Signs, called
from dinoport.codebases.codebase import Facts
from dinoport.codebases.drops import OF_DINOV3
from dinoport.codebases.relative import Relative
from dinoport.mapping.rule import drop
from dinoport.model import Family
from dinoport.networks.preprocessing import DINOV3_PROCESSOR

PROJECTORS = "a projector to one of its teachers; no class has a place for it"

SQUARE = replace(DINOV3_PROCESSOR, resize=256, official=False, reason="as in EUPE's README")

DROPS = (*OF_DINOV3, drop("projectors.{r}", because=PROJECTORS))


def guesses(clues: Clues) -> str | None:
    """A width of 192, which no published DINOv3 has; it is not a proof."""
    return "the width of EUPE's ViT-T" if clues.size[0] == 192 else None


SIGNS = Signs(names=("projectors.",), files=("EUPE-",), tells=lambda clues: called(clues, ".eupe"))

RELATIVE = Relative(
    family=Family(
        name="eupe",
        title="EUPE ViT",
        upstream="facebookresearch/EUPE",
        drops=DROPS,
        preprocessing=SQUARE,
    ),
    like="dinov3",
    facts=Facts("EUPE", preprocessing=SQUARE),
    signs=replace(SIGNS, guesses=guesses),
    sizes={
        "EUPE-ViT-T": (192, 12, 3, 16),
        "EUPE-ViT-S": (384, 12, 6, 16),
        "EUPE-ViT-B": (768, 12, 12, 16),
    },
)

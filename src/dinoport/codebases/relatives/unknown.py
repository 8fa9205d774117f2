"""Plain models of an unknown codebase: converted with DINO's values, claimed for nobody."""

from __future__ import annotations

from dataclasses import replace

from dinoport.codebases.clues import Signs
from dinoport.codebases.codebase import Facts
from dinoport.codebases.drops import OF_DINO
from dinoport.codebases.relative import Relative
from dinoport.model import Family
from dinoport.networks.interpolation import SCALE_WITH_OFFSET
from dinoport.networks.preprocessing import EVALUATION

AS_DINO = replace(EVALUATION, reason="as in DINO")

VIT = Relative(
    Family("vit", "ViT (codebase not known)", "", OF_DINO, AS_DINO, ("linear", "head"), values="DINO"),
    about="A plain ViT of an unknown codebase: converted with DINO's values, claimed for nobody.",
    like="dino",
    facts=Facts(
        "DINO",
        heads={(1280, 32): 16, (1408, 40): 16, (1664, 48): 16},
        interpolation=SCALE_WITH_OFFSET,
        says_builder=True,
    ),
    signs=Signs(),
)

RESNET = Relative(
    Family("resnet", "ResNet-50 (codebase not known)", "", OF_DINO, AS_DINO, ("linear", "fc"), values="DINO"),
    about="A plain ResNet-50 of an unknown codebase: converted with DINO's values, claimed for nobody.",
    like="dino_resnet",
    facts=Facts("DINO"),
    signs=Signs(),
)

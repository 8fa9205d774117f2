"""A plain ViT of an unknown codebase: converted with DINO's values, claimed for nobody."""

from __future__ import annotations

from dataclasses import replace

from dinoport.codebases.clues import Signs
from dinoport.codebases.codebase import Facts
from dinoport.codebases.drops import OF_DINO
from dinoport.codebases.relative import Relative
from dinoport.model import Family
from dinoport.networks.interpolation import SCALE_WITH_OFFSET
from dinoport.networks.preprocessing import EVALUATION

RELATIVE = Relative(
    family=Family(
        name="vit",
        title="ViT (codebase not known)",
        upstream="",
        drops=OF_DINO,
        preprocessing=replace(EVALUATION, reason="as in DINO"),
        classifiers=("linear", "head"),
        values="DINO",
    ),
    like="dino",
    facts=Facts(
        "DINO",
        heads={(1280, 32): 16, (1408, 40): 16, (1664, 48): 16},
        interpolation=SCALE_WITH_OFFSET,
        says_builder=True,
    ),
    signs=Signs(),
)

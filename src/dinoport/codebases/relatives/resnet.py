"""A plain ResNet-50 of an unknown codebase: converted with DINO's values, claimed for nobody."""

from __future__ import annotations

from dataclasses import replace

from dinoport.codebases.clues import Signs
from dinoport.codebases.codebase import Facts
from dinoport.codebases.drops import OF_DINO
from dinoport.codebases.relative import Relative
from dinoport.model import Family
from dinoport.networks.preprocessing import EVALUATION

RELATIVE = Relative(
    family=Family(
        name="resnet",
        title="ResNet-50 (codebase not known)",
        upstream="",
        drops=OF_DINO,
        preprocessing=replace(EVALUATION, reason="as in DINO"),
        classifiers=("linear", "fc"),
        values="DINO",
    ),
    like="dino_resnet",
    facts=Facts("DINO"),
    signs=Signs(),
)

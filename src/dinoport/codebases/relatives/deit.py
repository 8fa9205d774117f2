"""DeiT (facebookresearch/deit): timm's ViT under DINO's names, with a classifier."""

from __future__ import annotations

from dataclasses import replace

from dinoport.codebases.clues import Signs
from dinoport.codebases.codebase import Facts
from dinoport.codebases.drops import AVERAGED
from dinoport.codebases.relative import Relative
from dinoport.model import Family
from dinoport.networks.interpolation import TO_SIZE
from dinoport.networks.preprocessing import EVALUATION

RELATIVE = Relative(
    family=Family(
        name="deit",
        title="DeiT ViT",
        upstream="facebookresearch/deit",
        drops=(AVERAGED,),
        preprocessing=replace(EVALUATION, reason="as in DeiT's eval transform"),
        classifiers=("head",),
    ),
    like="dino",
    facts=Facts("DeiT", interpolation=TO_SIZE, rule="as in DeiT's fine-tuning for another size"),
    signs=Signs(builders=("deit_",), files=("deit_tiny_", "deit_small_", "deit_base_")),
    copies=("model",),
    why="what its own main.py evaluates and publishes",
)

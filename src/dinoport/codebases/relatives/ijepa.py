"""I-JEPA (facebookresearch/ijepa): a ViT without a CLS token, with a fixed position table."""

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
        name="ijepa",
        title="I-JEPA ViT",
        upstream="facebookresearch/ijepa",
        drops=(AVERAGED,),
        preprocessing=replace(
            EVALUATION, reason="I-JEPA has no transform for evaluation; ImageNet's statistics, as in its training"
        ),
    ),
    like="dino",
    facts=Facts(
        "I-JEPA",
        heads={(1280, 32): 16, (1408, 40): 16},
        interpolation=TO_SIZE,
        rule="I-JEPA takes no other size; as Transformers resamples",
        takes_one_size=True,
    ),
    signs=Signs(),
    copies=("target_encoder", "encoder"),
    why="what its paper evaluates",
    remark="Transformers' own converter and timm take the copy called encoder, and so do the folders on the Hub",
)

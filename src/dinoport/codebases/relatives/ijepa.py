"""I-JEPA (facebookresearch/ijepa): a ViT without a CLS token, with a fixed position table."""

from __future__ import annotations

from dataclasses import replace

from dinoport.codebases.clues import Clues, Signs
from dinoport.codebases.codebase import Facts
from dinoport.codebases.drops import AVERAGED
from dinoport.codebases.relative import Relative
from dinoport.model import Family
from dinoport.networks.interpolation import TO_SIZE
from dinoport.networks.preprocessing import EVALUATION


def alike(clues: Clues) -> str | None:
    """Told by what its training writes, by its fixed table, or by a name."""
    trained = "target_encoder" in clues.place or {"encoder", "predictor"} <= clues.keys
    named = clues.architecture or clues.file_name.startswith(("IN1K-vit", "IN22K-vit"))
    if trained or named or clues.fixed_table == "column":
        return None
    return "a SigLIP without its pooling, which has other pixel statistics and, mostly, another GELU"


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
    alike=alike,
    remark="Transformers' own converter and timm take the copy called encoder, and so do the folders on the Hub",
)

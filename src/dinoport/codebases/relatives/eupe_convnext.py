"""EUPE's ConvNeXts (facebookresearch/EUPE): DINOv3's, learnt from several teachers."""

from __future__ import annotations

from dinoport.codebases.codebase import Facts
from dinoport.codebases.relative import Relative
from dinoport.codebases.relatives.eupe import DROPS, SIGNS, SQUARE
from dinoport.model import Family

RELATIVE = Relative(
    family=Family(
        name="eupe_convnext",
        title="EUPE ConvNeXt",
        upstream="facebookresearch/EUPE",
        drops=DROPS,
        preprocessing=SQUARE,
    ),
    like="dinov3_convnext",
    facts=Facts("EUPE", preprocessing=SQUARE),
    signs=SIGNS,
)

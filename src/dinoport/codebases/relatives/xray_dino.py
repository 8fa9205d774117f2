"""XRay-DINO (facebookresearch/dinov2): DINOv2's ViT-L for X-ray pictures, with a table for 512 pixels."""

from __future__ import annotations

from dinoport.codebases.clues import Signs
from dinoport.codebases.codebase import Facts
from dinoport.codebases.drops import OF_DINOV2
from dinoport.codebases.relative import Relative
from dinoport.model import Family
from dinoport.networks.preprocessing import DINOV2_EVALUATION

RELATIVE = Relative(
    family=Family(
        name="xray_dino",
        title="XRay-DINO ViT",
        upstream="facebookresearch/dinov2",
        drops=OF_DINOV2,
        preprocessing=DINOV2_EVALUATION,
    ),
    like="dinov2",
    facts=Facts("XRay-DINO"),
    signs=Signs(files=("xray_dino",)),
    sizes={
        "xray_dino_vitl16": (1024, 24, 16, 16),
    },
)

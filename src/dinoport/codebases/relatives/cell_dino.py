"""Cell-DINO (facebookresearch/dinov2): DINOv2's ViT for microscopy, with four or five channels, or one at a time."""

from __future__ import annotations

from dinoport.codebases.clues import Signs
from dinoport.codebases.codebase import Facts
from dinoport.codebases.drops import OF_DINOV2
from dinoport.codebases.relative import Relative
from dinoport.model import Family
from dinoport.networks.preprocessing import DINOV2_EVALUATION

RELATIVE = Relative(
    family=Family(
        name="cell_dino",
        title="Cell-DINO ViT",
        upstream="facebookresearch/dinov2",
        drops=OF_DINOV2,
        preprocessing=DINOV2_EVALUATION,
    ),
    like="dinov2",
    facts=Facts("Cell-DINO"),
    signs=Signs(files=("cell_dino", "channel_adaptive_dino")),
    sizes={
        "cell_dino_hpa_vitl16": (1024, 24, 16, 16),
        "cell_dino_hpa_vitl14": (1024, 24, 16, 14),
        "cell_dino_cp_vits8": (384, 12, 6, 8),
        "channel_adaptive_dino_vitl16": (1024, 24, 16, 16),
    },
)

"""SimDINOv2 (RobinWu218/SimDINO): DINOv2's ViT and head, without that head's last layer."""

from __future__ import annotations

from dinoport.codebases.clues import Clues, Signs
from dinoport.codebases.codebase import Facts
from dinoport.codebases.drops import OF_DINOV2
from dinoport.codebases.relative import Relative
from dinoport.model import Family
from dinoport.networks.preprocessing import DINOV2_EVALUATION


def guesses(clues: Clues) -> str | None:
    """A projection head that ends in its bottleneck, or was cut there, so it is not a proof."""
    own = "dino_head.mlp.0.weight" in clues.shapes
    last = any(name.startswith("dino_head.last_layer") for name in clues.shapes)
    return "a projection head without a last layer" if own and not last else None


RELATIVE = Relative(
    family=Family(
        name="simdinov2",
        title="SimDINOv2 ViT",
        upstream="RobinWu218/SimDINO",
        drops=OF_DINOV2,
        preprocessing=DINOV2_EVALUATION,
    ),
    like="dinov2",
    facts=Facts("SimDINOv2"),
    signs=Signs(files=("simdinov2", "SimDINOv2"), guesses=guesses),
)

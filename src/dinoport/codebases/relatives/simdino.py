"""SimDINO (RobinWu218/SimDINO): DINO's ViT and head, without that head's last layer."""

from __future__ import annotations

from dinoport.codebases.clues import Clues, Signs
from dinoport.codebases.codebase import Facts
from dinoport.codebases.drops import OF_DINO
from dinoport.codebases.relative import Relative
from dinoport.model import Family
from dinoport.networks.interpolation import SCALE_WITH_OFFSET
from dinoport.networks.preprocessing import EVALUATION


def tells(clues: Clues) -> str | None:
    """A projection head that ends in its bottleneck: its loss compares features, and no prototypes."""
    own = "head.mlp.0.weight" in clues.shapes and not any(name.startswith("head.last_layer") for name in clues.shapes)
    return "a projection head without a last layer" if own else None


RELATIVE = Relative(
    family=Family(
        name="simdino",
        title="SimDINO ViT",
        upstream="RobinWu218/SimDINO",
        drops=OF_DINO,
        preprocessing=EVALUATION,
        classifiers=("linear", "head"),
    ),
    like="dino",
    facts=Facts("SimDINO", interpolation=SCALE_WITH_OFFSET, says_builder=True),
    signs=Signs(arguments=("use_simdino", "expa_type"), tells=tells, files=("simdino_", "SimDINO")),
)

"""WebSSL-DINO (facebookresearch/webssl): DINOv2's ViT with SwiGLU, up to 7B, with wide heads from 2B on."""

from __future__ import annotations

from dataclasses import replace

from dinoport.codebases.clues import Clues, Signs
from dinoport.codebases.codebase import Facts
from dinoport.codebases.drops import OF_DINOV2
from dinoport.codebases.relative import Relative
from dinoport.codebases.relatives.gated import without_gate_or_with_registers
from dinoport.model import Family
from dinoport.networks.preprocessing import EVALUATION

HEADS = {(2688, 24): 21, (3072, 26): 24, (3584, 32): 28, (4096, 32): 32}
"""Of 2B, 3B, 5B and 7B, by width and depth: DINOv2 was published in none of these sizes."""

SMALLER = ((1024, 24), (1536, 40))
"""300M and 1B: DINOv2's sizes, but with SwiGLU in both and a table for 224 pixels."""

EVALUATED = replace(EVALUATION, reason="as in WebSSL's README")


def guesses(clues: Clues) -> str | None:
    """SwiGLU in a size that DINOv2 does not have, or with a table for 224 pixels, which is not a proof."""
    gated = "blocks.0.mlp.w12.weight" in clues.shapes
    rows = clues.shapes.get("pos_embed", (0, 0))[1]
    known = clues.size in HEADS or (clues.size in SMALLER and rows == 257)
    return "the size of a WebSSL-DINO" if gated and known else None


RELATIVE = Relative(
    family=Family(
        name="webssl_dino",
        title="WebSSL-DINO ViT",
        upstream="facebookresearch/webssl",
        drops=OF_DINOV2,
        preprocessing=EVALUATED,
    ),
    like="dinov2",
    facts=Facts("WebSSL-DINO", heads=HEADS, preprocessing=EVALUATED),
    signs=Signs(files=("webssl_dino",), guesses=guesses),
    contradicts=without_gate_or_with_registers,
)

"""Franca (valeoai/Franca): DINOv2's ViT with SwiGLU in all sizes, and heads of several widths."""

from __future__ import annotations

from dataclasses import replace

from dinoport.codebases.clues import Clues, Signs
from dinoport.codebases.codebase import Facts
from dinoport.codebases.drops import OF_DINOV2, PROJECTION_HEAD
from dinoport.codebases.relative import Relative
from dinoport.codebases.relatives.gated import without_gate_or_with_registers
from dinoport.mapping.rule import drop
from dinoport.model import Family
from dinoport.networks.preprocessing import EVALUATION

HEAD_PARTS = ("matryoshka_projections", "mlps", "last_layers")

BASE = (768, 12)
"""Franca's larger sizes are WebSSL-DINO's too, and all compute alike."""


def guesses(clues: Clues) -> str | None:
    """SwiGLU in a size that DINOv2 publishes with a plain MLP, which is not a proof."""
    gated = "blocks.0.mlp.w12.weight" in clues.shapes
    return "SwiGLU in the size of a Franca" if gated and clues.size == BASE else None


EVALUATED = replace(EVALUATION, reason="as in Franca's eval transform")

RELATIVE = Relative(
    family=Family(
        name="franca",
        title="Franca ViT",
        upstream="valeoai/Franca",
        drops=(
            *OF_DINOV2,
            *(
                drop(f"{head}.{part}.{{r}}", because=PROJECTION_HEAD)
                for head in ("dino_head", "ibot_head")
                for part in HEAD_PARTS
            ),
        ),
        preprocessing=EVALUATED,
    ),
    like="dinov2",
    facts=Facts("Franca", preprocessing=EVALUATED),
    signs=Signs(names=("matryoshka_projections.",), files=("franca_",), guesses=guesses),
    contradicts=without_gate_or_with_registers,
)

"""What Franca and WebSSL-DINO share: DINOv2's ViT with SwiGLU in every size, and without registers."""

from __future__ import annotations

from dinoport.codebases.clues import Clues


def without_gate_or_with_registers(clues: Clues) -> str | None:
    if "register_tokens" in clues.shapes:
        return "register_tokens"
    return None if "blocks.0.mlp.w12.weight" in clues.shapes else "feed-forward layers without a gate"

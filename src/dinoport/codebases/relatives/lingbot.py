"""LingBot-Vision (Robbyant/lingbot-vision): DINOv3's ViT, evaluated on squares of 512 pixels."""

from __future__ import annotations

from dataclasses import replace

from dinoport.codebases.clues import Clues, Signs, called
from dinoport.codebases.codebase import Facts
from dinoport.codebases.drops import OF_DINOV3
from dinoport.codebases.relative import Relative
from dinoport.model import Family
from dinoport.networks.preprocessing import DINOV3_PROCESSOR

SQUARE = replace(DINOV3_PROCESSOR, resize=512, official=False, reason="as in LingBot-Vision's README")

GIANT = (1536, 40)


def guesses(clues: Clues) -> str | None:
    """The giant's size without biases, of which DINOv3 published no model; it is not a proof."""
    plain = "blocks.0.attn.qkv.bias" not in clues.shapes
    return "the size of LingBot-Vision's giant, without biases" if plain and clues.size == GIANT else None


RELATIVE = Relative(
    family=Family(
        name="lingbot",
        title="LingBot-Vision ViT",
        upstream="Robbyant/lingbot-vision",
        drops=OF_DINOV3,
        preprocessing=SQUARE,
    ),
    like="dinov3",
    facts=Facts("LingBot-Vision", preprocessing=SQUARE),
    signs=Signs(files=("lingbot",), guesses=guesses, tells=lambda clues: called(clues, "_lingbot")),
    sizes={
        "lingbot-vision-vit-small": (384, 12, 6, 16),
        "lingbot-vision-vit-base": (768, 12, 12, 16),
        "lingbot-vision-vit-large": (1024, 24, 16, 16),
        "lingbot-vision-vit-giant": (1536, 40, 24, 16),
    },
)

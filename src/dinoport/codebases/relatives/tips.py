"""TIPS and TIPS v2 (google-deepmind/tips): DINOv2 with one register, raw pixels, and bilinear resampling."""

from __future__ import annotations

from dinoport.codebases.clues import Clues, Signs, called
from dinoport.codebases.codebase import Facts
from dinoport.codebases.drops import AVERAGED
from dinoport.codebases.relative import Relative
from dinoport.model import Family
from dinoport.networks.interpolation import BILINEAR_ANTIALIASED
from dinoport.networks.preprocessing import Preprocessing

RAW = Preprocessing(
    resize=448,
    crop=None,
    resample="bilinear",
    resizes="tensor",
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    reason="as in TIPS's demo: a square, and pixels from 0 to 1",
)


ONE_REGISTER = "exactly one register"


def guesses(clues: Clues) -> str | None:
    """Exactly one register, which no published DINOv2 has; it is not a proof."""
    registers = clues.shapes.get("register_tokens", ())
    return ONE_REGISTER if len(registers) == 3 and registers[1] == 1 else None


RELATIVE = Relative(
    family=Family(
        name="tips",
        title="TIPS ViT",
        upstream="google-deepmind/tips",
        drops=(AVERAGED,),
        preprocessing=RAW,
    ),
    like="dinov2",
    facts=Facts("TIPS", heads={(1152, 27): 16}, interpolation=BILINEAR_ANTIALIASED, preprocessing=RAW),
    signs=Signs(
        places=("vision_encoder",),
        files=("tips_",),
        guesses=guesses,
        tells=lambda clues: called(clues, "_tips"),
    ),
    always_told=ONE_REGISTER,
)

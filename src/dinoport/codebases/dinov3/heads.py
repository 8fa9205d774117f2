"""The width of one head where a codebase leaves out the rotary periods that tell it."""

from __future__ import annotations

from dinoport.errors import SettingError
from dinoport.model import Wishes

HEAD_DIMS = {4096: 128}
"""Width of one head by the model's width; 64 in all others that were published."""


def assumed_head_dim(width: int, wishes: Wishes) -> int:
    """Raises SettingError where nobody says the number of heads, and it does not follow from the width."""
    head_dim = HEAD_DIMS.get(width, 64)
    if wishes.num_heads and width % wishes.num_heads == 0:
        head_dim = width // wishes.num_heads
    if width and width % head_dim == 0 and head_dim % 4 == 0:
        return head_dim
    raise SettingError(
        "the number of attention heads of this model is not known",
        expected="a width that 64 divides, or `num_heads` that gives heads of a multiple of 4",
        found=f"width {width}",
        cause="these names leave out the rotary periods that tell it",
        next_step="add `num_heads=N`, with N from the code or config that built the model",
        missing="num_heads",
    )

"""Which texts of a file may name a tensor, and be shown in a line."""

from __future__ import annotations

MAX_NAME_CHARACTERS = 1000
"""Of a tensor's name; those of the DINO family have sixty at most."""


def is_name(text: str) -> bool:
    """Whether a text is short and has no control characters, which could rewrite what a terminal shows."""
    return len(text) <= MAX_NAME_CHARACTERS and text.isprintable()

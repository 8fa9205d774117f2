"""Which texts of a file may name a tensor, and what a message shows of any value: one line, however large it is."""

import reprlib

from dinoport.shown.text import is_plain

MAX_NAME_CHARACTERS = 1000
"""Of a tensor's name; those of the DINO family have sixty at most."""


def is_name(text: str) -> bool:
    """Whether a text is short, and holds nothing that would rewrite what a terminal shows, or hide in it."""
    return len(text) <= MAX_NAME_CHARACTERS and is_plain(text)


def short_text(value: object) -> str:
    """What a message shows of a value from a file: a line, however large, deep or shared the value is."""
    return _SHORT.repr(value)[:200]


_SHORT = reprlib.Repr()
_SHORT.maxlevel = 2
_SHORT.maxother = _SHORT.maxstring = 60

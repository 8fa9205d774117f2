"""What a pickle's names and objects become here: data that says what it would have been."""

from __future__ import annotations

import reprlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Global:
    """A name in a pickle: what would be imported by an unpickler that imports."""

    name: str


@dataclass(eq=False, slots=True, repr=False)
class Opaque:
    """A stand-in for an object of a class that nobody imported. `args` built it, `state` was set on it."""

    name: str
    args: tuple[object, ...] = ()
    state: object = None
    items: list[object] | None = None

    def __repr__(self) -> str:
        return f"<{self.name}>"


def short_text(value: object) -> str:
    """What a message shows of a value from a file: a line, however large, deep or shared the value is."""
    return _SHORT.repr(value)[:200]


_SHORT = reprlib.Repr()
_SHORT.maxlevel = 2
_SHORT.maxother = _SHORT.maxstring = 60

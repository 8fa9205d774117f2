"""Calls of the library that a message proposes. The command line shows each as the command that does the same."""

from __future__ import annotations

import re
from pathlib import Path

from dinoport.shown.packages import PROOF, missing

CALL = re.compile(r"`dinoport\.\w+\([^`]*\)`")


class Blank(str):
    """What the reader puts in: a word in capitals."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class Unnamed(str):
    """What no call can name, such as an object in memory: `str` describes it, and a call has SOURCE in its place."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "SOURCE"


SOURCE, FOLDER, OUT, FILE = map(Blank, ("SOURCE", "FOLDER", "OUT", "FILE"))

AND_SO_ON = Blank("...")


def call(function: str, *places: object, **fields: object) -> str:
    """`` `dinoport.convert('checkpoint.pth', FOLDER, to='timm')` ``: a file may be called anything."""
    given = [*map(_literal, places), *(f"{name}={_literal(value)}" for name, value in fields.items())]
    return f"`dinoport.{function}({', '.join(given)})`"


def runnable(function: str, *places: object, **fields: object) -> str:
    """A call that proves, as it can be run here: with the exact proof where packages of the full one are missing."""
    return call(function, *places, **fields, **({"level": "exact"} if missing(*PROOF) else {}))


def _literal(value: object) -> str:
    return repr(str(value) if isinstance(value, Path) else value).replace("`", "\\x60")

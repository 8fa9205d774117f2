"""Sizes that several families read off their tensors in the same way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isqrt

from dinoport.errors import PlanError
from dinoport.shown.text import as_word
from dinoport.tensor import Shape, shape_text


def required(shapes: Mapping[str, Shape], name: str, axes: int, where: str) -> Shape:
    """The shape of a tensor that the sizes are read off. Raises PlanError if it is missing or has other axes."""
    shape = shapes.get(name)
    if shape is None:
        raise _unreadable(where, f"{name} is missing")
    if len(shape) != axes or 0 in shape:
        problem = f"{name} has shape {shape_text(shape)} where {axes} axes, none of them empty, were expected"
        raise _unreadable(where, problem)
    return shape


def _unreadable(where: str, problem: str) -> PlanError:
    return PlanError(
        f"{where} cannot be converted: its sizes cannot be read",
        [problem],
        cause="the file was cut, merged or renamed, or another code than upstream's wrote it",
        next_step=f"dinoport inspect {as_word(where)}",
    )


def count_blocks(names: Iterable[str], prefix: str = "blocks.") -> int:
    """One more than the highest number behind `prefix`; a gap shows up as missing tensors."""
    numbers = (name[len(prefix) :].split(".", 1)[0] for name in names if name.startswith(prefix))
    return max((int(number) for number in numbers if number.isdecimal() and len(number) < 7), default=-1) + 1


def square_side(count: int) -> int | None:
    """The side of a square of `count` cells; None if there is none."""
    side = isqrt(count) if count > 0 else 0
    return side if side and side * side == count else None

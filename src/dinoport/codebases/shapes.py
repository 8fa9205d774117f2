"""Sizes that several families read off their tensors in the same way."""

from collections.abc import Iterable, Mapping
from math import isqrt

from dinoport.codebases.refusal import unfit
from dinoport.tensor import Shape, shape_text

UNREADABLE = ": its sizes cannot be read"


def required(shapes: Mapping[str, Shape], name: str, axes: int, where: str) -> Shape:
    """The shape of a tensor that the sizes are read off. Raises PlanError if it is missing or has other axes."""
    shape = shapes.get(name)
    if shape is None:
        raise unfit(where, UNREADABLE, [f"{name} is missing"])
    if len(shape) != axes or 0 in shape:
        problem = f"{name} has shape {shape_text(shape)} where {axes} axes, none of them empty, were expected"
        raise unfit(where, UNREADABLE, [problem])
    return shape


def count_blocks(names: Iterable[str], prefix: str = "blocks.") -> int:
    """One more than the highest number behind `prefix`; a gap shows up as missing tensors."""
    numbers = (name[len(prefix) :].split(".", 1)[0] for name in names if name.startswith(prefix))
    return max((int(number) for number in numbers if number.isdecimal() and len(number) < 7), default=-1) + 1


def square_side(count: int) -> int | None:
    """The side of a square of `count` cells; None if there is none."""
    side = isqrt(count) if count > 0 else 0
    return side if side and side * side == count else None

"""One call of an operator: its inputs, its attributes, and bounds on what it may make."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import TypeAlias

import numpy as np
import torch

from dinoport.exports.graph import Node
from dinoport.exports.tensors import DTYPES
from dinoport.tensor import FLOAT_DTYPES, TensorRef, shape_text

Tensor: TypeAlias = torch.Tensor
Results: TypeAlias = "Tensor | tuple[Tensor, ...]"

MAX_ELEMENTS = 1 << 28
"""Of one value, 2 GB in float64. The largest of a ViT-g at 518 pixels, its attention, has 45 million."""

MAX_WHOLES = 4096
"""Of one list of whole numbers: axes, sizes, pads."""

TORCH_DTYPES = {
    code: torch.float64 if dtype in FLOAT_DTYPES.values() else getattr(torch, dtype.name)
    for code, dtype in DTYPES.items()
}
"""By ONNX's number. Every float is a float64."""

ROUNDED_DTYPES = {10: torch.float16, 16: torch.bfloat16}
"""What fewer bits than float32's round a number to, by ONNX's number."""


class UnknownOperatorError(Exception):
    """An operator, or a use of one, that is not known here. Its text says which."""


class UncomputableError(Exception):
    """A step that cannot be computed with these inputs. Its text says which, and why."""


@dataclass(frozen=True)
class Call:
    """`node` over `inputs`, of which those that are left out are None. `heal` reads a number of the file as it was
    meant. `spend` is told of products before they are computed, and raises where there are too many. `rounding` says
    whether a cast to fewer bits than float32 rounds.
    """

    node: Node
    inputs: Sequence[Tensor | None]
    opset: int
    heal: Callable[[str, float], float]
    spend: Callable[[int], None]
    rounding: bool

    def tensor(self, index: int) -> Tensor:
        """An input that has to be there."""
        found = self.given(index)
        if found is None:
            raise UncomputableError(f"input {index + 1} is missing")
        return found

    def given(self, index: int) -> Tensor | None:
        return self.inputs[index] if index < len(self.inputs) else None

    def whole(self, name: str, otherwise: int) -> int:
        value = self.node.attributes.get(name, otherwise)
        if not isinstance(value, int):
            raise UncomputableError(f"its {name} is not a whole number")
        return value

    def number(self, name: str, otherwise: float) -> float:
        value = self.node.attributes.get(name)
        if value is None:
            return otherwise
        if not isinstance(value, float):
            raise UncomputableError(f"its {name} is not a number")
        return self.heal(f"{self.node.name} {name}", value)

    def text(self, name: str, otherwise: str) -> str:
        value = self.node.attributes.get(name, otherwise)
        if not isinstance(value, str):
            raise UncomputableError(f"its {name} is not a text")
        return value

    def wholes(self, name: str, index: int | None = None) -> list[int] | None:
        """Whole numbers: an attribute in older versions of an operator, an input in newer ones."""
        given = self.given(index) if index is not None else None
        value = self.node.attributes.get(name)
        count = given.numel() if given is not None else len(value) if isinstance(value, tuple) else 0
        if count > MAX_WHOLES:
            raise UncomputableError(f"{count} whole numbers as its {name}")
        if given is not None:
            return [int(value) for value in given.reshape(-1).tolist()]
        if isinstance(value, tuple) and all(isinstance(each, int) for each in value):
            return [int(each) for each in value]
        return None

    def constant(self, name: str) -> TensorRef:
        value = self.node.attributes.get(name)
        if not isinstance(value, TensorRef):
            raise UncomputableError(f"its {name} is not a tensor")
        return value

    def only(self, name: str, value: object, otherwise: object) -> None:
        """Refuse a use that is not known: an attribute of another value than `value`."""
        found = self.node.attributes.get(name, otherwise)
        if found != value:
            raise UnknownOperatorError(f"{self.node.title} with {name} = {found}")


def fitting(shape: Sequence[int]) -> Sequence[int]:
    """A shape that may be made. Raises UncomputableError for one that takes memory without end."""
    if any(size < 0 for size in shape) or prod(shape) > MAX_ELEMENTS:
        raise UncomputableError(
            f"a value of shape {shape_text(tuple(shape))}, where {MAX_ELEMENTS} elements are allowed"
        )
    return shape


def together(*tensors: Tensor) -> None:
    """Refuse tensors that would be broadcast to more than may be made."""
    fitting(np.broadcast_shapes(*(tensor.shape for tensor in tensors)))

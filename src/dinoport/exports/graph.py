"""A graph as data: nodes in the order in which they are computed, each with an operator, and the tensors it holds."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from dinoport.tensor import TensorRef

Attribute: TypeAlias = "int | float | str | TensorRef | Graph | tuple[int, ...] | tuple[float, ...] | tuple[str, ...]"

OWN_DOMAINS = ("", "ai.onnx")
"""What the standard's own operators are filed under."""


@dataclass(frozen=True)
class Node:
    """One step: `operator` over the values named by `inputs`. An empty name is an input or output that is left out.

    `name` is unique in a file: it is what reports call the node.
    """

    name: str
    operator: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The operator as people call it, with its domain where that is not the standard's."""
        return self.operator if self.domain in OWN_DOMAINS else f"{self.domain}::{self.operator}"


@dataclass(frozen=True)
class Input:
    """What a graph wants: `sizes` are numbers, and names for those that may be any. Equal names are equal sizes."""

    name: str
    element_type: int
    sizes: tuple[int | str, ...] | None


@dataclass(frozen=True)
class Graph:
    """`constants` are the tensors in the file, by name. `inputs` are what a caller gives: no constant is called so."""

    nodes: tuple[Node, ...]
    constants: Mapping[str, TensorRef]
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]

    def walk(self) -> Iterator[Node]:
        """Every node, those of branches included."""
        for node in self.nodes:
            yield node
            for value in node.attributes.values():
                if isinstance(value, Graph):
                    yield from value.walk()


@dataclass(frozen=True)
class Export:
    """One file of a graph. `opset` is the version of the standard's operators, `producer` who wrote it, as it says."""

    where: str
    graph: Graph
    opset: int
    producer: str

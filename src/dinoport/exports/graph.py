"""A graph as data: nodes in the order in which they are computed, the tensors it holds, and where in it blocks end."""

from collections.abc import Iterator, Mapping, Sequence
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


SIZES = ("Shape", "Size")
"""Operators whose output tells of a value no more than its size."""

CHANNELS_LAST = (0, 2, 3, 1)


def ends_of_blocks(graph: Graph, modules: Mapping[str, str], order: Sequence[str]) -> dict[str, str]:
    """The value that leaves each module, as `{value: module}`.

    `modules` says which module a tensor of the file belongs to, `order` the modules as the network computes them. A
    value belongs to the latest module whose weights it was computed with; the first of a module's that a later module
    reads is what leaves it. Modules whose weights stand in each other's place are told by where they stand.
    """
    computed = _as_computed(graph, modules, order)
    places = {module: place for place, module in enumerate(computed)}
    reached = {name: places[module] for name, module in modules.items() if module in places}
    pictured = {each.name for each in graph.inputs}
    ends: dict[int, str] = {}
    made: dict[str, int] = {}
    for node in graph.nodes:
        place = max((reached.get(name, -1) for name in node.inputs), default=-1)
        seen = any(name in pictured for name in node.inputs) and node.operator not in SIZES
        for name in node.inputs:
            own = reached.get(name, -1)
            if name in pictured and -1 < own < place:
                earlier = ends.get(own)
                if earlier is None or made.get(name, -1) < made.get(earlier, -1):
                    ends[own] = name
        for name in node.outputs:
            reached[name] = place
            made[name] = len(made)
            if seen:
                pictured.add(name)
    producers = {name: node for node in graph.nodes for name in node.outputs}
    return {_before_a_norm(name, producers): order[place] for place, name in ends.items()}


def _as_computed(graph: Graph, modules: Mapping[str, str], order: Sequence[str]) -> list[str]:
    """The modules between the first and the last in the order in which the graph first reads their weights."""
    read = (modules[name] for node in graph.nodes for name in node.inputs if name in modules)
    found = [module for module in dict.fromkeys(read) if module in order[1:-1]]
    places = sorted(order.index(module) for module in found)
    whole = list(order)
    for place, module in zip(places, found, strict=True):
        whole[place] = module
    return whole


def _before_a_norm(name: str, producers: Mapping[str, Node]) -> str:
    """What a norm was computed of, where that alone is read later: one that is written out, or one over channels."""
    node = producers.get(name)
    if node is not None and node.operator == "Div":
        centred = producers.get(node.inputs[0])
        if centred is not None and centred.operator == "Sub":
            return centred.inputs[0]
    if node is not None and node.operator == "Transpose" and node.attributes.get("perm") == CHANNELS_LAST:
        return node.inputs[0]
    return name

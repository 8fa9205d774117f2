"""A graph computed in float64 by PyTorch: one function for each operator, and nothing of the file is run.

Imported only to verify. Every float is a float64, whatever the file says.
"""

from collections import ChainMap, Counter
from collections.abc import Callable, Collection, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from functools import cache
from math import pi, sqrt
from typing import Any

import numpy as np

from dinoport.exports.graph import OWN_DOMAINS, Export, Graph, Node
from dinoport.tensor import Array, TensorRef

DIGITS = {"float32": 5, "float16": 1, "bfloat16": 1}
"""Of a decimal, by dtype. Of all float32 numbers, one in a hundred is one of so few digits by chance."""


@dataclass
class Healing:
    """Reads numbers as they were meant, and keeps which are written otherwise: by place, written and meant.

    An exporter writes an epsilon or a square root in float32: read as it is written, 1e-6 is 9.99999997e-7, and outputs
    move by 1e-10 to 1e-8. So a single number is read as the root whose float32 it is, or as the short decimal. No
    vector, no weight and no number that is not exactly the float32 of what it is read as is touched.
    `widths` are those that a head may have: attention is scaled by their roots. With `active` off, every number is
    taken as it is written.
    """

    widths: frozenset[int] = frozenset()
    active: bool = True
    healed: dict[str, tuple[float, float]] = field(default_factory=dict)

    def read(self, place: str, value: float, dtype: np.dtype[Any] | None = None) -> float:
        if not self.active:
            return value
        found = meant(value, np.dtype(dtype or np.float32), self.widths)
        if found != value:
            self.healed[place] = (value, found)
        return found


def meant(value: float, dtype: np.dtype[Any], widths: frozenset[int] = frozenset()) -> float:
    """What a number of `dtype` was before it was rounded to that; itself where that is not known."""
    if not np.isfinite(value) or value == 0 or float(value).is_integer():
        return value
    root = _roots(dtype, widths).get(abs(value))
    if root is not None:
        return root if value > 0 else -root
    if dtype == np.float64 and float(np.float32(value)) == value:  # rounded before it was written wider
        dtype = np.dtype(np.float32)
    for digits in range(1, DIGITS.get(dtype.name, 0) + 1):
        decimal = float(f"{value:.{digits - 1}e}")
        if float(dtype.type(decimal)) == value:
            return decimal
    return value


@cache
def _roots(dtype: np.dtype[Any], widths: frozenset[int]) -> dict[float, float]:
    """The numbers that exporters write rounded, by what they are in a dtype."""
    exact = [sqrt(2), 1 / sqrt(2), sqrt(2 / pi), 2 * pi, pi]
    for width in sorted(widths):
        exact += [width**-0.5, width**0.5, width**-0.25, width**0.25]
    if dtype == np.float64:  # a scale is kept in float32 in any model; its root may be taken of that
        rounded = {sqrt(float(np.float32(number**2))): number for number in reversed(exact)}
        return rounded | {float(np.float32(number)): number for number in reversed(exact)}
    return {float(dtype.type(number)): number for number in reversed(exact)}


OPSETS = range(13, 26)
"""Versions of the standard's operators whose meaning is known here: 13 took axes as inputs, 25 is the newest."""

MAX_LIVE_ELEMENTS = 1 << 30
"""Of all values that are kept at one time, 8 GB in float64."""


MAX_WORK = 1 << 36
"""Products and elements, some seconds on one core; who knows the network allows what that needs."""

WIDE = 11
"""ONNX's number of float64, which every float of 32 bits or more is here."""

PRODUCTS_A_VALUE = 16
"""What an exponential takes, or the error function, beside a product in a matrix."""


class UnshownError(Exception):
    """What keeps a graph from being computed here, and says nothing against it: an operator that is not known."""


class BrokenGraphError(Exception):
    """What no runtime could compute: the node, and why."""


@dataclass
class Evaluation:
    """`healing` reads single numbers, but for the constants named in `kept`: they are weights of the model.

    Those named in `meant` are read as these values, in float64: what they were before they were rounded. `watch` hears
    of every value of the outermost graph, by its name. `work` is how many products and elements may be computed.
    With `rounding`, a cast to fewer bits than float32 rounds, as a runtime's does; without it no cast of floats does.
    """

    export: Export
    healing: Healing = field(default_factory=Healing)
    kept: Collection[str] = ()
    meant: Mapping[str, Array] = field(default_factory=dict)
    work: int = MAX_WORK
    rounding: bool = True
    spent: int = 0

    def run(self, inputs: Mapping[str, Any], watch: Callable[[str, Any], None] = lambda name, value: None) -> list[Any]:
        """The graph's outputs, in order. Raises UnshownError and BrokenGraphError."""
        import torch

        self.spent = 0
        with torch.inference_mode():
            return self._run(self.export.graph, dict(inputs), watch)

    def _run(self, graph: Graph, values: MutableMapping[str, Any], watch: Callable[[str, Any], None]) -> list[Any]:
        uses = Counter(name for node in graph.nodes for name in _read_by(node))
        uses.update(graph.outputs)
        own = {name for node in graph.nodes for name in node.outputs}
        live = 0
        for node in graph.nodes:
            given = [self._value(graph, values, name) for name in node.inputs]
            results = self._computed(node, given, graph, values)
            for name, result in zip(node.outputs, results, strict=False):
                if name:
                    values[name] = result
                    live += result.numel()
                    watch(name, result)
            if live > MAX_LIVE_ELEMENTS:
                raise BrokenGraphError(f"{node.title} ({node.name}): values of more than {MAX_LIVE_ELEMENTS} elements")
            for name in {*_read_by(node), *node.outputs}:
                uses[name] -= name in _read_by(node)
                if uses[name] <= 0 and name in own and name in values:
                    live -= values.pop(name).numel()
        return [self._value(graph, values, name) for name in graph.outputs]

    def _computed(
        self, node: Node, given: list[Any], graph: Graph, values: MutableMapping[str, Any]
    ) -> tuple[Any, ...]:
        from dinoport.exports.operators.call import Call, UncomputableError, UnknownOperatorError

        if node.operator == "Constant" and node.domain in OWN_DOMAINS:
            return (self._constant(node),)
        if node.operator == "If" and node.domain in OWN_DOMAINS:
            return tuple(self._branch(node, given, graph, values))
        function = known_operators().get(node.operator) if node.domain in OWN_DOMAINS else None
        if function is None:
            raise UnshownError(f"the operator {node.title} is not known")
        if node.operator == "CastLike" and self.rounding and any(map(_is_float, given[1:2])):
            node = self._as_cast(node, graph)
            function = known_operators()[node.operator]
        try:
            result = function(Call(node, given, self.export.opset, self.healing.read, self._spend, self.rounding))
            made = result if isinstance(result, tuple) else (result,)
            self._spend(PRODUCTS_A_VALUE * sum(each.numel() for each in made))
        except UnknownOperatorError as error:
            raise UnshownError(f"the operator {error} is not known") from error
        except (UncomputableError, RuntimeError, ValueError, IndexError, TypeError, OverflowError) as error:
            why = str(error).partition("\n")[0]
            raise BrokenGraphError(f"{node.title} ({node.name}): {why}") from error
        return result if isinstance(result, tuple) else (result,)

    def _as_cast(self, node: Node, graph: Graph) -> Node:
        """A CastLike as a Cast: to what the file says of its second input, or to any wide float where all are wide."""
        from dinoport.exports.operators.call import ROUNDED_DTYPES
        from dinoport.exports.tensors import DTYPES

        like = node.inputs[1]
        casts = (each for each in graph.nodes if each.operator == "Cast")
        known = {name: each.attributes.get("to", 0) for each in casts for name in each.outputs}
        known |= {each.name: each.element_type for each in graph.inputs}
        if like in graph.constants:
            known[like] = {dtype: code for code, dtype in DTYPES.items()}[graph.constants[like].dtype]
        if like not in known and _types(self.export.graph) & {*ROUNDED_DTYPES}:
            raise UnshownError(
                f"the operator CastLike to the type of {like}, which the file does not say, is not known"
            )
        return replace(node, operator="Cast", attributes={"to": known.get(like, WIDE)})

    def _spend(self, count: int) -> None:
        from dinoport.exports.operators.call import UncomputableError

        self.spent += count
        if self.spent > self.work:
            raise UncomputableError(f"more than {self.work} products, many times what the network takes")

    def _branch(self, node: Node, given: list[Any], graph: Graph, values: MutableMapping[str, Any]) -> Iterator[Any]:
        """One of two graphs, which see the values around them."""
        condition = given[0] if given else None
        chosen = node.attributes.get("then_branch" if condition is not None and bool(condition) else "else_branch")
        if not isinstance(chosen, Graph):
            raise BrokenGraphError(f"If ({node.name}): without branches")
        around = {**graph.constants, **chosen.constants}
        inner = Graph(chosen.nodes, around, (), chosen.outputs)
        yield from self._run(inner, ChainMap({}, values), lambda name, value: None)

    def _constant(self, node: Node) -> Any:
        """A number, numbers or a tensor that stand in a node."""
        import torch

        for name, value in node.attributes.items():
            if name == "value" and isinstance(value, TensorRef):
                return self._read(node.name, value)
            if name == "value_float" and isinstance(value, float):
                return torch.tensor(self.healing.read(node.name, value), dtype=torch.float64)
            if name == "value_int" and isinstance(value, int):
                return torch.tensor(value, dtype=torch.int64)
            if name in ("value_ints", "value_floats") and isinstance(value, tuple):
                return torch.tensor(value, dtype=torch.int64 if name == "value_ints" else torch.float64)
        raise UnshownError("the operator Constant of texts is not known")

    def _value(self, graph: Graph, values: Mapping[str, Any], name: str) -> Any:
        if not name:
            return None
        if name in values:
            return values[name]
        if name in graph.constants:
            return self._read(name, graph.constants[name])
        raise UnshownError(f"what the graph calls {name}, a further output of an operator, is not known")

    def _read(self, name: str, tensor: TensorRef) -> Any:
        """A tensor of the file: floats as float64, and a single number as it was meant."""
        import torch

        if name in self.meant:
            return torch.from_numpy(np.ascontiguousarray(self.meant[name]))
        if not tensor.is_float:
            return torch.from_numpy(tensor.read())
        values = torch.from_numpy(tensor.read(np.dtype(np.float64)))
        if tensor.size == 1 and name not in self.kept:
            values.fill_(self.healing.read(name, float(values.reshape(())), tensor.dtype))
        return values


def _types(graph: Graph) -> set[int]:
    """Whatever the tensors, inputs and casts of a graph say of types, by ONNX's numbers."""
    from dinoport.exports.tensors import DTYPES

    held, found = [*graph.constants.values()], {each.element_type for each in graph.inputs}
    for name, value in (item for node in graph.nodes for item in node.attributes.items()):
        if isinstance(value, int) and (name == "to" or name.endswith("type")):
            found.add(value)
        elif isinstance(value, TensorRef):
            held.append(value)
        elif isinstance(value, Graph):
            found |= _types(value)
    dtypes = {each.dtype for each in held}
    return found | {code for code, dtype in DTYPES.items() if dtype in dtypes}


def _is_float(value: Any) -> bool:
    return value is not None and bool(value.is_floating_point())


def known_operators() -> Mapping[str, Callable[[Any], Any]]:
    from dinoport.exports.operators.arithmetic import ARITHMETIC
    from dinoport.exports.operators.layers import LAYERS, QUANTIZED
    from dinoport.exports.operators.shaping import SHAPING

    return {**ARITHMETIC, **SHAPING, **LAYERS, **QUANTIZED}


def _read_by(node: Node) -> tuple[str, ...]:
    """The values that a node needs; one with branches needs whatever these may."""
    names = dict.fromkeys(node.inputs)
    for graph in (value for value in node.attributes.values() if isinstance(value, Graph)):
        names |= dict.fromkeys(name for each in graph.nodes for name in _read_by(each))
        names |= dict.fromkeys(graph.outputs)
    return tuple(filter(None, names))

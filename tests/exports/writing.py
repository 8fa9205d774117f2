"""Graphs written as ONNX files, field by field: for tests that change one, or need one that no exporter would write."""

import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dinoport.exports.graph import Attribute, Export, Graph, Input, Node
from dinoport.exports.tensors import DTYPES
from dinoport.tensor import ArrayValues, TensorRef

CODES = {dtype: code for code, dtype in DTYPES.items()}
FLOAT = 1


def varint(value: int) -> bytes:
    value &= 2**64 - 1
    found = bytearray()
    while True:
        found.append(value & 0x7F | (0x80 if value > 0x7F else 0))
        value >>= 7
        if not value:
            return bytes(found)


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def run(field: int, data: bytes | str) -> bytes:
    data = data.encode() if isinstance(data, str) else data
    return varint(field << 3 | 2) + varint(len(data)) + data


def runs(field: int, each: Iterable[bytes | str]) -> bytes:
    return b"".join(run(field, data) for data in each)


def tensor(name: str, array: Any) -> bytes:
    array = np.asarray(array)
    shape = b"".join(number(1, size) for size in array.shape)
    return shape + number(2, CODES[array.dtype]) + run(8, name) + run(9, np.ascontiguousarray(array).tobytes())


def external(name: str, array: Any, location: str, **place: int) -> bytes:
    """A tensor that lies in another file."""
    pairs = {"location": location, **{key: str(value) for key, value in place.items()}}
    entries = runs(13, (run(1, key) + run(2, value) for key, value in pairs.items()))
    shape = b"".join(number(1, size) for size in array.shape)
    return shape + number(2, CODES[array.dtype]) + run(8, name) + entries + number(14, 1)


def attribute(name: str, value: Attribute) -> bytes:
    if isinstance(value, float):
        typed = varint(2 << 3 | 5) + struct.pack("<f", value) + number(20, 1)
    elif isinstance(value, int):
        typed = number(3, value) + number(20, 2)
    elif isinstance(value, str):
        typed = run(4, value) + number(20, 3)
    elif isinstance(value, TensorRef):
        typed = run(5, tensor("", value.read())) + number(20, 4)
    elif isinstance(value, Graph):
        typed = run(6, graph(value)) + number(20, 5)
    elif all(isinstance(each, float) for each in value) and value:
        typed = run(7, struct.pack(f"<{len(value)}f", *value)) + number(20, 6)
    else:
        typed = run(8, b"".join(varint(int(each)) for each in value)) + number(20, 7)
    return run(1, name) + typed


def node(each: Node) -> bytes:
    attributes = runs(5, (attribute(name, value) for name, value in each.attributes.items()))
    names = run(3, each.name) + run(4, each.operator) + (run(7, each.domain) if each.domain else b"")
    return runs(1, each.inputs) + runs(2, each.outputs) + names + attributes


def value(each: Input) -> bytes:
    if each.sizes is None:
        return run(1, each.name)
    sizes = runs(1, (number(1, size) if isinstance(size, int) else run(2, size) for size in each.sizes))
    return run(1, each.name) + run(2, run(1, number(1, each.element_type) + run(2, sizes)))


def graph(each: Graph) -> bytes:
    constants = runs(5, (tensor(name, ref.read()) for name, ref in each.constants.items()))
    outputs = runs(12, (run(1, name) for name in each.outputs))
    return runs(1, map(node, each.nodes)) + constants + runs(11, map(value, each.inputs)) + outputs


def model(content: bytes, opset: int = 20, producer: str = "tests") -> bytes:
    """A whole file over the bytes of a graph."""
    return number(1, 10) + run(2, producer) + run(7, content) + run(8, run(1, "") + number(2, opset))


def write(path: Path, export: Export) -> Path:
    path.write_bytes(model(graph(export.graph), export.opset, export.producer))
    return path


def constant(array: Any, name: str = "") -> TensorRef:
    array = np.asarray(array)
    return TensorRef(name, array.dtype, array.shape, ArrayValues(array))


def one_step(operator: str, inputs: Mapping[str, Any], outputs: int = 1, opset: int = 20, **attributes: Any) -> Export:
    """A graph of one node over constants; those that are None are left out."""
    given = {name: constant(array, name) for name, array in inputs.items() if array is not None}
    names = tuple(name if array is not None else "" for name, array in inputs.items())
    made = tuple(f"y{place}" for place in range(outputs))
    only = Node("step", operator, "", names, made, attributes)
    return Export("memory", Graph((only,), given, (), made), opset, "tests")

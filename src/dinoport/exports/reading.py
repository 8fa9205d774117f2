"""An ONNX file as a graph: read field by field, within bounds; weights stay references to bytes of files.

Field numbers are those of `onnx/onnx.proto`. Nothing is unpacked, built or run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dinoport.exports.graph import Attribute, Export, Graph, Input, Node
from dinoport.exports.tensors import Tensors, packed, signed
from dinoport.exports.wire import Run, Wire
from dinoport.files.byte_sources import ByteSource, LocalFile, closed_on_error
from dinoport.files.folders import LocalFolder
from dinoport.files.names import is_name, short_text
from dinoport.formats.checkpoint import Checkpoint
from dinoport.tensor import TensorRef

MAX_NODES = 50_000
"""A ViT-7B by the TorchScript exporter has some ten thousand."""

MAX_CONSTANTS = 20_000
"""The same has some two thousand."""

MAX_DEPTH = 4
"""Of graphs within branches of graphs; exporters write one."""


def read_export(path: Path) -> tuple[Export, Checkpoint]:
    """The graph of a file, and the files it lies in, which the caller closes.

    Raises CheckpointError for a file that is not sound, and UnsafeCheckpointError where it names files outside its own
    folder.
    """
    return read_bytes(LocalFile(path), path.parent)


def read_bytes(source: ByteSource, folder: Path) -> tuple[Export, Checkpoint]:
    """The same of bytes that are open, with the folder that other files may lie in. They are closed where it fails."""
    reader = _Reader(source, folder)
    with closed_on_error(reader.close):
        export = reader.export()
    tree = dict(export.graph.constants)
    return export, Checkpoint(source.where, "ONNX file", tree, (source, *reader.tensors.files.values()))


class _Reader:
    def __init__(self, source: ByteSource, folder: Path) -> None:
        self.source, self.wire = source, Wire(source)
        self.tensors = Tensors(self.wire, LocalFolder(folder))
        self.names: set[str] = set()
        self.nodes = self.constants = 0

    def close(self) -> None:
        for file in (self.source, *self.tensors.files.values()):
            file.close()

    def export(self) -> Export:
        """ModelProto."""
        opset, producer = 0, ["", ""]
        graphs: list[Run] = []
        for number, value in self.wire.whole.fields():
            if number in (2, 3) and isinstance(value, Run):
                producer[number - 2] = value.text()
            elif number == 7 and isinstance(value, Run):
                graphs.append(value)
            elif number == 8 and isinstance(value, Run):
                domain, version = self._opset(value)
                opset = version if domain in ("", "ai.onnx") else opset
        if len(graphs) != 1:
            raise self.wire.broken(f"{len(graphs)} graphs", "one graph")
        graph = self._graph(graphs[0], (), 1)
        named = " ".join(text for text in producer if text and is_name(text))
        return Export(self.source.where, graph, opset, named)

    def _opset(self, message: Run) -> tuple[str, int]:
        domain, version = "", 0
        for number, value in message.fields():
            if number == 1 and isinstance(value, Run):
                domain = value.text()
            elif number == 2 and isinstance(value, int):
                version = value
        return domain, version

    def _graph(self, message: Run, outer: tuple[set[str], ...], depth: int) -> Graph:
        """GraphProto. `outer` are the values of the graphs around it, which its nodes may use."""
        if depth > MAX_DEPTH:
            raise self.wire.broken(f"graphs within graphs, {depth} deep", f"at most {MAX_DEPTH}")
        nodes: list[Run] = []
        constants: dict[str, TensorRef] = {}
        inputs: list[Input] = []
        outputs: list[str] = []
        for number, value in message.fields():
            if not isinstance(value, Run):
                continue
            if number == 1:
                nodes.append(value)
            elif number == 5:
                tensor = self.tensors.tensor(value)
                if tensor.name in constants:
                    raise self.wire.broken(f"two tensors called {tensor.name}", "one")
                constants[tensor.name] = tensor
                self.constants += 1
                if self.constants > MAX_CONSTANTS:
                    raise self.wire.broken(f"more than {MAX_CONSTANTS} tensors", "a graph of some thousand")
            elif number == 11:
                inputs.append(self._input(value))
            elif number == 12:
                outputs.append(self._input(value).name)
            elif number == 15:
                raise self.wire.broken("a sparse tensor", "tensors that are written whole")
        wanted = tuple(each for each in inputs if each.name not in constants)
        known = {*constants, *(each.name for each in inputs)}
        read = tuple(self._ordered(nodes, known, outer, depth))
        missing = [name for name in outputs if not _holds((known, *outer), name)]
        if missing:
            raise self.wire.broken(f"the output {short_text(missing[0])}, which no node computes", "one of a node's")
        return Graph(read, constants, wanted, tuple(outputs))

    def _ordered(
        self, messages: Iterable[Run], known: set[str], outer: tuple[set[str], ...], depth: int
    ) -> Iterator[Node]:
        """The nodes; each may use what comes before it and nothing else, so there are no circles.

        What they compute is added to `known`.
        """
        for message in messages:
            self.nodes += 1
            if self.nodes > MAX_NODES:
                raise self.wire.broken(f"more than {MAX_NODES} nodes", "a graph of some thousand")
            node = self._node(message, (known, *outer), depth)
            late = [name for name in node.inputs if name and not _holds((known, *outer), name)]
            if late:
                found = f"{node.title} reads {short_text(late[0])}, which nothing before it computes"
                raise self.wire.broken(found, "nodes in the order in which they are computed, without circles")
            twice = [name for name in node.outputs if name in known]
            if twice:
                raise self.wire.broken(f"{short_text(twice[0])} is computed twice", "one node for each value")
            known |= {name for name in node.outputs if name}
            yield node

    def _node(self, message: Run, known: tuple[set[str], ...], depth: int) -> Node:
        """NodeProto."""
        inputs: list[str] = []
        outputs: list[str] = []
        texts = {3: "", 4: "", 7: ""}
        attributes: dict[str, Attribute] = {}
        for number, value in message.fields():
            if not isinstance(value, Run):
                continue
            if number in (1, 2):
                (inputs if number == 1 else outputs).append(value.text())
            elif number in texts:
                texts[number] = value.text()
            elif number == 5:
                name, found = self._attribute(value, known, depth)
                if found is not None:
                    attributes[name] = found
        for what, text in (("an operator", texts[4]), ("a domain", texts[7])):
            if text and not is_name(text):
                raise self.wire.broken(f"a wrong name of {what}: {short_text(text)}", "a short text")
        name = texts[3] if is_name(texts[3]) and texts[3] not in self.names else ""
        name = name or f"{texts[4]} {self.nodes}"
        self.names.add(name)
        return Node(name, texts[4], texts[7], tuple(inputs), tuple(outputs), attributes)

    def _attribute(self, message: Run, known: tuple[set[str], ...], depth: int) -> tuple[str, Attribute | None]:
        """AttributeProto: one of its values, by the type that it says."""
        name, kind = "", 0
        single: dict[int, Any] = {}
        several: dict[int, list[Any]] = {7: [], 8: [], 9: []}
        for number, value in message.fields():
            if number == 1 and isinstance(value, Run):
                name = value.text()
            elif number == 20 and isinstance(value, int):
                kind = value
            elif number in (2, 3) or (number in (4, 5, 6) and isinstance(value, Run)):
                single[number] = value
            elif number == 8 and isinstance(value, Run):
                several[8] += [signed(each) for each in value.varints()]
            elif number == 7 and isinstance(value, Run):
                several[7] += np.frombuffer(packed(value, 4), np.dtype("<f4")).tolist()
            elif number in (7, 8):
                several[number].append(signed(value) if isinstance(value, int) else value)
            elif number == 9 and isinstance(value, Run):
                several[9].append(value.text())
        found: Attribute | None = None
        if kind == 1 and isinstance(single.get(2), float):
            found = single[2]
        elif kind == 2 and isinstance(single.get(3), int):
            found = signed(single[3])
        elif kind == 3 and 4 in single:
            found = single[4].text()
        elif kind == 4 and 5 in single:
            found = self.tensors.tensor(single[5])
        elif kind == 5 and 6 in single:
            found = self._graph(single[6], known, depth + 1)
        elif kind in (6, 7, 8):
            found = tuple(several[kind + 1])
        return name, found

    def _input(self, message: Run) -> Input:
        """ValueInfoProto: a name, an element type, and sizes where it says some."""
        name, element, sizes = "", 0, None
        for number, value in message.fields():
            if number == 1 and isinstance(value, Run):
                name = value.text()
            elif number == 2 and isinstance(value, Run):
                for kind, tensor in value.fields():
                    if kind == 1 and isinstance(tensor, Run):
                        element, sizes = self._tensor_type(tensor)
        if not is_name(name):
            raise self.wire.broken(f"a wrong name: {short_text(name)}", "a short text")
        return Input(name, element, sizes)

    def _tensor_type(self, message: Run) -> tuple[int, tuple[int | str, ...] | None]:
        element, sizes = 0, None
        for number, value in message.fields():
            if number == 1 and isinstance(value, int):
                element = value
            elif number == 2 and isinstance(value, Run):
                sizes = tuple(self._size(each) for kind, each in value.fields() if kind == 1 and isinstance(each, Run))
        return element, sizes

    def _size(self, message: Run) -> int | str:
        """A number, or a name; some exporters write a number as a name."""
        for number, value in message.fields():
            if number == 1 and isinstance(value, int):
                return value
            if number == 2 and isinstance(value, Run):
                text = value.text()
                return int(text) if text.isdecimal() and len(text) < 9 else text
        return "?"


def _holds(known: tuple[set[str], ...], name: str) -> bool:
    return any(name in values for values in known)

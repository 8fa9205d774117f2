"""An ONNX file as a graph: read field by field, within bounds; weights stay references to bytes of files.

Field numbers are those of `onnx/onnx.proto`. Nothing is unpacked, built or run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from dinoport.exports.graph import OWN_DOMAINS, Attribute, Export, Graph, Input, Node
from dinoport.exports.tensors import Tensors, packed, signed
from dinoport.exports.wire import Message, Run, Wire
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
        model = self.wire.whole.message(2, 3, 7, 8, 25)
        graphs, producer = model.runs(7), (model.text(2), model.text(3))
        opsets = {opset.text(1): opset.whole(2) for opset in (each.message(1, 2) for each in model.runs(8))}
        if len(graphs) != 1:
            raise self.wire.broken(f"{len(graphs)} graphs", "one graph")
        graph = self._graph(graphs[0], (), 1)
        for function in (each.message(1, 10) for each in model.runs(25)):
            if function.text(10) in OWN_DOMAINS:
                found = f"a function {short_text(function.text(1))} in the place of the standard's operator"
                raise self.wire.broken(found, "functions in a domain of their own")
        named = " ".join(text for text in producer if text and is_name(text))
        opset = next((opsets[domain] for domain in reversed(opsets) if domain in OWN_DOMAINS), 0)
        return Export(self.source.where, graph, opset, named)

    def _graph(self, message: Run, outer: tuple[set[str], ...], depth: int) -> Graph:
        """GraphProto. `outer` are the values of the graphs around it, which its nodes may use."""
        if depth > MAX_DEPTH:
            raise self.wire.broken(f"graphs within graphs, {depth} deep", f"at most {MAX_DEPTH}")
        fields = message.message(1, 5, 11, 12, 15)
        if 15 in fields.numbers:
            raise self.wire.broken("a sparse tensor", "tensors that are written whole")
        constants: dict[str, TensorRef] = {}
        for tensor in map(self.tensors.tensor, fields.runs(5)):
            if tensor.name in constants:
                raise self.wire.broken(f"two tensors called {tensor.name}", "one")
            constants[tensor.name] = tensor
            self.constants += 1
            if self.constants > MAX_CONSTANTS:
                raise self.wire.broken(f"more than {MAX_CONSTANTS} tensors", "a graph of some thousand")
        inputs = [self._input(each) for each in fields.runs(11)]
        outputs = [self._input(each).name for each in fields.runs(12)]
        wanted = tuple(each for each in inputs if each.name not in constants)
        known = {*constants, *(each.name for each in inputs)}
        read = tuple(self._ordered(fields.runs(1), known, outer, depth))
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
        fields = message.message(1, 2, 3, 4, 5, 7)
        own, operator, domain = fields.text(3), fields.text(4), fields.text(7)
        found = (self._attribute(each, known, depth) for each in fields.runs(5))
        attributes = {name: value for name, value in found if value is not None}
        for what, text in (("an operator", operator), ("a domain", domain)):
            if text and not is_name(text):
                raise self.wire.broken(f"a wrong name of {what}: {short_text(text)}", "a short text")
        name = own if own and is_name(own) and own not in self.names else f"{operator} {self.nodes}"
        self.names.add(name)
        return Node(name, operator, domain, fields.texts(1), fields.texts(2), attributes)

    def _attribute(self, message: Run, known: tuple[set[str], ...], depth: int) -> tuple[str, Attribute | None]:
        """AttributeProto: one of its values, by the type that it says."""
        fields = message.message(*range(1, 10), 20)
        kind = fields.whole(20)
        if kind == 0:
            raise self.wire.broken(f"the attribute {short_text(fields.text(1))} without a type", "its type")
        found: Attribute | None = None
        if kind == 1:  # some writers leave out a number that is zero
            found = [0.0, *fields.floats(2)][-1]
        elif kind == 2:
            found = signed(fields.whole(3))
        elif kind == 3:
            found = fields.text(4)
        elif kind == 4 and (tensor := fields.run(5)):
            found = self.tensors.tensor(tensor)
        elif kind == 5 and (graph := fields.run(6)):
            found = self._graph(graph, known, depth + 1)
        elif kind == 6:
            packs = b"".join(packed(run, 4) for run in fields.runs(7))
            found = (*fields.floats(7), *np.frombuffer(packs, np.dtype("<f4")).tolist())
        elif kind == 7:
            found = tuple(map(signed, fields.wholes(8)))
        elif kind == 8:
            found = fields.texts(9)
        return fields.text(1), found

    def _input(self, message: Run) -> Input:
        """ValueInfoProto: a name, an element type, and sizes where it says some."""
        fields = message.message(1, 2)
        name, kind = fields.text(1), fields.run(2)
        tensor = kind.message(1).run(1) if kind else None
        if not is_name(name):
            raise self.wire.broken(f"a wrong name: {short_text(name)}", "a short text")
        return Input(name, *(self._tensor_type(tensor.message(1, 2)) if tensor else (0, None)))

    def _tensor_type(self, fields: Message) -> tuple[int, tuple[int | str, ...] | None]:
        shape = fields.run(2)
        sizes = shape.message(1).runs(1) if shape else None
        return fields.whole(1), None if sizes is None else tuple(self._size(each.message(1, 2)) for each in sizes)

    def _size(self, fields: Message) -> int | str:
        """A number, or a name; some exporters write a number as a name."""
        if 1 in fields.numbers:
            return fields.whole(1)
        text = fields.text(2) or "?"
        return int(text) if text.isdecimal() and len(text) < 9 else text


def _holds(known: tuple[set[str], ...], name: str) -> bool:
    return any(name in values for values in known)

"""Files that were made to do harm, or are not sound graphs: one message each, and nothing that grows without bounds."""

import os
import tracemalloc
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dinoport.api import verify
from dinoport.errors import CheckpointError, UnsafeCheckpointError
from dinoport.exports import reading, wire
from dinoport.exports.graph import Graph, Input, Node
from dinoport.exports.reading import read_export
from tests import tiny
from tests.error_text import error_text
from tests.exports import writing
from tests.exports.writing import FLOAT, constant, graph, model, number, run, runs, varint

PICTURE = Input("x", FLOAT, (1, 3, 8, 8))
WEIGHT = np.arange(6, dtype=np.float32).reshape(2, 3)


def of(*nodes: Node, outputs: tuple[str, ...] = ("y",), **constants: np.ndarray) -> bytes:
    held = {name: constant(array, name) for name, array in constants.items()}
    return model(graph(Graph(nodes, held, (PICTURE,), outputs)))


def step(operator: str, inputs: tuple[str, ...], output: str = "y", **attributes: object) -> Node:
    return Node("", operator, "", inputs, (output,), attributes)  # type: ignore[arg-type]


def holding(entry: bytes) -> bytes:
    """A graph with one tensor, given as bytes."""
    return model(run(5, entry) + runs(12, [run(1, "weight")]))


def within(depth: int) -> Graph:
    inner = Graph((), {"z": constant(WEIGHT, "z")}, (), ("z",))
    for _ in range(depth):
        inner = Graph((step("If", ("x",), "z", then_branch=inner, else_branch=inner),), {}, (PICTURE,), ("z",))
    return inner


def softmax(attribute: bytes) -> bytes:
    """A graph of one node with one attribute, given as bytes."""
    node = runs(1, ["x"]) + runs(2, ["y"]) + run(4, "Softmax") + run(5, attribute)
    return model(run(1, node) + run(11, run(1, "x")) + runs(12, [run(1, "y")]))


HUGE = b"".join(number(1, size) for size in (2**39, 2**39)) + number(2, 1) + run(8, "weight") + run(9, b"")
EMPTY = b"".join(number(1, size) for size in (0, 2**39, 2**30, 2**20)) + number(2, 1) + run(8, "weight")
LARGE_CLAIM = number(1, 2**29) + number(2, 1) + run(8, "weight") + varint(9 << 3 | 2) + varint(2**31) + b"\0" * 40
LYING = b"".join(number(1, size) for size in (1000, 1000)) + number(2, 1) + run(8, "weight") + run(9, bytes(8))
FLOATS = number(1, 1) + number(2, 7) + run(8, "weight") + varint(4 << 3 | 5) + b"\xff\xff\xff\x7f"
TEXTS = number(1, 1) + number(2, 8) + run(8, "weight") + run(6, b"text")

UNSOUND: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", "0 graphs"),
    "two graphs": (lambda: of() + run(7, b""), "2 graphs"),
    "cut off": (lambda: of(step("Relu", ("x",)))[:-20], "bytes of field"),
    "an endless number": (lambda: b"\x08" + b"\xff" * 12, "more than ten bytes"),
    "a group": (lambda: b"\x0b", "a field of kind 3"),
    "a circle": (lambda: of(step("Add", ("x", "y"), "z"), step("Relu", ("z",))), "Add reads 'y', which nothing before"),
    "a value computed twice": (lambda: of(step("Relu", ("x",)), step("Abs", ("x",))), "'y' is computed twice"),
    "an output of nothing": (lambda: of(outputs=("nowhere",)), "the output 'nowhere'"),
    "a tensor of 2^78 numbers": (lambda: holding(HUGE), "weight of shape"),
    "a shape that lies": (lambda: holding(LYING), "weight: shape (1000, 1000) in 8 bytes"),
    "floats for whole numbers": (lambda: holding(FLOATS), "weight of int64 with numbers in field 4"),
    "texts": (lambda: holding(TEXTS), "of texts or segments"),
    "an unknown type": (lambda: holding(number(2, 99) + run(8, "weight")), "weight of ONNX's type 99"),
    "a name that moves the cursor": (lambda: holding(number(2, 1) + run(8, "\x1b[2J")), "a wrong name"),
    "graphs in graphs": (lambda: model(graph(within(9))), "graphs within graphs"),
    "an empty tensor of 2^91 bytes": (lambda: holding(EMPTY), "weight of shape"),
    "an operator that moves the cursor": (lambda: of(step("\x1b[2JRelu", ("x",))), "a wrong name of an operator"),
    "a domain that moves the cursor": (
        lambda: of(replace(step("Relu", ("x",)), domain="\x1b[2J")),
        "a wrong name of a domain",
    ),
    "a tensor of 2 GB in a file of a hundred bytes": (lambda: holding(LARGE_CLAIM), "bytes of field"),
    "a graph of 2 GB in a file of ten bytes": (
        lambda: run(7, b"")[:1] + varint(2**31 - 1),
        "bytes of field",
    ),
    "an attribute without a type": (lambda: softmax(run(1, "axis") + number(3, 1)), "axis' without a type"),
    "an operator of the standard's that the file defines itself": (
        lambda: of(step("Relu", ("x",))) + run(25, run(1, "Relu") + run(10, "")),
        "a function 'Relu' in the place of the standard's operator",
    ),
    "a sparse tensor": (lambda: model(run(15, b"") + runs(12, [run(1, "x")])), "a sparse tensor"),
}


@pytest.mark.parametrize("what", UNSOUND)
def test_a_file_that_is_not_sound_is_refused_in_one_message(what: str, tmp_path: Path) -> None:
    content, found = UNSOUND[what]
    path = tmp_path / "model.onnx"
    path.write_bytes(content())
    with pytest.raises(CheckpointError, match="is not a sound ONNX file") as raised:
        read_export(path)
    assert found in str(raised.value)
    assert "try: fetch or export the file again" in str(raised.value)


def test_an_attribute_that_is_zero_may_be_left_out_by_its_writer(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(softmax(run(1, "axis") + number(20, 2)))
    export, files = read_export(path)
    with files:
        assert export.graph.nodes[0].attributes == {"axis": 0}


@pytest.mark.parametrize("location", ["../weights", "/etc/passwd", "a/../../b", "..\\weights", "c:weights", ""])
def test_a_file_outside_the_folder_is_not_opened(location: str, tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(WEIGHT.tobytes())
    path = tmp_path / "inner" / "model.onnx"
    path.parent.mkdir()
    path.write_bytes(holding(writing.external("weight", WEIGHT, location)))
    with pytest.raises(UnsafeCheckpointError, match="names a file outside its folder") as raised:
        read_export(path)
    assert "where: weight" in str(raised.value)


@pytest.mark.parametrize(("link", "to"), [("weights", "secret/weights"), ("data", "secret")], ids=["file", "folder"])
def test_nor_through_a_link(link: str, to: str, tmp_path: Path) -> None:
    """Of the file itself, or of a folder beside the graph that the name leads through."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "weights").write_bytes(WEIGHT.tobytes())
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / link).symlink_to(tmp_path / to)
    location = link if link == "weights" else f"{link}/weights"
    (inner / "model.onnx").write_bytes(holding(writing.external("weight", WEIGHT, location)))
    with pytest.raises(UnsafeCheckpointError, match="a link that leaves its folder"):
        read_export(inner / "model.onnx")


def test_a_file_beside_is_read_where_it_says(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(bytes(16) + WEIGHT.tobytes())
    path = tmp_path / "model.onnx"
    path.write_bytes(holding(writing.external("weight", WEIGHT, "weights", offset=16, length=24)))
    export, files = read_export(path)
    with files:
        assert (export.graph.constants["weight"].read() == WEIGHT).all()
        assert files.size_bytes == path.stat().st_size + 40


@pytest.mark.parametrize(("offset", "length"), [(17, 24), (2**60, 24), (16, 23)])
def test_a_place_beyond_the_file_is_refused(offset: int, length: int, tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(bytes(40))
    path = tmp_path / "model.onnx"
    path.write_bytes(holding(writing.external("weight", WEIGHT, "weights", offset=offset, length=length)))
    with pytest.raises(CheckpointError, match=r"ends too early|not a sound ONNX file"):
        read_export(path)


def test_too_many_nodes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_NODES", 5)
    path = tmp_path / "model.onnx"
    path.write_bytes(of(*(step("Relu", ("x",), f"y{place}") for place in range(6)), outputs=("y1",)))
    with pytest.raises(CheckpointError, match="is not a sound ONNX file"):
        read_export(path)


UNKNOWN = b"".join(run(1000 + place, b"") for place in range(3_000))


@pytest.mark.parametrize(
    "content",
    [
        of(step("Relu", ("x",))) + UNKNOWN,
        of(step("Relu", ("x",))) + run(8, number(2, 20) + UNKNOWN),
        model(graph(Graph((step("Relu", ("x",)),), {}, (PICTURE,), ("y",))) + UNKNOWN),
        model(graph(Graph((), {}, (PICTURE,), ("y",))) + run(1, writing.node(step("Relu", ("x",))) + UNKNOWN)),
        model(graph(Graph((), {}, (PICTURE,), ("x",))) + run(5, writing.tensor("weight", WEIGHT) + UNKNOWN)),
        model(graph(Graph((), {}, (), ("x",))) + run(11, run(1, "x") + run(2, run(1, UNKNOWN)))),
    ],
    ids=["model", "opset", "graph", "node", "tensor", "type of an input"],
)
def test_fields_that_nobody_reads_are_not_held(content: bytes, tmp_path: Path) -> None:
    assert peak_bytes(tmp_path / "model.onnx", content) < 100_000


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (model(runs(1, [b""] * 3_000)), "more than 50 values of field 1"),
        (model(runs(11, [b""] * 3_000)), "more than 50 values of field 11"),
        (runs(7, [b""] * 3_000), "more than 50 values of field 7"),
        (holding(runs(13, [b""] * 3_000)), "more than 50 values of field 13"),
        (holding(number(1, 1) * 3_000), "more than 100 numbers written one by one"),
        (holding((varint(4 << 3 | 5) + bytes(4)) * 3_000), "more than 100 numbers written one by one"),
        (model(run(1, run(5, number(8, 1) * 3_000))), "more than 100 numbers written one by one"),
    ],
    ids=["nodes", "inputs", "graphs", "places", "sizes", "floats", "attribute"],
)
def test_fields_without_end_are_refused_before_they_are_held(
    content: bytes, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "MAX_RUNS", 50)
    monkeypatch.setattr(wire, "MAX_UNPACKED", 100)
    assert peak_bytes(tmp_path / "model.onnx", content, found) < 100_000


def peak_bytes(path: Path, content: bytes, found: str = "") -> int:
    """What reading a file takes, which is refused for what is `found` in it, if anything is."""
    path.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(CheckpointError, match=found) if found else nullcontext():
        read_export(path)[1].close()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


LARGE = np.array([1 << 20, 1 << 20], np.int64)
NODES: dict[str, tuple[tuple[Node, ...], str]] = {
    "a shape without end": ((step("ConstantOfShape", ("large",)),), "a value of shape"),
    "an expansion": ((step("Expand", ("one", "large")),), "a value of shape"),
    "a repetition": ((step("Tile", ("square", "large")),), "a value of shape"),
    "a range": ((step("Range", ("zero", "many", "unit")),), "a range from"),
    "a padding": ((step("Pad", ("square", "around")),), "a value of shape"),
    "a sum of a row and a column": ((step("Add", ("row", "column")),), "a value of shape"),
    "a product of a row and a column": ((step("MatMul", ("column", "row")),), "a value of shape"),
    "a picture made larger": ((step("Resize", ("x", "", "scales"), mode="linear"),), "a value of shape"),
    "shapes that do not fit": ((step("MatMul", ("x", "large")),), "MatMul"),
    "a shape of a million numbers": ((step("Reshape", ("x", "counted")),), "1000000 whole numbers as its shape"),
    "parts without end": ((step("Split", ("x", "counted")),), "1000000 whole numbers as its split"),
    "a window as large as the picture": ((step("Conv", ("wide", "window")),), "a value of shape"),
    "products without end": (
        (step("MatMul", ("column", "short"), "z"), step("MatMul", ("short", "z"), "y")),
        "more than 1000000000 products",
    ),
    "steps without end": (
        (
            step("Expand", ("one", "sized"), "z0"),
            *(step("Erf", (f"z{place}",), f"z{place + 1}") for place in range(400)),
            step("Identity", ("z400",)),
        ),
        "more than 1000000000 products",
    ),
    "a negative axis": ((step("Gather", ("square", "large")),), "Gather"),
}
CONSTANTS = {
    "counted": np.ones(1_000_000, np.int64),
    "wide": np.ones((1, 1, 600, 600), np.float32),
    "window": np.ones((1, 1, 100, 100), np.float32),
    "short": np.ones((1, 1 << 12), np.float32),
    "sized": np.array([1 << 18], np.int64),
    "large": LARGE,
    "one": np.ones(1, np.float32),
    "square": np.ones((2, 2), np.float32),
    "zero": np.array(0, np.int64),
    "many": np.array(1 << 40, np.int64),
    "unit": np.array(1, np.int64),
    "around": np.array([0, 0, 1 << 20, 1 << 20], np.int64),
    "row": np.ones((1, 1 << 15), np.float32),
    "column": np.ones((1 << 15, 1), np.float32),
    "scales": np.array([1, 1, 1e5, 1e5], np.float32),
}


@pytest.mark.parametrize("what", NODES)
def test_a_step_that_takes_memory_without_end_is_not_computed(what: str) -> None:
    torch = pytest.importorskip("torch")
    from dinoport.exports.evaluation import BrokenGraphError, Evaluation
    from dinoport.exports.graph import Export

    nodes, found = NODES[what]
    constants = {name: constant(array, name) for name, array in CONSTANTS.items()}
    export = Export("memory", Graph(nodes, constants, (PICTURE,), ("y",)), 20, "tests")
    tracemalloc.start()
    with pytest.raises(BrokenGraphError) as raised:
        Evaluation(export, work=10**9).run({"x": torch.ones(1, 3, 8, 8, dtype=torch.float64)})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found in str(raised.value)
    assert peak < 10_000_000


@pytest.mark.parametrize("operator", ["Loop", "Scan", "SequenceAt", "StringNormalizer"])
def test_loops_and_other_operators_are_named(operator: str) -> None:
    torch = pytest.importorskip("torch")
    from dinoport.exports.evaluation import Evaluation, UnshownError
    from dinoport.exports.graph import Export

    export = Export("memory", Graph((step(operator, ("x",)),), {}, (PICTURE,), ("y",)), 20, "tests")
    with pytest.raises(UnshownError, match=f"the operator {operator} is not known"):
        Evaluation(export).run({"x": torch.ones(1)})


def test_an_operator_that_the_file_defines_itself_is_not_run(tmp_path: Path) -> None:
    """A function may be called as a known operator is; it is filed under a domain of its own."""
    torch = pytest.importorskip("torch")
    from dinoport.exports.evaluation import Evaluation, UnshownError

    relu = replace(step("Relu", ("x",)), domain="own")
    path = tmp_path / "model.onnx"
    path.write_bytes(of(relu) + run(25, run(1, "Relu") + run(10, "own")))
    export, files = read_export(path)
    with files, pytest.raises(UnshownError, match="the operator own::Relu is not known"):
        Evaluation(export).run({"x": torch.ones(1)})


def test_an_archive_of_torch_export_is_refused_by_name(tmp_path: Path) -> None:
    source = tiny.write(tmp_path / "original.pth")
    archive = tmp_path / "model.pt2"
    archive.write_bytes(b"PK\3\4")
    with pytest.raises(UnsafeCheckpointError, match=r"is an archive of torch\.export, which is not read") as raised:
        verify(source, archive, tiny.REQUEST, level="exact")
    assert "runs code that the file holds" in str(raised.value)
    assert "ONNX" in str(raised.value)


def test_a_graph_that_takes_no_picture_is_not_shown(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    source = tiny.write(tmp_path / "original.pth")
    held = {"weight": constant(WEIGHT, "weight")}
    for place, sizes in enumerate([(1, 7), (1, 5, 8, 8), (1, 3, 1 << 20, 8), (1 << 40, 3, 8, 8)]):
        path = tmp_path / f"{place}.onnx"
        path.write_bytes(model(graph(Graph((step("Relu", ("x",)),), held, (Input("x", FLOAT, sizes),), ("y",)))))
        report = verify(source, path, tiny.REQUEST)
        assert report.proofs.outputs is not None
        assert str(report.proofs.outputs.unknown).startswith("it takes")


@pytest.mark.parametrize("kind", ["folder", "pipe", "nothing"])
def test_what_is_no_file_beside_a_graph_is_not_read(kind: str, tmp_path: Path) -> None:
    if kind == "folder":
        (tmp_path / "weights").mkdir()
    elif kind == "pipe":
        os.mkfifo(tmp_path / "weights")
    path = tmp_path / "model.onnx"
    path.write_bytes(holding(writing.external("weight", WEIGHT, "weights")))
    assert "weights" in error_text(CheckpointError, lambda: read_export(path))


def test_a_graph_that_is_far_larger_than_the_original_is_not_read(tmp_path: Path) -> None:
    """Two hundred tensors of 32 MB in one file beside it, which takes no room on the disk."""
    with (tmp_path / "weights").open("wb") as file:
        file.truncate(1 << 25)
    claimed = np.broadcast_to(np.float32(0), (1 << 12, 1 << 11))
    entries = b"".join(run(5, writing.external(f"weight{place}", claimed, "weights")) for place in range(200))
    path = tmp_path / "model.onnx"
    path.write_bytes(model(entries + runs(12, [run(1, "weight0")])))
    source = tiny.write(tmp_path / "original.pth")
    with pytest.raises(CheckpointError, match="it is far larger") as raised:
        verify(source, path, tiny.REQUEST, level="exact")
    assert "found: 1677721600 numbers" in str(raised.value)


def test_control_flow_is_named_or_computed_and_never_without_end() -> None:
    torch = pytest.importorskip("torch")
    from dinoport.exports.evaluation import BrokenGraphError, Evaluation, UnshownError
    from dinoport.exports.graph import Export

    held = {"flag": constant(np.array(True), "flag"), "many": constant(np.array(1 << 40, np.int64), "many")}
    body = Graph((step("Identity", ("x",), "z"),), {}, (), ("z",))
    graphs = {
        "Loop": (step("Loop", ("many", "flag", "x"), body=body), UnshownError, "the operator Loop is not known"),
        "If": (step("If", ("flag",)), BrokenGraphError, "without branches"),
        "an unknown domain": (replace(step("Relu", ("x",)), domain="com.example"), UnshownError, "com.example::Relu"),
    }
    for node, error, words in graphs.values():
        export = Export("memory", Graph((node,), held, (PICTURE,), ("y",)), 20, "tests")
        with pytest.raises(error, match=words):
            Evaluation(export).run({"x": torch.ones(1)})

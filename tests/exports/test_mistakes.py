"""Graphs with a mistake in them: every one is rejected, and named."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dinoport.api import verify
from dinoport.exports.graph import Export, Graph, Node
from dinoport.exports.reading import read_export
from dinoport.exports.tensors import DTYPES
from dinoport.proofs.verdict import GATE, WHERE_USED, Word
from dinoport.report.report import Report
from dinoport.tensor import Array
from tests.exports.cases import CASES, RECORDED
from tests.exports.test_recorded import case_of
from tests.exports.writing import constant, write

pytest.importorskip("torch")
pytest.importorskip("transformers")

Change = Callable[[Export], Export]


def changed(name: str, change: Change, folder: Path, level: str = "full", **asked: Any) -> Report:
    """What is said of a recorded graph with a change in it."""
    export, files = read_export(RECORDED / f"{name}.onnx")
    with files:
        path = write(folder / "changed.onnx", change(export))
    case = CASES[case_of(name)]
    return verify(case.write(folder), path, replace(case.request, **asked), level=level)


def with_graph(export: Export, **parts: Any) -> Export:
    return replace(export, graph=replace(export.graph, **parts))


def with_nodes(change: Callable[[Node], Node]) -> Change:
    return lambda export: with_graph(export, nodes=tuple(map(change, export.graph.nodes)))


def having(operator: str, **attributes: Any) -> Change:
    """Other attributes of every node of an operator."""
    return with_nodes(
        lambda node: replace(node, attributes={**node.attributes, **attributes}) if node.operator == operator else node
    )


def with_values(change: Callable[[dict[str, Array]], Mapping[str, Array]]) -> Change:
    def mistaken(export: Export) -> Export:
        arrays = {name: tensor.read().copy() for name, tensor in export.graph.constants.items()}
        return with_graph(export, constants={name: constant(array, name) for name, array in change(arrays).items()})

    return mistaken


def query(arrays: Mapping[str, Array]) -> str:
    """The first square matrix: of the queries in the first block, transposed."""
    return next(name for name, array in arrays.items() if array.shape == (16, 16) and "pooler" not in name)


def one_row_larger(arrays: dict[str, Array]) -> dict[str, Array]:
    arrays[query(arrays)][:, 3] *= np.float32(1.001)
    return arrays


def two_rows_swapped(arrays: dict[str, Array]) -> dict[str, Array]:
    weights = arrays[query(arrays)]
    weights[:, [2, 5]] = weights[:, [5, 2]]
    return arrays


def one_bit_flipped(arrays: dict[str, Array]) -> dict[str, Array]:
    arrays[query(arrays)].view(np.uint32)[4, 4] ^= 1
    return arrays


def all_larger(arrays: dict[str, Array]) -> dict[str, Array]:
    arrays[query(arrays)] *= np.float32(1.001)
    return arrays


def of_rounded_weights(arrays: dict[str, Array]) -> dict[str, Array]:
    return {n: a.astype(np.float16).astype(a.dtype) if a.dtype == np.float32 else a for n, a in arrays.items()}


EPS = "eps: the graph computes with 1e-12, the original with 1e-06"

OF_OUTPUTS: dict[str, tuple[str, Change, str]] = {
    "eps": ("vit-dynamo23", having("LayerNormalization", epsilon=1e-12), EPS),
    "eps of DINOv3": (
        "dinov3-dynamo18",
        having("LayerNormalization", epsilon=1e-5),
        "eps: the graph computes with 1e-05, the original with 1e-06",
    ),
    "gelu": (
        "dinov2-dynamo20",
        having("Gelu", approximate="tanh"),
        "the activation: the graph computes gelu approximated by tanh, the original exact gelu",
    ),
}


@pytest.mark.parametrize("mistake", OF_OUTPUTS)
def test_what_no_tensor_shows_is_seen_in_the_outputs_and_named(mistake: str, tmp_path: Path) -> None:
    name, change, cause = OF_OUTPUTS[mistake]
    report = changed(name, change, tmp_path)
    assert report.verdict.word is Word.NOT_EQUAL
    assert report.proofs.exact is not None
    assert report.proofs.exact.passed
    assert report.proofs.diagnosis is not None
    assert report.proofs.diagnosis.cause == cause
    assert report.proofs.diagnosis.remaining is not None
    assert report.proofs.diagnosis.remaining < 1e-13


def test_an_eps_that_is_written_out_is_seen_too(tmp_path: Path) -> None:
    """Before opset 17 a norm is a dozen nodes, and its eps a number like any other."""
    small = np.float32(1e-6)

    def with_eps(node: Node) -> Node:
        value = node.attributes.get("value")
        if node.operator != "Constant" or value is None or value.read().reshape(-1)[:1] != small:  # type: ignore[union-attr]
            return node
        return replace(node, attributes={"value": constant(np.float32(1e-12))})

    report = changed("vit-torchscript14", with_nodes(with_eps), tmp_path)
    assert report.proofs.diagnosis is not None
    assert report.proofs.diagnosis.cause == EPS


def test_another_number_of_heads_is_named(tmp_path: Path) -> None:
    report = changed("vit-dynamo18", lambda export: export, tmp_path, num_heads=4)
    assert report.verdict.word is Word.NOT_EQUAL
    assert report.proofs.diagnosis is not None
    assert report.proofs.diagnosis.cause == "the number of heads: the graph computes with 2, the original with 4"


def test_a_table_that_was_resampled_by_another_rule_is_named(tmp_path: Path) -> None:
    """Transformers resamples to the exact size, DINOv2's own code by a factor that is a little larger."""
    report = changed("dinov2-dynamo20-other-size", lambda export: export, tmp_path)
    assert report.verdict.failures == ("the position table is not the original's for this size",)
    assert report.proofs.diagnosis is not None
    assert str(report.proofs.diagnosis.cause).startswith("the position table was resampled bicubic, to the exact size")
    right = changed("dinov2-dynamo20-other-size", lambda export: export, tmp_path, interpolation="size")
    assert right.verdict.word is Word.EQUAL
    assert right.proofs.outputs is not None
    assert right.proofs.outputs.table is not None
    assert 1e-8 < right.proofs.outputs.table < 1e-5


OF_TENSORS: dict[str, tuple[Callable[[dict[str, Array]], Mapping[str, Array]], str]] = {
    "one row of the queries larger": (one_row_larger, "but for row 3, 1.001 times as large"),
    "two rows swapped": (two_rows_swapped, "but for 2 of 16 rows, which are in another order"),
    "one bit": (one_bit_flipped, "but for row"),
    "all of the queries larger": (all_larger, "is 1.001 times"),
}


@pytest.mark.parametrize("mistake", OF_TENSORS)
def test_a_matrix_that_is_no_weight_of_the_original_is_named(mistake: str, tmp_path: Path) -> None:
    change, words = OF_TENSORS[mistake]
    report = changed("vit-dynamo23", with_values(change), tmp_path)
    assert report.verdict.word is Word.NOT_EQUAL
    assert report.proofs.exact is not None
    [problem] = report.proofs.exact.problems
    assert words in problem
    assert "layer.0.attention" in problem or "blocks.0.attn.qkv.weight" in problem


def test_weights_that_were_rounded_in_float32_are_not_the_originals(tmp_path: Path) -> None:
    report = changed("vit-dynamo23", with_values(of_rounded_weights), tmp_path)
    assert report.verdict.word is Word.NOT_EQUAL
    assert report.proofs.exact is not None
    assert len(report.proofs.exact.problems) > 5


def test_a_file_in_float16_is_the_rounded_original_exactly(tmp_path: Path) -> None:
    report = changed("vit-dynamo20-float16", lambda export: export, tmp_path)
    assert report.verdict.word is Word.EQUAL_EXCEPT
    assert [words for words in report.verdict.exceptions if words.startswith("for rounding")]
    assert report.proofs.outputs is not None
    assert report.proofs.outputs.worst < 1e-13
    assert report.proofs.outputs.rounding is not None
    assert 1e-5 < report.proofs.outputs.rounding.relative < 1e-2


def test_a_quantized_file_is_measured_and_never_equal(tmp_path: Path) -> None:
    report = changed("vit-dynamo20-int8", lambda export: export, tmp_path)
    assert report.verdict.word is Word.NOT_EQUAL
    words = "weights are quantized to whole numbers (DynamicQuantizeLinear, ConvInteger, MatMulInteger)"
    assert words in report.verdict.failures
    assert report.proofs.outputs is not None
    assert 100 * GATE < report.proofs.outputs.worst < 0.1


def test_an_operator_that_is_not_known_is_named_and_nothing_is_said_of_outputs(tmp_path: Path) -> None:
    def custom(node: Node) -> Node:
        return replace(node, operator="FastGelu", domain="com.example") if node.operator == "Gelu" else node

    report = changed("vit-dynamo23", with_nodes(custom), tmp_path)
    assert report.verdict.word is Word.TRANSPORTED
    assert report.verdict.shown == "(outputs not shown: the operator com.example::FastGelu is not known)"
    assert "outputs" in report.verdict.not_shown


def swapped(arrays: dict[str, Array]) -> dict[str, Array]:
    """Two weights of one shape, each in the other's place."""
    shape = arrays[query(arrays)].shape
    first, second = [name for name, array in arrays.items() if array.shape == shape][:2]
    return {**arrays, first: arrays[second], second: arrays[first]}


@pytest.mark.parametrize("level", ["exact", "full"])
def test_two_weights_in_each_others_place_are_found_and_that_is_not_called_all(level: str, tmp_path: Path) -> None:
    report = changed("vit-dynamo23", with_values(swapped), tmp_path, level=level)
    assert report.proofs.exact is not None
    assert report.proofs.exact.passed
    if level == "full":
        assert report.verdict.word is Word.NOT_EQUAL
    else:
        assert report.verdict.not_shown[1:3] == ("outputs", WHERE_USED)


def test_a_number_is_read_as_it_was_meant_and_the_figure_without_that_stands_beside(tmp_path: Path) -> None:
    report = changed("vit-dynamo20-any", lambda export: export, tmp_path, interpolation="size")
    exported = report.proofs.exported
    assert exported is not None
    assert {meant for _, meant in exported.healed.values()} >= {1e-6}
    assert exported.unhealed is not None
    assert GATE < exported.unhealed.relative < 1e-6


def test_a_graph_of_another_model_is_not_equal(tmp_path: Path) -> None:
    source = CASES["dinov2-registers"].write(tmp_path)
    report = verify(source, RECORDED / "dinov2-dynamo20.onnx", CASES["dinov2-registers"].request)
    assert report.verdict.word is Word.NOT_EQUAL


def test_a_graph_keeps_nothing_of_one(tmp_path: Path) -> None:
    """A graph without nodes gives what its file holds, whatever the picture."""

    def fixed(export: Export) -> Export:
        tokens = np.ones((1, 17, 16), np.float32)
        graph = Graph((), {"y": constant(tokens, "y")}, export.graph.inputs, ("y",))
        return replace(export, graph=graph)

    report = changed("vit-dynamo23", fixed, tmp_path)
    assert report.verdict.word is Word.NOT_EQUAL


VECTORS = ("vit-dynamo23", "dinov2-dynamo20", "dinov3-dynamo18", "dinov3-convnext-dynamo20", "vit-torchscript17")


@pytest.mark.parametrize("name", VECTORS)
def test_a_vector_that_is_no_weight_of_the_original_is_named(name: str, tmp_path: Path) -> None:
    """Each bias, norm's weight, scale and token in turn, one value of it by one bit: outputs move by 1e-9 or less."""
    export, files = read_export(RECORDED / f"{name}.onnx")
    case = CASES[case_of(name)]
    source = case.write(tmp_path)
    with files:
        shapes = {each: tensor.shape for each, tensor in export.graph.constants.items() if tensor.dtype == np.float32}
        vectors = [each for each, shape in shapes.items() if 1 < max(shape, default=0) == np.prod(shape)]
        tables = verify(source, RECORDED / f"{name}.onnx", case.request, level="exact").proofs.exported.tables  # type: ignore[union-attr]
        vectors = [each for each in vectors if each not in tables]
        assert len(vectors) > 8
        for vector in vectors[:: len(vectors) // 6]:

            def one_bit(arrays: dict[str, Array], vector: str = vector) -> dict[str, Array]:
                arrays[vector].reshape(-1).view(np.uint32)[1] ^= 1
                return arrays

            path = write(tmp_path / "changed.onnx", with_values(one_bit)(export))
            report = verify(source, path, case.request, level="exact")
            assert report.verdict.word is Word.NOT_EQUAL, vector
            assert report.proofs.exact is not None
            [problem] = report.proofs.exact.problems
            assert problem.startswith(f"{vector} "), vector
            assert "but for value 1" in problem, problem


def with_patches_alone(first: int) -> Change:
    """The tokens from `first` on as the only output."""

    def change(export: Export) -> Export:
        numbers = {"from": [first], "to": [2**31], "along": [1]}
        held = {name: constant(np.array(values, np.int64), name) for name, values in numbers.items()}
        cut = Node("cut", "Slice", "", (export.graph.outputs[0], *numbers), ("patches",))
        nodes, constants = (*export.graph.nodes, cut), {**export.graph.constants, **held}
        return with_graph(export, nodes=nodes, constants=constants, outputs=("patches",))

    return change


@pytest.mark.parametrize(
    ("name", "first", "output"), [("vit-dynamo23", 1, "patches"), ("dinov3-dynamo18", 3, "patches")]
)
def test_patches_alone_are_compared(name: str, first: int, output: str, tmp_path: Path) -> None:
    report = changed(name, with_patches_alone(first), tmp_path)
    assert report.verdict.word is Word.EQUAL, report.verdict
    assert report.proofs.outputs is not None
    assert set(report.proofs.outputs.float64) == {output}
    assert report.proofs.outputs.worst < 1e-13
    (tmp_path / "other").mkdir()
    wrong = changed(
        name,
        lambda export: with_patches_alone(first)(having("LayerNormalization", epsilon=1e-12)(export)),
        tmp_path / "other",
    )
    assert wrong.verdict.word is Word.NOT_EQUAL
    assert wrong.proofs.diagnosis is not None
    assert str(wrong.proofs.diagnosis.cause).startswith("eps: the graph computes with 1e-12")


def test_patches_as_a_map_and_with_the_cls_token_alone_are_compared() -> None:
    torch = pytest.importorskip("torch")
    from dinoport.networks.observing import CLS_AND_PATCHES, PATCHES
    from dinoport.proofs.difference import compare

    tokens = torch.arange(2 * 9 * 4, dtype=torch.float64).reshape(2, 9, 4)  # CLS, two registers, 2×3 patches
    parts = {
        PATCHES: tokens[:, 3:],
        CLS_AND_PATCHES: torch.cat([tokens[:, :1], tokens[:, 3:]], 1),
        "feature_map": tokens[:, 3:].transpose(1, 2).reshape(2, 4, 2, 3),
    }
    assert {found.absolute for found in compare({"tokens": tokens}, parts).values()} == {0.0}
    moved = {name: part + 1 for name, part in parts.items()}
    assert {found.absolute for found in compare({"tokens": tokens}, moved).values()} == {1.0}


def some_in_float16(export: Export) -> Export:
    """Matrices in float16, each widened by a node before it is read; all else as it is."""
    constants, nodes = dict(export.graph.constants), []
    for name, tensor in export.graph.constants.items():
        if tensor.is_float and len(tensor.shape) == 2:
            del constants[name]
            constants[f"{name}.16"] = constant(tensor.read().astype(np.float16), f"{name}.16")
            nodes.append(Node(f"widen {name}", "Cast", "", (f"{name}.16",), (name,), {"to": 1}))
    assert len(nodes) > 8
    return with_graph(export, nodes=(*nodes, *export.graph.nodes), constants=constants)


@pytest.mark.parametrize("name", ["vit-dynamo23", "dinov2-dynamo20", "dinov2-swiglu-torchscript17"])
def test_weights_of_which_some_are_rounded_are_the_original_with_these_rounded(name: str, tmp_path: Path) -> None:
    report = changed(name, some_in_float16, tmp_path)
    assert report.verdict.word is Word.EQUAL_EXCEPT, report.verdict
    assert report.proofs.outputs is not None
    assert report.proofs.outputs.worst < 1e-13
    assert report.proofs.outputs.rounding is not None
    assert 1e-5 < report.proofs.outputs.rounding.relative < 1e-2


def given(count: int | str) -> Change:
    """A graph that says to take so many pictures."""

    def change(export: Export) -> Export:
        picture = export.graph.inputs[0]
        return with_graph(export, inputs=(replace(picture, sizes=(count, *(picture.sizes or ())[1:])),))

    return change


def mixing(export: Export) -> Export:
    """To each picture's tokens is added what they are apart from the mean of all pictures."""
    axis = constant(np.array([0], np.int64), "pictures")
    (tokens, *_), nodes = export.graph.outputs, export.graph.nodes
    mean = Node("mean", "ReduceMean", "", (tokens, "pictures"), ("mean",))
    apart = Node("apart", "Sub", "", (tokens, "mean"), ("apart",))
    both = Node("both", "Add", "", (tokens, "apart"), ("both",))
    constants = {**export.graph.constants, "pictures": axis}
    return with_graph(export, nodes=(*nodes, mean, apart, both), constants=constants, outputs=("both",))


@pytest.mark.parametrize("count", ["n", 2, 3])
def test_pictures_that_are_mixed_are_seen(count: int | str, tmp_path: Path) -> None:
    right = changed("dinov3-dynamo20-any", given(count), tmp_path)
    assert right.verdict.word is Word.EQUAL, right.verdict
    wrong = changed("dinov3-dynamo20-any", lambda export: given(count)(mixing(export)), tmp_path)
    assert wrong.verdict.word is Word.NOT_EQUAL, wrong.verdict


def test_a_graph_that_takes_one_picture_and_claims_any_number_is_compared_with_one(tmp_path: Path) -> None:
    report = changed("vit-torchscript17", given("n"), tmp_path)
    assert report.verdict.word is Word.EQUAL_EXCEPT, report.verdict
    assert "for more than one picture at once, which the file claims to take" in report.verdict.exceptions[0]
    assert report.proofs.exported is not None
    assert report.proofs.exported.alone is not None
    one = changed("vit-torchscript17", given(1), tmp_path)
    assert one.verdict.word is Word.EQUAL, one.verdict


def by_way_of(code: int, place: int, like: str = "") -> Change:
    """An input of every product of matrices, 0 or 1, cast to a type of ONNX's and back to float32.

    By CastLike it is that of a constant, or of a sum of constants.
    """

    def mistaken(export: Export) -> Export:
        small = constant(np.array([1], DTYPES[code]), "constant")
        nodes = [Node("sum", "Add", "", ("constant", "constant"), ("sum",))] if like == "sum" else []
        for node in export.graph.nodes:
            if node.operator == "MatMul":
                down, up = f"down {node.name}", f"up {node.name}"
                cast = Node(down, "Cast", "", (node.inputs[place],), (down,), {"to": code})
                if like:
                    cast = replace(cast, operator="CastLike", inputs=(*cast.inputs, like), attributes={})
                nodes.append(cast)
                nodes.append(Node(up, "Cast", "", (down,), (up,), {"to": 1}))
                inputs = [*node.inputs]
                inputs[place] = up
                node = replace(node, inputs=tuple(inputs))
            nodes.append(node)
        constants = {**export.graph.constants, **({"constant": small} if like else {})}
        return with_graph(export, nodes=tuple(nodes), constants=constants)

    return mistaken


@pytest.mark.parametrize("like", ["", "constant"])
@pytest.mark.parametrize(("code", "place"), [(10, 0), (16, 1)])
def test_numbers_that_are_rounded_on_the_way_are_not_the_originals(
    code: int, place: int, like: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As automatic mixed precision does: each weight in the file is whole, and no runtime has to be there to tell."""
    monkeypatch.setattr("dinoport.proofs.exported.prove.runtime_of", lambda *given: None)
    report = changed("vit-dynamo23", by_way_of(code, place, like), tmp_path)
    assert report.verdict.word is Word.NOT_EQUAL, report.verdict
    assert report.proofs.exact is not None
    assert report.proofs.exact.passed
    wide = changed("vit-dynamo23", by_way_of(11, place, like), tmp_path)
    assert wide.verdict.word is Word.EQUAL, wide.verdict


@pytest.mark.parametrize(("code", "word"), [(10, Word.TRANSPORTED), (16, Word.TRANSPORTED), (1, Word.EQUAL)])
def test_a_cast_to_a_type_that_may_round_and_is_not_said_is_not_known(
    code: int, word: Word, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sum of constants has their type, which is not followed; where nothing in the file has 16 bits, it is wide."""
    monkeypatch.setattr("dinoport.proofs.exported.prove.runtime_of", lambda *given: None)
    assert changed("vit-dynamo23", by_way_of(code, 0, "sum"), tmp_path).verdict.word is word

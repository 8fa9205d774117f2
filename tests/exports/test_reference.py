"""Every operator against ONNX's own reference evaluator, in each version of it, over its attributes and edges.

Skipped where onnx is missing. What is not known here may be refused as such; what is computed must be the standard's.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dinoport.exports.evaluation import OPSETS, Evaluation, Healing, known_operators
from dinoport.exports.reading import read_export

pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
reference = pytest.importorskip("onnx.reference")

RNG = np.random.default_rng(3)
Case = tuple[str, tuple[Any, ...], dict[str, Any]]

ROUNDING = 5e-6
"""The reference evaluator keeps attributes, and computes some operators, in float32."""

NOT_OF_REFERENCE = {("BatchNormalization", 13), ("DequantizeLinear", 18)}
"""It takes the first for a training step, and lacks the second."""


def noise(*shape: int) -> Any:
    return RNG.standard_normal(shape)


def whole(*shape: int, dtype: str = "int64") -> Any:
    return RNG.integers(-9, 9, shape).astype(dtype)


def bits(*shape: int) -> Any:
    return RNG.random(shape) > 0.5


def ints(*values: int) -> Any:
    return np.array(values, np.int64)


def floats(*values: float) -> Any:
    return np.array(values)


def narrow(array: Any) -> Any:
    return np.asarray(array, np.float32)


PICTURE, MATRIX, VOLUME = noise(2, 3, 6, 5), noise(5, 6), noise(2, 4, 5)
EDGES = floats(-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3e9, -np.inf, np.inf, np.nan)
SINGLE = "Abs Neg Sign Floor Ceil Round Sqrt Reciprocal Exp Log Sin Cos Erf Tanh Sigmoid Relu Softplus HardSwish Mish"
ACTIVATIONS = ("HardSigmoid", {"alpha": 0.3, "beta": 0.4}), ("LeakyRelu", {"alpha": 0.3}), ("Swish", {"alpha": 1.702})
PAIRS = "Add Sub Mul Div Min Max Equal Less LessOrEqual Greater GreaterOrEqual"
REDUCTIONS = "ReduceMean ReduceSum ReduceMax ReduceMin ReduceProd ReduceSumSquare ReduceL2"
SLICES = (
    (ints(1), ints(4)), (ints(-3), ints(2**62)), (ints(0, 1), ints(3, -1)), (ints(-1), ints(-99), ints(1), ints(-1)),
    (ints(4), ints(0), ints(-1), ints(-2)), (ints(3), ints(1)), (ints(3, -1), ints(-9, 0), ints(0, 1), ints(-1, -2)),
    (ints(100), ints(-100), ints(0), ints(-1)), (ints(1), ints(4), None, ints(2)),
)  # fmt: skip
PADS = (
    (PICTURE, ints(0, 0, 1, 2, 0, 0, 2, 1)), (PICTURE, ints(0, 1, 0, 0, 0, 1, 0, 0)), (MATRIX, ints(1, 0, 1, 2)),
    (MATRIX[0], ints(2, 1)), (VOLUME, ints(0, 1, 0, 0, 2, 0)), (VOLUME, ints(0, 1, 2, 0, 2, 1)),
    (PICTURE, ints(1, 2), None, ints(-1)),
)  # fmt: skip


def elementwise() -> Iterator[Case]:
    for operator in SINGLE.split():
        yield from ((operator, (values,), {}) for values in (MATRIX, noise(), EDGES[operator == "Sign" : -1]))
    yield from (("Gelu", (MATRIX,), {"approximate": name}) for name in ("none", "tanh"))
    yield from ((operator, (MATRIX,), attributes) for operator, given in ACTIVATIONS for attributes in ({}, given))
    for operator in PAIRS.split():
        yield operator, (VOLUME, noise(4, 1)), {}
        yield operator, (noise(2, 1), noise()), {}
        yield operator, (whole(4, 3), ints(3, -4, 7)), {}
    yield "Div", (ints(7, -7, 7, -7), ints(2, 2, -2, -2)), {}
    yield from (
        ("Pow", given, {}) for given in ((abs(MATRIX), noise(6)), (whole(4), ints(2)), (ints(2, 3), np.array(0.5)))
    )
    yield from (("Mod", (ints(7, -7, 7, -7), ints(3, 3, -3, -3)), {"fmod": fmod}) for fmod in (0, 1))
    yield "Mod", (floats(7.5, -7.5), floats(3, -3)), {"fmod": 1}
    yield from ((operator, (noise(2, 3), noise(3), noise(2, 1)), {}) for operator in ("Sum", "Min", "Max"))
    for bounds in ((), (floats(0.1)[0],), (None, floats(0.1)[0]), (floats(-0.1)[0], floats(0.1)[0])):
        yield "Clip", (MATRIX, *bounds), {}
    yield "Clip", (MATRIX, floats(0.5)[0], floats(-0.5)[0]), {}
    yield from ((operator, (bits(2, 3), bits(3)), {}) for operator in ("And", "Or", "Xor"))
    yield from ((operator, (EDGES,), {}) for operator in ("IsNaN", "IsInf"))
    yield from (("IsInf", (EDGES,), {f"detect_{side}": 0}) for side in ("negative", "positive"))
    yield from (("Not", (bits(3),), {}), ("Where", (bits(2, 1), noise(3), noise(2, 3)), {}))
    yield from (("Cast", (floats(-2.7, -0.5, 0, 0.5, 2.7),), {"to": code}) for code in (1, 6, 7, 9, 10, 11))
    yield from (("Cast", (whole(5),), {"to": 11}), ("Cast", (ints(300, -1, 5),), {"to": 2}))
    yield from (("CastLike", (floats(1.7, -1.7), ints(1)), {}), ("CastLike", (bits(4), noise(1)), {}))


def reduced() -> Iterator[Case]:
    for operator in REDUCTIONS.split():
        for keep in (0, 1):
            yield from ((operator, (values,), {"keepdims": keep}) for values in (PICTURE, noise()))
            for axes in ((1,), (-1,), (2, 3), (0, -1), (-1, 1)):
                yield operator, (PICTURE, ints(*axes)), {"keepdims": keep}
                yield operator, (PICTURE,), {"keepdims": keep, "axes": axes}
        yield from ((operator, (PICTURE, ints()), {"noop_with_empty_axes": noop}) for noop in (0, 1))
        yield operator, (PICTURE,), {"noop_with_empty_axes": 1}
        yield operator, (whole(3, 4), ints(1)), {}
    for operator in ("Softmax", "LogSoftmax"):
        yield from ((operator, (PICTURE,), attributes) for attributes in ({}, {"axis": 0}, {"axis": -2}, {"axis": 1}))
    for values, axis in ((MATRIX, 0), (MATRIX, -1), (whole(3, dtype="int32"), 0)):
        yield "CumSum", (values, np.array(axis)), {}


def shaped() -> Iterator[Case]:
    for part in ({}, {"start": 1}, {"end": -1}, {"start": -2}, {"start": -9, "end": 9}, {"start": 2, "end": 1}):
        yield "Shape", (PICTURE,), part
    yield from ((operator, (PICTURE,), {}) for operator in ("Size", "Identity", "Dropout", "Transpose", "Flatten"))
    yield "Transpose", (PICTURE,), {"perm": (0, 2, 3, 1)}
    yield from (("Reshape", (VOLUME, ints(*shape)), {}) for shape in ((0, -1), (-1,), (5, 4, 2), (0, 0, -1)))
    yield "Reshape", (noise(2, 0, 4), ints(4, 0, 2)), {"allowzero": 1}
    yield from (("Flatten", (PICTURE,), {"axis": axis}) for axis in (0, 2, 4, -1))
    yield from (("Unsqueeze", (noise(2, 3), ints(*axes)), {}) for axes in ((0, 3), (-1, 0), (3, 0), (-2, -4)))
    yield from (("Squeeze", (noise(1, 2, 1), *axes), {}) for axes in ((), (ints(0),), (ints(-1, 0),)))
    yield from (("Expand", (noise(3, 1), ints(*shape)), {}) for shape in ((2, 1, 4), (1, 1), (3, 4)))
    yield from (("Tile", (noise(2, 3), ints(*times)), {}) for times in ((2, 1), (1, 0), (2, 3)))
    yield from (("Concat", (noise(2, 2), noise(2, 2)), {"axis": axis}) for axis in (0, 1, -1))
    yield from (("Split", (noise(6, 4),), {"axis": axis, "outputs": 2}) for axis in (0, 1, -1))
    yield "Split", (noise(6, 4), ints(1, 3)), {"axis": -1, "outputs": 2}
    yield "Split", (noise(7),), {"num_outputs": 3, "outputs": 3}
    yield from (("Slice", (MATRIX, *given), {}) for given in SLICES)
    for axis in (0, 1, -1):
        places = (ints(0, -1, 2), np.array(-1), np.array([[0, 1], [1, -2]]), ints(), np.array([0, 1], np.int32))
        yield from (
            ("Gather", (VOLUME[:, :3], each), {"axis": axis}) for each in places if axis or each is not places[0]
        )
    yield from (("GatherElements", (noise(3, 3), np.array([[0, -1, 2], [1, 1, 0]])), {"axis": 0}),)
    for where, updates in (
        ([[1], [-1]], noise(2, 6)),
        ([[1, 2], [3, 0]], noise(2)),
        ([[[1, 2]], [[3, 0]]], noise(2, 1)),
    ):
        yield "ScatterND", (MATRIX, np.array(where), updates), {}
    for limits in ((1, 7, 3), (7, 1, -2), (0, 0, 1), (5, 1, 1), (1.0, 2.0, 0.3)):
        yield "Range", tuple(map(np.array, limits)), {}
    yield from (("ConstantOfShape", (ints(*shape),), {}) for shape in ((2, 3), (), (0, 3)))
    yield "ConstantOfShape", (ints(2),), {"value": onnx.helper.make_tensor("v", 7, [1], [5])}
    yield from (("Pad", given, {"mode": mode}) for mode in ("constant", "reflect", "edge", "wrap") for given in PADS)
    yield from (
        ("Pad", (whole(4), ints(1, 1), np.array(7)), {}),
        ("Pad", (PICTURE, ints(*[0, 1] * 4), np.array(1.5)), {}),
    )
    for upper in (0, 1):
        yield from (("Trilu", (VOLUME, np.array(k)), {"upper": upper}) for k in (0, 1, -1, 9, -9))


def layers() -> Iterator[Case]:
    for first, second in (
        ((2, 3), (3, 4)),
        ((5, 2, 3), (3, 4)),
        ((3,), (3, 4)),
        ((3,), (3,)),
        ((2, 1, 4, 3), (5, 3, 2)),
    ):
        yield "MatMul", (noise(*first), noise(*second)), {}
    for turned in ({}, {"transA": 1}, {"transB": 1}, {"transA": 1, "transB": 1, "alpha": 0.5, "beta": 0.25}):
        first = noise(3, 2) if "transA" in turned else noise(2, 3)
        yield "Gemm", (first, noise(4, 3) if "transB" in turned else noise(3, 4), noise(2, 1)), turned
    weight = noise(4, 3, 3, 2)
    for window in ({}, {"pads": (1, 0, 2, 1), "strides": (2, 1)}, {"dilations": (2, 3)}, {"auto_pad": "VALID"}):
        yield "Conv", (PICTURE, weight, noise(4)), window
    yield "Conv", (PICTURE, noise(6, 1, 3, 3)), {"group": 3, "pads": (1, 1, 1, 1), "strides": (2, 2)}
    for axis in (-1, 1, 2, -2):
        own = PICTURE.shape[axis:]
        yield "LayerNormalization", (PICTURE, noise(*own), noise(*own)), {"axis": axis, "epsilon": 1e-3}
        yield "RMSNormalization", (PICTURE, noise(*own)), {"axis": axis, "epsilon": 1e-3}
    yield "LayerNormalization", (PICTURE, noise(5)), {"epsilon": 0.0}
    yield "LayerNormalization", (narrow(PICTURE), narrow(noise(5)), narrow(noise(5))), {"stash_type": 1}
    yield "BatchNormalization", (PICTURE, *noise(3, 3), noise(3) ** 2), {"epsilon": 0.1}
    for window in (
        {},
        {"strides": (2, 2), "pads": (1, 1, 1, 1)},
        {"strides": (3, 3), "ceil_mode": 1},
        {"pads": (1, 0, 0, 1)},
    ):
        yield "MaxPool", (PICTURE,), {"kernel_shape": (3, 2), **window}
    for window in ({}, {"strides": (2, 2)}, {"pads": (1, 1, 1, 1), "count_include_pad": 1}):
        yield "AveragePool", (PICTURE,), {"kernel_shape": (2, 2), **window}
    yield "GlobalAveragePool", (PICTURE,), {}
    queries, keys, values = noise(2, 3, 4, 8), noise(2, 3, 5, 8), noise(2, 3, 5, 6)
    for mask in (None, noise(4, 5), noise(2, 1, 4, 5), np.eye(4, 5) < 1):
        yield "Attention", (queries, keys, values, mask), {}
    joined = {"q_num_heads": 3, "kv_num_heads": 3, "scale": 0.5}
    yield "Attention", (noise(2, 4, 24), noise(2, 5, 24), noise(2, 5, 18)), joined


def resized() -> Iterator[Case]:
    picture = narrow(MATRIX[:4, :5])
    for mode in ("linear", "cubic"):
        for rule in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"):
            attributes = {"mode": mode, "coordinate_transformation_mode": rule}
            for more in ({}, {"antialias": 1}, {"antialias": 1, "exclude_outside": 1}, {"cubic_coeff_a": -0.5}):
                yield "Resize", (picture, None, None, ints(6, 3)), {**attributes, **more}
            yield "Resize", (picture, None, narrow([2.0])), {**attributes, "axes": (1,)}


def quantized() -> Iterator[Case]:
    for zero in (np.array(3, np.uint8), np.array(-3, np.int8)):
        yield "QuantizeLinear", (narrow(MATRIX * 9), narrow(0.5), zero), {}
        yield "DequantizeLinear", (whole(3, 4, dtype=zero.dtype.name), narrow(0.5), zero), {}
    scales, zeros = narrow([0.5, 0.25, 1.0]), np.array([1, 2, 3], np.int8)
    yield "QuantizeLinear", (narrow(noise(3, 4) * 9), scales, zeros), {"axis": 0}
    yield "DequantizeLinear", (whole(4, 3, dtype="int8"), scales, zeros), {}
    yield "DynamicQuantizeLinear", (narrow(MATRIX),), {"outputs": 3}
    zeros = np.array(3, np.uint8), np.array([1, 2], np.int8)
    yield "MatMulInteger", (whole(3, 4, dtype="uint8"), whole(4, 2, dtype="int8"), *zeros), {}
    yield "ConvInteger", (whole(1, 2, 5, 5, dtype="uint8"), whole(3, 2, 2, 2, dtype="uint8"), np.array(1, np.uint8)), {}


CASES = [*elementwise(), *reduced(), *shaped(), *layers(), *resized(), *quantized()]


def versions(operator: str) -> list[int]:
    """The newest opset of each meaning that an operator has had in those that are read."""
    known = [
        each.since_version
        for each in onnx.defs.get_all_schemas_with_history()
        if (each.domain, each.name) == ("", operator)
    ]
    newest = {max(since for since in known if since <= opset): opset for opset in OPSETS if opset >= min(known)}
    return sorted(newest.values())


def model(case: Case, opset: int) -> Any:
    """A file of one node over constants; None where this version has no such node."""
    operator, inputs, attributes = case
    given = {key: value for key, value in attributes.items() if key != "outputs"}
    made = [f"y{place}" for place in range(attributes.get("outputs", 1))]
    names = [f"x{place}" if array is not None else "" for place, array in enumerate(inputs)]
    node = onnx.helper.make_node(operator, names, made, name="step", **given)
    context = onnx.checker.C.CheckerContext()
    context.ir_version, context.opset_imports = 10, {"": opset}
    schema = onnx.defs.get_schema(operator, opset, "")
    try:
        onnx.checker.check_node(node, context)
    except onnx.checker.ValidationError:
        return None
    if not schema.min_input <= len(inputs) <= schema.max_input:
        return None
    constants = [onnx.numpy_helper.from_array(array, f"x{at}") for at, array in enumerate(inputs) if array is not None]
    outputs = [onnx.helper.make_empty_tensor_value_info(name) for name in made]
    graph = onnx.helper.make_graph([node], "graph", [], outputs, constants)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=10)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("operator", sorted(known_operators()))
def test_an_operator_computes_what_the_reference_computes_or_is_refused(operator: str, tmp_path: Path) -> None:
    compared = 0
    for case in (case for case in CASES if case[0] == operator):
        for opset in versions(operator):
            written = model(case, opset)
            if written is None or (operator, opset) in NOT_OF_REFERENCE:
                continue
            path = tmp_path / "one.onnx"
            path.write_bytes(written.SerializeToString())
            export, files = read_export(path)
            with files:
                found = Evaluation(export, Healing(active=False)).run({})
            expected = reference.ReferenceEvaluator(written).run(None, {})
            for one, other in zip(found, map(np.asarray, expected), strict=True):
                said = f"{operator} of opset {opset} with {case[2]}"
                assert one.numpy().dtype == (np.float64 if other.dtype.kind == "f" else other.dtype), said
                np.testing.assert_allclose(one.numpy(), other, ROUNDING, ROUNDING, err_msg=said)
            compared += 1
    assert compared

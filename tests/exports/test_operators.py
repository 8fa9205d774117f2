"""Operators against PyTorch's own, or against what the standard says of them, with values by hand."""

from typing import Any

import numpy as np
import pytest

from dinoport.exports.evaluation import BrokenGraphError, Evaluation, UnshownError, known_operators
from tests.exports.writing import one_step

torch = pytest.importorskip("torch")
functional = torch.nn.functional

RNG = np.random.default_rng(3)


def noise(*shape: int) -> Any:
    return RNG.standard_normal(shape)


def computed(operator: str, *inputs: Any, outputs: int = 1, opset: int = 20, **attributes: Any) -> Any:
    """The outputs of one node over these inputs; None is one that is left out."""
    given = {f"x{place}": array for place, array in enumerate(inputs)}
    results = Evaluation(one_step(operator, given, outputs, opset, **attributes)).run({})
    return results[0] if outputs == 1 else results


def ints(*values: int) -> Any:
    return np.array(values, np.int64)


PICTURE, MATRIX = noise(2, 3, 6, 5), noise(4, 3)

# fmt: off
BY_HAND: dict[str, tuple[str, tuple[Any, ...], dict[str, Any], Any]] = {
    "division of whole numbers": ("Div", (ints(7, -7), ints(2, 2)), {}, [3, -3]),
    "remainder": ("Mod", (ints(7, -7), ints(3, 3)), {}, [1, 2]),
    "remainder as in C": ("Mod", (ints(7, -7), ints(3, 3)), {"fmod": 1}, [1, -1]),
    "reshape with a place kept": ("Reshape", (np.arange(6.0).reshape(2, 3), ints(0, -1)), {}, [[0, 1, 2], [3, 4, 5]]),
    "slice backwards": ("Slice", (np.arange(5.0), ints(4), ints(-6), ints(0), ints(-2)), {}, [4, 2, 0]),
    "slice with a far end": ("Slice", (np.arange(5.0), ints(1), ints(2**62)), {}, [1, 2, 3, 4]),
    "gather from the end": ("Gather", (np.arange(5.0), ints(-1, 0)), {}, [4, 0]),
    "gather one": ("Gather", (np.arange(6.0).reshape(2, 3), np.array(1)), {"axis": 1}, [1, 4]),
    "shape from the second on": ("Shape", (noise(2, 3, 4),), {"start": 1}, [3, 4]),
    "size": ("Size", (noise(2, 3),), {}, 6),
    "range": ("Range", (np.array(1), np.array(7), np.array(3)), {}, [1, 4]),
    "filled": ("ConstantOfShape", (ints(2),), {}, [0, 0]),
    "squeeze": ("Squeeze", (noise(1, 1) * 0, ints(0)), {}, [0]),
    "where": ("Where", (np.array([True, False]), np.array([1.0, 2.0]), np.array(9.0)), {}, [1, 9]),
    "clip": ("Clip", (np.array([-2.0, 0.5, 3.0]), np.array(0.0), np.array(1.0)), {}, [0, 0.5, 1]),
    "cast to whole": ("Cast", (np.array([1.9, -1.9]),), {"to": 7}, [1, -1]),
    "mean over axes given as an input": ("ReduceMean", (np.array([[1.0, 3.0]]), ints(1)), {"keepdims": 0}, [2]),
    "mean over axes of an attribute": ("ReduceMean", (np.array([[1.0, 3.0]]),), {"axes": (1,), "keepdims": 0}, [2]),
    "sum of nothing": ("ReduceSum", (np.array([[1.0, 3.0]]),), {"noop_with_empty_axes": 1}, [[1, 3]]),
    "scattered": ("ScatterND", (np.zeros(4), np.array([[1], [3]]), np.array([5.0, 6.0])), {}, [0, 5, 0, 6]),
    "quantized": ("QuantizeLinear", (np.array([0.6, -9.0, 900.0]), np.array(0.5), np.array(10, np.uint8)), {},
                  [11, 0, 255]),
    "dequantized by column": ("DequantizeLinear", (np.array([[2, 4]], np.int8), np.array([0.5, 2.0]),
                              np.array([1, 2], np.int8)), {"axis": 1}, [[0.5, 4]]),
    "matrices of whole numbers": ("MatMulInteger", (np.array([[3]], np.uint8), np.array([[5]], np.int8),
                                  np.array(1, np.uint8)), {}, [[10]]),
}
# fmt: on


@pytest.mark.parametrize("what", BY_HAND)
def test_an_operator_gives_what_the_standard_says(what: str) -> None:
    operator, inputs, attributes, expected = BY_HAND[what]
    assert computed(operator, *inputs, **attributes).tolist() == expected


def close(found: Any, expected: Any) -> None:
    assert found.dtype == torch.float64
    assert found.shape == expected.shape
    assert float((found - expected).abs().max()) < 1e-14


def wide(array: Any) -> Any:
    return torch.from_numpy(np.asarray(array))


def test_a_convolution_with_groups_strides_and_uneven_pads() -> None:
    weight, bias = noise(6, 1, 3, 2), noise(6)
    found = computed("Conv", PICTURE, weight, bias, group=3, strides=(2, 1), pads=(1, 0, 0, 1), dilations=(1, 2))
    padded = functional.pad(wide(PICTURE), (0, 1, 1, 0))
    close(found, functional.conv2d(padded, wide(weight), wide(bias), (2, 1), 0, (1, 2), 3))


def test_norms() -> None:
    scale, shift = noise(5), noise(5)
    found = computed("LayerNormalization", PICTURE, scale, shift, epsilon=0.5)
    close(found, functional.layer_norm(wide(PICTURE), (5,), wide(scale), wide(shift), 0.5))
    channels = [noise(3), noise(3), noise(3), noise(3) ** 2]
    own = functional.batch_norm(wide(PICTURE), wide(channels[2]), wide(channels[3]), *map(wide, channels[:2]), eps=0.5)
    close(computed("BatchNormalization", PICTURE, *channels, epsilon=0.5), own)
    mean = wide(PICTURE).square().mean(-1, keepdim=True)
    close(computed("RMSNormalization", PICTURE, scale, epsilon=0.5), wide(PICTURE) / (mean + 0.5).sqrt() * wide(scale))


def test_a_softplus_is_exact_for_large_numbers_too() -> None:
    """PyTorch's own takes what is above 20 as it is."""
    numbers = np.array([-30.0, 0.0, 19.0, 25.0, 800.0])
    close(computed("Softplus", numbers), wide(np.logaddexp(numbers, 0)))


def test_gemm() -> None:
    second, added = noise(5, 3), noise(5)
    found = computed("Gemm", MATRIX, second, added, transB=1, alpha=0.5, beta=2.0)
    close(found, 0.5 * (wide(MATRIX) @ wide(second).T) + 2 * wide(added))


def test_pools() -> None:
    found = computed("MaxPool", PICTURE, kernel_shape=(3, 3), strides=(2, 2), pads=(1, 1, 1, 1))
    close(found, functional.max_pool2d(wide(PICTURE), 3, 2, 1))
    close(computed("GlobalAveragePool", PICTURE), wide(PICTURE).mean((2, 3), keepdim=True))
    close(computed("AveragePool", PICTURE, kernel_shape=(2, 2)), functional.avg_pool2d(wide(PICTURE), 2, 1))


def test_attention_by_head_and_joined() -> None:
    queries, keys, values, mask = noise(2, 3, 4, 8), noise(2, 3, 5, 8), noise(2, 3, 5, 8), noise(4, 5)
    own = functional.scaled_dot_product_attention(*map(wide, (queries, keys, values, mask)), scale=0.5)
    close(computed("Attention", queries, keys, values, mask, scale=0.5, opset=23), own)
    joined = [each.transpose(0, 2, 1, 3).reshape(2, -1, 24) for each in (queries, keys, values)]
    own = functional.scaled_dot_product_attention(*map(wide, (queries, keys, values)))
    found = computed("Attention", *joined, q_num_heads=3, kv_num_heads=3, opset=23)
    close(found, own.transpose(1, 2).flatten(2))


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("size", [(9, 8), (4, 3)])
@pytest.mark.parametrize("antialias", [False, True])
def test_resize_is_pytorchs_interpolation(mode: str, size: tuple[int, int], antialias: bool) -> None:
    name = {"linear": "bilinear", "cubic": "bicubic"}[mode]
    own = functional.interpolate(wide(PICTURE), size, mode=name, antialias=antialias)
    sizes = ints(2, 3, *size)
    found = computed("Resize", PICTURE, None, None, sizes, mode=mode, cubic_coeff_a=-0.75)
    if antialias:  # PyTorch's cubic has the other usual coefficient then, and no kernel counts what lies outside
        rule = {"antialias": 1, "cubic_coeff_a": -0.5, "exclude_outside": 1}
        found = computed("Resize", PICTURE, None, None, sizes, mode=mode, **rule)
    close(found, own)


def test_resize_by_scales_and_by_corners() -> None:
    own = functional.interpolate(wide(PICTURE), scale_factor=(1.5, 2.0), mode="bicubic")
    found = computed("Resize", PICTURE, None, np.array([1, 1, 1.5, 2.0], np.float32), mode="cubic")
    close(found, own)
    seven = computed("Resize", PICTURE, None, np.array([1, 1, 1, 1.4], np.float32), mode="linear")
    assert seven.shape == functional.interpolate(wide(PICTURE), scale_factor=(1, 1.4), mode="bilinear").shape
    own = functional.interpolate(wide(PICTURE), (9, 8), mode="bilinear", align_corners=True)
    sizes, rule = ints(2, 3, 9, 8), {"coordinate_transformation_mode": "align_corners"}
    close(computed("Resize", PICTURE, None, None, sizes, mode="linear", **rule), own)


def test_split_in_equal_and_in_given_parts() -> None:
    parts = computed("Split", np.arange(5.0), outputs=2, num_outputs=2)
    assert [part.tolist() for part in parts] == [[0, 1, 2], [3, 4]]
    parts = computed("Split", np.arange(5.0), ints(1, 4), outputs=2)
    assert [part.tolist() for part in parts] == [[0], [1, 2, 3, 4]]


def test_dynamic_quantization_rounds_as_the_standard_says() -> None:
    whole, scale, zero = computed("DynamicQuantizeLinear", np.array([-1.0, 0.0, 2.0], np.float32), outputs=3)
    assert float(scale) == pytest.approx(3 / 255)
    assert (whole.tolist(), int(zero)) == ([0, 85, 255], 85)


@pytest.mark.parametrize(
    ("operator", "inputs", "attributes", "words"),
    [
        ("Conv", (PICTURE, noise(6, 3, 1, 1)), {"auto_pad": "SAME_UPPER"}, "Conv with auto_pad = SAME_UPPER"),
        ("Resize", (PICTURE, None, None, ints(2, 3, 9, 8)), {"mode": "nearest"}, "Resize with mode = nearest"),
        ("Gelu", (MATRIX,), {"approximate": "other"}, "Gelu with approximate = other"),
        ("Pad", (MATRIX, ints(0, 0, 1, 1)), {"mode": "other"}, "Pad with mode = other"),
        ("Dropout", (MATRIX, np.array(0.5), np.array(True)), {}, "Dropout that drops"),
        (
            "MaxPool",
            (PICTURE,),
            {"kernel_shape": (2, 2), "pads": (1, 1, 1, 1), "ceil_mode": 1},
            "MaxPool with ceil_mode",
        ),
        ("QuantizeLinear", (MATRIX, np.array(0.5)), {"output_dtype": 3}, "QuantizeLinear with output_dtype"),
        (
            "BatchNormalization",
            (PICTURE, *[noise(3)] * 4),
            {"training_mode": 1},
            "BatchNormalization with training_mode",
        ),
        (
            "ScatterND",
            (np.zeros(4), np.array([[1]]), np.ones(1)),
            {"reduction": "add"},
            "ScatterND with reduction = add",
        ),
        ("Attention", tuple(noise(1, 1, 2, 4) for _ in range(3)), {"is_causal": 1}, "Attention with is_causal = 1"),
    ],
)
def test_a_use_that_is_not_known_is_named(operator: str, inputs: Any, attributes: Any, words: str) -> None:
    with pytest.raises(UnshownError, match=words):
        computed(operator, *inputs, opset=23, **attributes)


def test_an_input_that_is_missing_is_said() -> None:
    with pytest.raises(BrokenGraphError, match=r"Add \(step\): input 2 is missing"):
        computed("Add", MATRIX, None)


def test_the_operators_that_exporters_write_are_known() -> None:
    assert len(known_operators()) > 80

"""The references against outputs that the genuine code computed, and against its names and shapes."""

import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import pytest
import torch
from torch.distributed.checkpoint import FileSystemReader, load
from torch.distributed.checkpoint.metadata import TensorStorageMetadata

from dinoport.networks.convnext.architecture import ConvNeXt
from dinoport.networks.interpolation import SCALE_WITH_OFFSET, TO_SIZE, TO_SIZE_ANTIALIASED
from dinoport.networks.network import Classifier, Features
from dinoport.networks.rotary_vit.architecture import RotaryViT
from dinoport.networks.torch_interpolation import interpolate_table
from dinoport.networks.vit.architecture import ViT
from dinoport.networks.vit.forward import forward
from tests import formula, goldens
from tests.models import CLS_MEAN, RESNET, classifying, dinov2, renamed

FLOAT32_TOLERANCE = 1e-5
"""Twice the genuine code's own distance from float64; here both sides agree bit for bit on one machine."""

FLOAT64_TOLERANCE = 3e-7
"""The goldens were computed in float64 and stored as float32: half a unit in the last place of values below 8."""

State = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Case:
    """One golden. `arguments` go to the forward pass, those of `in_float64` beside them or in their place."""

    golden: str
    architecture: Any
    state: Callable[[], State]
    group: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    in_float64: Mapping[str, Any] = field(default_factory=dict)

    def run(self, pixels: torch.Tensor, **arguments: Any) -> dict[str, torch.Tensor]:
        state = {
            name: tensor.to(pixels.dtype) if tensor.is_floating_point() else tensor
            for name, tensor in self.state().items()
        }
        with torch.inference_mode():
            code = self.architecture.network.code
            outputs: dict[str, torch.Tensor] = code.forward(state, self.architecture, pixels, **arguments)
        return outputs


@cache
def by_formula(keys: str) -> State:
    return {name: torch.from_numpy(values) for name, values in goldens.state_by_formula(keys).items()}


@cache
def stored(path: str, key: str, prefix: str) -> State:
    return goldens.state_in_checkpoint(path, key, prefix)


@cache
def distributed(folder: str, prefix: str) -> State:
    """The tensors of a distributed checkpoint whose names start with `prefix`, as PyTorch puts them together."""
    reader = FileSystemReader(goldens.FOLDER / folder)
    metadata = reader.read_metadata().state_dict_metadata
    state = {
        name: torch.empty(described.size, dtype=described.properties.dtype)
        for name, described in metadata.items()
        if name.startswith(prefix) and isinstance(described, TensorStorageMetadata)
    }
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        load(state, storage_reader=reader, no_dist=True)
    return {name.removeprefix(prefix): tensor for name, tensor in state.items()}


def without(state: State, name: str) -> State:
    return {key: tensor for key, tensor in state.items() if key != name}


def unchunked(state: State) -> State:
    """The second number of a chunked DINOv2's names is the block."""
    return {re.sub(r"^blocks\.\d+\.(\d+\.)", r"blocks.\1", name): tensor for name, tensor in state.items()}


TINY = "dino1/tiny32"
TEACHER = (f"{TINY}/checkpoint.pth", "teacher", "backbone.")
STUDENT = (f"{TINY}/checkpoint.pth", "student", "module.backbone.")
TINY_VIT = ViT(width=32, depth=4, heads=2, mlp_hidden=128, patch_size=16, image_size=224)
NARROW_VIT = ViT(width=64, depth=3, heads=1, mlp_hidden=256, patch_size=8, image_size=224)
VIT_SMALL = ViT(width=384, depth=12, heads=6, mlp_hidden=1536, patch_size=16, image_size=224)

V2 = "dinov2/narrow"
V2_CHUNKED = dinov2(width=32, depth=10, heads=2, mlp_hidden=128, patch_size=14, image_size=98)
V2_MLP = replace(V2_CHUNKED, width=64, depth=4, heads=4, mlp_hidden=256)
V2_REGISTERS = replace(
    V2_CHUNKED, width=48, depth=3, heads=3, mlp_hidden=192, registers=4, interpolation=TO_SIZE_ANTIALIASED
)
V2_SWIGLU = replace(V2_CHUNKED, width=64, depth=3, heads=1, mlp_hidden=176, feed_forward="swiglu")
V2_NO_BIAS = replace(V2_CHUNKED, depth=2, qkv_bias=False, proj_bias=False, ffn_bias=False)
V2_LINEAR = classifying(replace(V2_CHUNKED, depth=4), 1000, CLS_MEAN)

V3 = "dinov3/narrow"
V3_TRAINED = RotaryViT(width=32, depth=4, heads=2, mlp_hidden=128, patch_size=16, layer_norm_eps=1e-6)
V3_DISTRIBUTED = RotaryViT(
    width=32,
    depth=4,
    heads=2,
    mlp_hidden=128,
    patch_size=16,
    feed_forward="swiglu",
    registers=4,
    key_bias_mask=True,
    local_cls_norm=True,
)
V3_SWIGLU = replace(V3_DISTRIBUTED, depth=3, local_cls_norm=False)
V3_MASKED = replace(V3_SWIGLU, width=64, heads=1, mlp_hidden=256, feed_forward="mlp")
V3_LIVE_KEY_BIAS = replace(V3_TRAINED, width=64, heads=4, mlp_hidden=256)
V3_NO_LAYER_SCALE = replace(V3_TRAINED, depth=3, layer_scale=False)
V3_LIKE_7B = replace(V3_DISTRIBUTED, mlp_hidden=64, qkv_bias=False, key_bias_mask=False)
V3_NO_BIAS = replace(V3_TRAINED, depth=2, qkv_bias=False, proj_bias=False, ffn_bias=False)
V3_TEACHER = ("dinov3/trained_a/teacher_checkpoint.pth", "teacher", "backbone.")
V3_TRAINED_GOLDEN = "dinov3/trained_a/golden_teacher.npz"
FLOAT64_ROPE = {"rope_dtype": torch.float64}
BFLOAT16_ROPE = {"rope_dtype": torch.bfloat16, "rotation_dtype": torch.bfloat16}

CONVNEXT = ConvNeXt(depths=(1, 1, 2, 1), widths=(16, 32, 64, 96))


def formula_case(folder: str, architecture: Any) -> Case:
    return Case(
        f"{folder}/golden.npz",
        architecture,
        lambda: unchunked(by_formula(f"{folder}/keys.json")),
        in_float64=FLOAT64_ROPE if isinstance(architecture, RotaryViT) else {},
    )


def linear_probe() -> State:
    head = stored(f"{TINY}/linear_n1avg.pth.tar", "state_dict", "module.")
    return {**stored(*TEACHER), **renamed(head, "linear", "classifier")}


def with_linear_head() -> State:
    listed = by_formula("dinov2/lc/keys.json").items()
    return renamed({name.removeprefix("backbone."): t for name, t in listed}, "linear_head", "classifier")


CASES = {
    "dino teacher": Case(f"{TINY}/golden_teacher.npz", TINY_VIT, lambda: stored(*TEACHER)),
    "dino student": Case(f"{TINY}/golden_student.npz", TINY_VIT, lambda: stored(*STUDENT)),
    "dino linear probe": Case(
        f"{TINY}/golden_linear_n1avg.npz",
        replace(TINY_VIT, classifier=Classifier(Features.CLS_MEAN_INTERLEAVED, 8)),
        linear_probe,
    ),
    "dino patches of 8": Case(
        "dino1/formula/golden_narrow_e64_h1_p8.npz",
        NARROW_VIT,
        lambda: by_formula("dino1/formula/keys_narrow_e64_h1_p8.json"),
    ),
    "dino ViT-S/16": Case(
        "dino1/full/golden_vit_small16.npz", VIT_SMALL, lambda: by_formula("dino1/full/keys_vit_small16.json")
    ),
    "dino ResNet-50": Case(
        "dino1/full/golden_resnet50.npz", RESNET, lambda: by_formula("dino1/full/keys_resnet50.json")
    ),
    "dinov2 mlp": formula_case(f"{V2}/mlp_chunks0", V2_MLP),
    "dinov2 chunked": formula_case(f"{V2}/mlp_chunks4_depth10", V2_CHUNKED),
    "dinov2 registers": formula_case(f"{V2}/mlp_reg4_chunks0", V2_REGISTERS),
    "dinov2 swiglu": formula_case(f"{V2}/swiglu_chunks0_h1", V2_SWIGLU),
    "dinov2 no biases": formula_case(f"{V2}/mlp_nobias", V2_NO_BIAS),
    "dinov2 linear head": Case("dinov2/lc/golden_narrow_lc_layers1.npz", V2_LINEAR, with_linear_head),
    "dinov3 masked key bias": formula_case(f"{V3}/mlp_storage4_maskk_h1", V3_MASKED),
    "dinov3 live key bias": formula_case(f"{V3}/mlp_storage0", V3_LIVE_KEY_BIAS),
    "dinov3 no layer scale": formula_case(f"{V3}/mlp_nolayerscale", V3_NO_LAYER_SCALE),
    "dinov3 swiglu": formula_case(f"{V3}/swiglu_storage4_maskk", V3_SWIGLU),
    "dinov3 like 7B": formula_case(f"{V3}/swiglu64_7blike", V3_LIKE_7B),
    "dinov3 no biases": formula_case(f"{V3}/nobias", V3_NO_BIAS),
    "dinov3 as trained, bfloat16 rope": Case(
        V3_TRAINED_GOLDEN,
        V3_TRAINED,
        lambda: stored(*V3_TEACHER),
        group="upstream_eval_bf16rope/",
        arguments=BFLOAT16_ROPE,
        in_float64={"rope_dtype": torch.float64, "rotation_dtype": torch.float64},
    ),
    "dinov3 stored periods": Case(
        V3_TRAINED_GOLDEN,
        V3_TRAINED,
        lambda: stored(*V3_TEACHER),
        group="fp32rope_stored_periods/",
        in_float64=FLOAT64_ROPE,
    ),
    "dinov3 periods from theta": Case(
        V3_TRAINED_GOLDEN,
        V3_TRAINED,
        lambda: without(stored(*V3_TEACHER), "rope_embed.periods"),
        group="fp32rope_exact_periods/",
        in_float64=FLOAT64_ROPE,
    ),
    "dinov3 distributed, stored periods": Case(
        "dinov3/dcp/golden_teacher_2rank_t27.npz",
        V3_DISTRIBUTED,
        lambda: distributed("dinov3/dcp/teacher_2rank_t27", "model.backbone."),
        group="fp32rope_stored_periods/",
        in_float64=FLOAT64_ROPE,
    ),
    "dinov3 ConvNeXt": formula_case(f"{V3}/convnext_narrow", CONVNEXT),
}


INCOMPLETE = ("dino linear probe", "dinov2 linear head", "dinov3 periods from theta")
"""Cases whose state is put together by this file, not a model's own."""


def tolerance(output: str) -> float:
    return FLOAT64_TOLERANCE if output.endswith("_f64ref") else FLOAT32_TOLERANCE


def as_in_golden(what: str, outputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    if what == "cls":
        return outputs["tokens"][:, :1]
    if what == "tokens_slice":
        return outputs["tokens"][:, :8, :64]
    if what == "layer4_slice":
        return outputs["feature_map"].flatten(2).transpose(1, 2)[:, :8, :64]
    return outputs[what]


def differences(case: Case) -> Iterator[tuple[str, float]]:
    """The golden's names and the largest absolute differences; names ending in `_f64ref` are of a float64 run."""
    runs: dict[tuple[str, bool], dict[str, torch.Tensor]] = {}
    for name, expected in goldens.outputs(case.golden).items():
        size, what = name.removeprefix(case.group).split("/")[-2:]
        if not name.startswith(case.group) or what == "linear_input":
            continue
        in_float64 = what.endswith("_f64ref")
        if (size, in_float64) not in runs:
            pixels = torch.from_numpy(formula.pixel_values(*(int(side) for side in size.split("x"))))
            arguments = {**case.arguments, **(case.in_float64 if in_float64 else {})}
            runs[size, in_float64] = case.run(pixels.double() if in_float64 else pixels, **arguments)
        ours = as_in_golden(what.removesuffix("_f64ref"), runs[size, in_float64])
        theirs = torch.from_numpy(expected).reshape(ours.shape)
        yield name, float((ours - theirs).abs().max())


@pytest.mark.parametrize("name", CASES)
def test_outputs_are_those_of_the_genuine_code(name: str) -> None:
    found = list(differences(CASES[name]))
    assert found
    for output, difference in found:
        assert difference <= tolerance(output), output


@pytest.mark.parametrize("name", [name for name in CASES if name not in INCOMPLETE])
def test_architecture_lists_the_genuine_names_and_shapes(name: str) -> None:
    case = CASES[name]
    genuine = {key: tuple(tensor.shape) for key, tensor in case.state().items()}
    assert case.architecture.tensors() == genuine


MUTANTS = {
    "other heads": ("dino teacher", {"heads": 4}),
    "eps 1e-5": ("dino teacher", {"layer_norm_eps": 1e-5}),
    "eps 1e-12": ("dino teacher", {"layer_norm_eps": 1e-12}),
    "table resampled to the exact size": ("dino teacher", {"interpolation": TO_SIZE}),
    "probe features one after the other": ("dino linear probe", {"classifier": Classifier(CLS_MEAN, 8)}),
    "eps of batch norm": ("dino ResNet-50", {"batch_norm_eps": 1e-3}),
    "offset for a model with registers": ("dinov2 registers", {"interpolation": SCALE_WITH_OFFSET}),
    "fewer registers": ("dinov2 registers", {"registers": 0}),
    "another rope base": ("dinov3 periods from theta", {"rope_theta": 1000.0}),
    "eps of the other training option": ("dinov3 masked key bias", {"layer_norm_eps": 1e-6}),
    "ConvNeXt without layer scale": ("dinov3 ConvNeXt", {"layer_scale": False}),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_wrong_architecture_misses_the_goldens(mutant: str) -> None:
    name, change = MUTANTS[mutant]
    case = CASES[name]
    found = differences(replace(case, architecture=replace(case.architecture, **change)))
    assert any(difference > 2 * tolerance(output) for output, difference in found)


def test_a_key_bias_without_its_mask_misses_the_golden() -> None:
    case = CASES["dinov3 masked key bias"]
    unmasked = {name: tensor for name, tensor in case.state().items() if not name.endswith("bias_mask")}
    assert max(difference for _, difference in differences(replace(case, state=lambda: unmasked))) > 1e-3


def test_a_classifier_of_the_cls_token_sees_nothing_else() -> None:
    classifier = {"classifier.weight": torch.randn(5, 32), "classifier.bias": torch.randn(5)}
    pixels = torch.from_numpy(formula.pixel_values(224, 224))
    outputs = forward({**stored(*TEACHER), **classifier}, classifying(TINY_VIT, 5), pixels)
    expected = outputs["tokens"][:, 0] @ classifier["classifier.weight"].T + classifier["classifier.bias"]
    torch.testing.assert_close(outputs["logits"], expected)


def test_a_model_without_a_classifier_has_no_logits() -> None:
    pixels = torch.from_numpy(formula.pixel_values(224, 224))
    assert set(forward(stored(*TEACHER), TINY_VIT, pixels)) == {"tokens"}


OBSERVED = {
    "dino teacher": ["embedding", "blocks.0", "blocks.1", "blocks.2", "blocks.3"],
    "dino ResNet-50": [
        "embedding",
        *(f"layer{stage}.{index}" for stage, depth in ((1, 3), (2, 4), (3, 6), (4, 3)) for index in range(depth)),
    ],
    "dinov2 registers": ["embedding", "blocks.0", "blocks.1", "blocks.2"],
    "dinov3 no biases": ["embedding", "blocks.0", "blocks.1"],
    "dinov3 ConvNeXt": [
        "embedding",
        "stages.0.0",
        "downsample_layers.1",
        "stages.1.0",
        "downsample_layers.2",
        "stages.2.0",
        "stages.2.1",
        "downsample_layers.3",
        "stages.3.0",
    ],
}


@pytest.mark.parametrize("name", OBSERVED)
def test_every_block_can_be_observed(name: str) -> None:
    case = CASES[name]
    seen: dict[str, torch.Tensor] = {}
    side = 98 if "dinov2" in name else 64
    outputs = case.run(torch.from_numpy(formula.pixel_values(side, side)), observe=seen.__setitem__)
    assert list(seen) == OBSERVED[name]
    last = seen[OBSERVED[name][-1]]
    assert last.shape == outputs.get("feature_map", last).shape
    assert len({float(tensor.sum()) for tensor in seen.values()}) == len(seen)


def test_pixels_decide_whether_a_dino_table_is_resampled() -> None:
    state = stored(*TEACHER)
    square = torch.from_numpy(formula.pixel_values(230, 230))
    oblong = torch.from_numpy(formula.pixel_values(224, 230))
    assert _first_tokens(state, square) == pytest.approx(0, abs=1e-6)
    assert _first_tokens(state, oblong) > 1e-4


def _first_tokens(state: State, pixels: torch.Tensor) -> float:
    """How far the positions in the embedding's output are from the stored table."""
    seen: dict[str, torch.Tensor] = {}
    forward(state, TINY_VIT, pixels, seen.__setitem__)
    blank = {**state, "pos_embed": torch.zeros_like(state["pos_embed"])}
    unplaced: dict[str, torch.Tensor] = {}
    forward(blank, TINY_VIT, pixels, unplaced.__setitem__)
    return float((seen["embedding"] - unplaced["embedding"] - state["pos_embed"]).abs().max())


def test_a_dinov2_refuses_what_its_patches_do_not_divide() -> None:
    with pytest.raises(ValueError, match="98×100 pixels is not whole patches of 14"):
        CASES["dinov2 mlp"].run(torch.from_numpy(formula.pixel_values(98, 100)))


def test_a_table_that_is_no_square_is_not_resampled() -> None:
    with pytest.raises(ValueError, match="1 and 6, which is not a square"):
        interpolate_table(torch.zeros(1, 7, 4), 3, 3, TO_SIZE)


@pytest.mark.parametrize("interpolation", [SCALE_WITH_OFFSET, TO_SIZE, TO_SIZE_ANTIALIASED])
def test_resampling_keeps_the_cls_row_and_the_dtype(interpolation: Any) -> None:
    table = torch.randn(1, 17, 3, dtype=torch.float64)
    resampled = interpolate_table(table, 3, 5, interpolation)
    assert resampled.shape == (1, 16, 3)
    assert resampled.dtype == torch.float64
    assert torch.equal(resampled[:, 0], table[:, 0])

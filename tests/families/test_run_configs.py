"""What a run's config says besides its tensors: taken where they are silent, refused in words where they are not."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from dinoport.api import convert, verify
from dinoport.codebases.codebase import Evidence, Naming, Reading
from dinoport.codebases.dinov2 import vit as v2
from dinoport.codebases.dinov3 import convnext, vit
from dinoport.finding.evidence import read
from dinoport.formats.run_config import RunConfig
from dinoport.formats.torch.writer import write_torch_file
from dinoport.model import Origin, Setting, Stated, Wishes
from dinoport.networks.interpolation import SCALE_WITH_OFFSET, TO_SIZE_ANTIALIASED
from dinoport.networks.rotary_vit.architecture import RotaryViT
from dinoport.tensor import ArrayValues, TensorRef
from tests import formula, models
from tests.models import CONVNEXT, dinov2
from tests.writing.stub_tensors import tensor

V2 = dinov2(width=64, depth=1, heads=1, mlp_hidden=256, patch_size=14, image_size=98)
V3 = RotaryViT(width=64, depth=1, heads=1, mlp_hidden=256, patch_size=16)
MODELS: dict[str, tuple[Callable[[Evidence], Reading], Any]] = {
    "dinov2": (v2.read, V2),
    "dinov3": (vit.read, V3),
    "dinov3_convnext": (convnext.read, CONVNEXT),
}

PART, NO_PART = "such a part", "no such part"

OWN: dict[str, dict[str, object]] = {
    "dinov2": {"patch_size": 14, "ffn_layer": "mlp", "num_register_tokens": 0, "qkv_bias": True},
    "dinov3": {
        "patch_size": 16,
        "ffn_layer": "mlp",
        "norm_layer": "layernorm",
        "n_storage_tokens": 0,
        "pos_embed_rope_base": 100.0,
        "mask_k_bias": False,
        "in_chans": 3,
    },
    "dinov3_convnext": {"in_chans": 3},
}
"""What the runs' configs say under `student` that made these models."""

CROPS = {"dinov2": 98, "dinov3": 112, "dinov3_convnext": 160}


def evidence(
    name: str,
    student: Mapping[str, object],
    crops: int | None = None,
    wishes: Wishes | None = None,
    model: Any = None,
    **more: object,
) -> Evidence:
    model = model or MODELS[name][1]
    state = formula.state_dict(model.tensors())
    tensors = {key: TensorRef(key, data.dtype, data.shape, ArrayValues(data)) for key, data in state.items()}
    values = {"student": dict(student), "crops": {"global_crops_size": crops, **more}}
    return Evidence("weights.pth", tensors, wishes=wishes or Wishes(), config=RunConfig("run/config.yaml", values))


def reading(name: str, *given: Any, **more: Any) -> Reading:
    return MODELS[name][0](evidence(name, *given, **more))


def input_size(found: Reading) -> list[Setting[object]]:
    return [setting for setting in found.settings if setting.name == "input size"]


@pytest.mark.parametrize(
    ("name", "setting", "said", "stored"),
    [
        ("dinov2", "patch_size", 16, "14"),
        ("dinov2", "ffn_layer", "swiglufused", "mlp"),
        ("dinov2", "num_register_tokens", 4, "0"),
        ("dinov2", "qkv_bias", False, PART),
        ("dinov2", "proj_bias", False, PART),
        ("dinov2", "ffn_bias", False, PART),
        ("dinov2", "layerscale", 0.0, PART),
        ("dinov3", "layerscale", 0.0, PART),
        ("dinov3", "patch_size", 14, "16"),
        ("dinov3", "ffn_layer", "swiglu64", "mlp"),
        ("dinov3", "norm_layer", "rmsnorm", "layernorm or layernormbf16"),
        ("dinov3", "n_storage_tokens", 4, "0"),
        ("dinov3", "pos_embed_rope_base", 50.0, "100"),
        ("dinov3", "mask_k_bias", True, NO_PART),
        ("dinov3", "untie_cls_and_patch_norms", True, NO_PART),
        ("dinov3", "untie_global_and_local_cls_norm", True, NO_PART),
        ("dinov3", "qkv_bias", False, PART),
        ("dinov3", "proj_bias", False, PART),
        ("dinov3", "ffn_bias", False, PART),
        ("dinov3", "in_chans", 4, "3"),
        ("dinov3_convnext", "in_chans", 4, "3"),
    ],
)
def test_what_the_tensors_contradict_is_not_believed_and_said(
    name: str, setting: str, said: object, stored: str
) -> None:
    agreeing = reading(name, OWN[name], CROPS[name])
    found = reading(name, {**OWN[name], setting: said}, CROPS[name])
    shown = str(said).lower() if isinstance(said, bool) else f"{said:g}" if isinstance(said, float) else said
    assert agreeing.remarks == agreeing.doubts == ()
    assert found.doubts == (f"config.yaml says student.{setting} = {shown}, the tensors have {stored}: ignored",)
    assert found.architecture == agreeing.architecture


@pytest.mark.parametrize("name", MODELS)
def test_the_size_of_the_crops_is_the_processors_and_is_said(name: str) -> None:
    found = reading(name, OWN[name], CROPS[name])
    assert [str(setting) for setting in input_size(found)] == [
        f"input size = {CROPS[name]} (crops.global_crops_size in config.yaml)"
    ]
    assert found.preprocessing is not None
    assert found.preprocessing.size == CROPS[name]


@pytest.mark.parametrize("name", MODELS)
def test_without_crops_nothing_is_said_of_them(name: str) -> None:
    assert input_size(reading(name, OWN[name])) == []


def test_crops_of_another_size_than_the_position_table_are_not_believed() -> None:
    found = reading("dinov2", OWN["dinov2"], 112)
    assert found.doubts == ("config.yaml says crops.global_crops_size = 112, the tensors have 98: ignored",)
    assert input_size(found) == []
    assert found.preprocessing is not None
    assert found.preprocessing.size == 98


@pytest.mark.parametrize(("given", "is_warned_of"), [(1e-5, True), (1e-6, False)])
def test_an_eps_that_contradicts_the_config_is_followed_and_warned_of(given: float, is_warned_of: bool) -> None:
    found = reading("dinov3", OWN["dinov3"], wishes=Wishes(layer_norm_eps=given))
    assert found.architecture.layer_norm_eps == given
    warning = (
        "config.yaml says student.norm_layer = layernorm, whose eps is 1e-06; "
        "--layer-norm-eps says 1e-05, and is followed"
    )
    assert found.warnings == ((warning,) if is_warned_of else ())


def test_a_config_that_says_nothing_of_a_layer_scale_has_none() -> None:
    """As both codebases read it: nothing and 0 are one, and any number makes a layer scale."""
    for name in ("dinov2", "dinov3"):
        assert reading(name, {**OWN[name], "layerscale": 1e-5}).doubts == ()
        [doubt] = reading(name, {**OWN[name], "layerscale": None}).doubts
        assert doubt == "config.yaml says student.layerscale = null, the tensors have such a part: ignored"


def test_a_switch_that_is_empty_is_off() -> None:
    """DINOv2's class resamples to the exact size where the offset is empty, and without antialias likewise."""
    for student, expected in (
        ({"interpolate_antialias": True, "interpolate_offset": None}, TO_SIZE_ANTIALIASED),
        ({"interpolate_antialias": None, "interpolate_offset": 0.1}, SCALE_WITH_OFFSET),
    ):
        found = reading("dinov2", {**OWN["dinov2"], **student})
        [setting] = [each for each in found.settings if each.name == "interpolation"]
        assert (setting.value, setting.origin, setting.reason) == (expected, Origin.INFERRED, "config.yaml")


def test_a_memory_efficient_builder_is_the_builder() -> None:
    student = {"arch": "vit_small_memeff", "patch_size": 14}
    assert "vit_small, from config.yaml, was ignored: it has width 384, the tensors have 64" in (
        reading("dinov2", student).doubts
    )


def test_a_builder_of_another_depth_is_not_believed() -> None:
    model = dinov2(width=384, depth=1, heads=6, mlp_hidden=1536, patch_size=14, image_size=98)
    found = reading("dinov2", {"arch": "vit_small"}, model=model)
    assert found.doubts == ("vit_small, from config.yaml, was ignored: it has 12 blocks, the tensors have 1",)


@pytest.mark.parametrize(("said", "is_alike"), [(1, True), ("yes", True), (0, False), (None, False), ("${x.y}", True)])
def test_a_part_is_there_where_the_config_says_anything_but_nothing(said: object, is_alike: bool) -> None:
    """As `if qkv_bias:` of both codebases has it; what refers elsewhere is not known."""
    for name in ("dinov2", "dinov3"):
        assert bool(reading(name, {**OWN[name], "qkv_bias": said}).doubts) is not is_alike


@pytest.mark.parametrize("limits", [{"min": 0.5}, {"max": 90.0}, {"min": 0.5, "max": 90.0}])
def test_limits_of_periods_say_nothing_where_the_stored_ones_follow_a_base(limits: Mapping[str, float]) -> None:
    said = {f"pos_embed_rope_{name}_period": value for name, value in limits.items()}
    found = reading("dinov3", {**OWN["dinov3"], **said})
    assert (found.doubts, found.architecture.rope_theta) == ((), 100.0)


@pytest.mark.parametrize("name", ["dinov3", "dinov3_convnext"])
def test_statistics_of_the_run_are_the_processors_and_are_said(name: str) -> None:
    """`dinov3/train/ssl_meta_arch.py` normalises by them, whatever the released models take."""
    mean, std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    found = reading(name, OWN[name], rgb_mean=[*mean], rgb_std=[*std]).preprocessing
    assert found is not None
    assert (found.mean, found.std) == (mean, std)
    where = "crops.rgb_mean and crops.rgb_std in config.yaml"
    assert found.stored == {"mean": where, "std": where}


@pytest.mark.parametrize("given", [
    {"rgb_mean": [0.1, 0.2, 0.3]}, {"rgb_mean": [0.1, 0.2], "rgb_std": [0.4, 0.5]}, {"rgb_mean": 0.1, "rgb_std": 0.2},
    {"rgb_mean": [0.485, 0.456, 0.406], "rgb_std": [0.229, 0.224, 0.225]},
])  # fmt: skip
def test_statistics_that_are_none_or_the_usual_ones_change_nothing(given: Mapping[str, object]) -> None:
    own, found = (reading("dinov3", OWN["dinov3"], **more).preprocessing for more in ({}, given))
    assert (own, own and own.stored) == (found, {})


def test_statistics_mean_nothing_to_dinov2() -> None:
    found = reading("dinov2", OWN["dinov2"], rgb_mean=[0.1, 0.2, 0.3], rgb_std=[0.4, 0.5, 0.6])
    assert found.preprocessing == reading("dinov2", OWN["dinov2"]).preprocessing


@pytest.mark.parametrize("name", ["dinov3", "dinov3_convnext"])
def test_what_the_original_computes_in_eight_bits_is_said(name: str) -> None:
    found = reading(name, {**OWN[name], "fp8_enabled": True})
    assert found.remarks == (
        "config.yaml says student.fp8_enabled = true: linear layers ran in 8 bits, and do not here",
    )
    assert found.doubts == reading(name, {**OWN[name], "fp8_enabled": False}).remarks == ()


def test_maps_that_the_original_resizes_are_said() -> None:
    assert reading("dinov3_convnext", {"patch_size": 16}).remarks == (
        "config.yaml says student.patch_size = 16: get_intermediate_layers of the original resizes its maps to patches "
        "of 16 pixels, the class does not",
    )


@pytest.mark.parametrize("coordinates", ["min", "max", "separate"])
def test_coordinates_of_a_contradicted_config_are_doubted(coordinates: str) -> None:
    """Nothing of it is taken, so it refuses nothing; other coordinates move outputs of pictures that are no squares."""
    given = evidence("dinov3", {**OWN["dinov3"], "pos_embed_rope_normalize_coords": coordinates, "in_chans": 4})
    found = {each.name: each for each in read(Naming("", "", bool, given=vit), given).settings}["rope coordinates"]
    assert (found.value, found.doubted) == ("separate", coordinates != "separate")


@pytest.mark.parametrize(("layer", "is_doubted"), [("layernorm", True), ("layernormbf16", False)])
def test_what_a_contradicted_config_says_otherwise_is_doubted(layer: str, is_doubted: bool) -> None:
    """Nothing of it is taken, and the verdict's first line names what is assumed in its place."""
    given = evidence("dinov3", {**OWN["dinov3"], "norm_layer": layer, "in_chans": 4}, model=models.V3)
    found = {each.name: each for each in read(Naming("", "", bool, given=vit), given).settings}
    assert (found["eps"].value, found["eps"].doubted) == (1e-5, is_doubted)
    assert [name for name, each in found.items() if each.doubted] == ["eps"] * is_doubted


@pytest.mark.parametrize("to", ["transformers", "timm"])
@pytest.mark.parametrize(("base", "patch_size", "followed"), [(1000, 16, 1000), (100, 16, 100), (1000, 14, 100)])
def test_a_base_of_the_run_is_followed_beside_names_without_periods(
    to: str, base: int, patch_size: int, followed: int, tmp_path: Path
) -> None:
    """The original's code has made them from it. Of another model's config nothing is taken, and that is named."""
    vit = RotaryViT(width=64, depth=1, heads=1, mlp_hidden=256, patch_size=16, registers=4, key_bias_mask=True)
    state = {**formula.state_dict(vit.tensors()), "rope_embed.periods": formula.periods(16, float(base))}
    state["mask_token"] = abs(state["mask_token"] * 0)  # timm keeps none
    write_torch_file(tmp_path / "original.pth", [tensor(name, values) for name, values in state.items()])
    convert(tmp_path / "original.pth", tmp_path / "made", to=to, level="none")
    (tmp_path / "run").mkdir()
    weights = (tmp_path / "made/model.safetensors").rename(tmp_path / "run/weights.safetensors")
    released = {"n_storage_tokens": 4, "mask_k_bias": True, "norm_layer": "layernormbf16", "arch": "vit"}
    student = {**OWN["dinov3"], **released, "pos_embed_rope_base": float(base), "patch_size": patch_size}
    (tmp_path / "run/config.yaml").write_text(json.dumps({"student": student}))
    report = convert(weights, tmp_path / "out", level="exact")
    [found] = [each for each in report.settings if each.name == "rope base"]
    assert float(found.value) == json.loads((tmp_path / "out/config.json").read_text())["rope_theta"] == followed
    assert ("rope base = " in str(report.verdict)) == (base == 1000)
    again = verify(tmp_path / "original.pth", tmp_path / "out", level="exact").verdict
    assert again.failed == (followed != base)


def test_a_base_that_periods_show_is_stored_whoever_says_it_too() -> None:
    given = Wishes().filled({"rope_theta": Stated(100.0, "rope_theta in hyper_parameters", Origin.INFERRED, True)})
    found = {each.name: each for each in reading("dinov3", OWN["dinov3"], wishes=given).settings}["rope base"]
    assert (found.origin, found.doubted) == (Origin.STORED, False)

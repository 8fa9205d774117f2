"""What a run's config says besides its tensors: taken where they are silent, refused in words where they are not."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from dinoport.codebases.codebase import Evidence, Reading
from dinoport.codebases.dinov2 import vit as v2
from dinoport.codebases.dinov3 import convnext, vit
from dinoport.formats.run_config import RunConfig
from dinoport.model import Origin, Setting, Wishes
from dinoport.networks.interpolation import SCALE_WITH_OFFSET, TO_SIZE_ANTIALIASED
from dinoport.networks.rotary_vit.architecture import RotaryViT
from dinoport.tensor import ArrayValues, TensorRef
from tests import formula
from tests.models import CONVNEXT, dinov2

V2 = dinov2(width=64, depth=1, heads=1, mlp_hidden=256, patch_size=14, image_size=98)
V3 = RotaryViT(width=64, depth=1, heads=1, mlp_hidden=256, patch_size=16)
MODELS: dict[str, tuple[Callable[[Evidence], Reading], Any]] = {
    "dinov2": (v2.read, V2),
    "dinov3": (vit.read, V3),
    "dinov3_convnext": (convnext.read, CONVNEXT),
}

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


def reading(
    name: str, student: Mapping[str, object], crops: int | None = None, wishes: Wishes | None = None
) -> Reading:
    read, model = MODELS[name]
    state = formula.state_dict(model.tensors())
    tensors = {key: TensorRef(key, data.dtype, data.shape, ArrayValues(data)) for key, data in state.items()}
    values = {"student": dict(student), "crops": {"global_crops_size": crops}}
    return read(
        Evidence("weights.pth", tensors, wishes=wishes or Wishes(), config=RunConfig("run/config.yaml", values))
    )


def input_size(found: Reading) -> list[Setting[object]]:
    return [setting for setting in found.settings if setting.name == "input size"]


@pytest.mark.parametrize(
    ("name", "setting", "said", "stored"),
    [
        ("dinov2", "patch_size", 16, "14"),
        ("dinov2", "ffn_layer", "swiglufused", "mlp"),
        ("dinov2", "num_register_tokens", 4, "0"),
        ("dinov2", "qkv_bias", False, "true"),
        ("dinov2", "proj_bias", False, "true"),
        ("dinov2", "ffn_bias", False, "true"),
        ("dinov2", "layerscale", 0.0, "a layer scale"),
        ("dinov3", "layerscale", 0.0, "a layer scale"),
        ("dinov3", "patch_size", 14, "16"),
        ("dinov3", "ffn_layer", "swiglu64", "mlp"),
        ("dinov3", "norm_layer", "rmsnorm", "layernorm or layernormbf16"),
        ("dinov3", "n_storage_tokens", 4, "0"),
        ("dinov3", "pos_embed_rope_base", 50.0, "100"),
        ("dinov3", "mask_k_bias", True, "false"),
        ("dinov3", "untie_cls_and_patch_norms", True, "false"),
        ("dinov3", "untie_global_and_local_cls_norm", True, "false"),
        ("dinov3", "qkv_bias", False, "true"),
        ("dinov3", "proj_bias", False, "true"),
        ("dinov3", "ffn_bias", False, "true"),
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


@pytest.mark.parametrize(("given", "is_noted"), [(1e-5, True), (1e-6, False)])
def test_an_eps_that_contradicts_the_config_is_followed_and_noted(given: float, is_noted: bool) -> None:
    found = reading("dinov3", OWN["dinov3"], wishes=Wishes(layer_norm_eps=given))
    assert found.architecture.layer_norm_eps == given
    note = (
        "config.yaml says student.norm_layer = layernorm, whose eps is 1e-06; "
        "--layer-norm-eps says 1e-05, and is followed"
    )
    assert found.remarks == ((note,) if is_noted else ())


def test_a_config_that_says_nothing_of_a_layer_scale_has_none() -> None:
    """As both codebases read it: nothing and 0 are one, and any number makes a layer scale."""
    for name in ("dinov2", "dinov3"):
        assert reading(name, {**OWN[name], "layerscale": 1e-5}).doubts == ()
        [doubt] = reading(name, {**OWN[name], "layerscale": None}).doubts
        assert doubt == "config.yaml says student.layerscale = 0, the tensors have a layer scale: ignored"


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

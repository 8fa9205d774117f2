"""What timm's config.json says besides the tensors: what moves outputs is taken, or refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dinoport.api import convert
from dinoport.codebases.timm.arguments import other_head, refuse_strange
from dinoport.codebases.timm.config import timm_config
from dinoport.errors import SettingError
from dinoport.formats.safetensors.writer import write_safetensors
from dinoport.networks.network import Features
from dinoport.report.report import Report
from tests import formula
from tests.models import VIT, classifying, renamed
from tests.writing.stub_tensors import tensor


def converted(folder: Path, model: Any = VIT, transform: object = None, **arguments: object) -> Report:
    source = folder / "timm"
    source.mkdir()
    state = formula.state_dict(renamed(model.tensors(), "classifier", "head"))
    write_safetensors(source / "model.safetensors", [tensor(name, each, block=1 << 20) for name, each in state.items()])
    classes = model.classifier.classes if model.classifier else 0
    config = {"architecture": "vit_small_patch16_224", "num_classes": classes, "model_args": arguments}
    (source / "config.json").write_text(json.dumps({**config, "pretrained_cfg": transform or {}}))
    return convert(source, folder / "out", level="exact", num_heads=None if "num_heads" in arguments else 4)


@pytest.mark.parametrize("arguments", [
    {"act_layer": "relu"}, {"norm_layer": "rmsnorm"}, {"qk_norm": True}, {"scale_attn_norm": True}, {"block_fn": "x"},
    {"rope_type": "cat"}, {"rope_rotate_half": False}, {"ref_feat_shape": [16, 16]}, {"a_later_one": 1},
    {"num_heads": 4.0}, {"num_heads": "4"}, {"num_heads": True}, {"num_heads": 0},
])  # fmt: skip
def test_an_argument_that_no_tensor_shows_is_refused_by_name(tmp_path: Path, arguments: dict[str, object]) -> None:
    [(name, value)] = arguments.items()
    with pytest.raises(SettingError) as caught:
        converted(tmp_path, **arguments)
    assert str(caught.value) == (
        f"the config.json of {tmp_path / 'timm'} says of a timm model what is not known here\n"
        "  where: config.json: model_args\n"
        "  expected: sizes that the tensors show\n"
        f"  found: {name} = {value!r}\n"
        "  likely cause: another model, or a later version of timm\n"
        "  try: if it computes what a DINO does: save its state dict with torch.save, and give that file"
    )


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"model_args": None}, "model_args = None"),
        ({"model_args": [1]}, "model_args = [1]"),
        ({"model_args": {}, "pretrained_cfg": "x"}, "pretrained_cfg = 'x'"),
        ({"model_args": 3, "pretrained_cfg": None}, "model_args = 3, pretrained_cfg = None"),
    ],
)
def test_a_config_that_timm_cannot_load_is_refused(fields: dict[str, object], found: str) -> None:
    with pytest.raises(SettingError) as caught:
        timm_config("folder", {"architecture": "vit_small_patch16_224", **fields})
    assert str(caught.value) == (
        "timm cannot load the config.json of folder\n"
        "  where: config.json\n"
        "  expected: an object in `model_args`, and one in `pretrained_cfg`\n"
        f"  found: {found}\n"
        "  likely cause: a config that was written by hand, or changed\n"
        "  try: mend it; or give the file of weights alone, with `num_heads=N`"
    )


def test_a_config_without_a_part_that_timm_needs_is_told_of() -> None:
    config = {"architecture": "vit_small_patch16_224", "model_args": {}}
    told = "timm itself cannot load this config.json: it has model_args, and no pretrained_cfg"
    for fields, warnings in (({}, (told,)), ({"pretrained_cfg": {}}, ())):
        assert timm_config("folder", {**config, **fields}).warnings == warnings


def test_arguments_that_are_shown_or_change_nothing_are_taken() -> None:
    sizes = {"img_size": [64, 64], "patch_size": 16, "embed_dim": 64, "depth": 2, "num_heads": 1, "init_values": None}
    training = {"drop_path_rate": 0.2, "weight_init": "jax"}
    refuse_strange("folder", {**sizes, **training, "act_layer": "gelu", "rope_type": "dinov3", "a_later_one": None})


def test_the_number_of_heads_is_taken(tmp_path: Path) -> None:
    settings = {setting.name: setting.value for setting in converted(tmp_path, num_heads=2).settings}
    assert settings["heads"] == "2"


@pytest.mark.parametrize(("pool", "class_name"), [
    ("token", "ViTForImageClassification"), (None, "ViTForImageClassification"), ("avg", "ViTModel"),
    ("max", "ViTModel"),
])  # fmt: skip
def test_a_classifier_is_taken_where_it_looks_at_the_cls_token(
    tmp_path: Path, pool: str | None, class_name: str
) -> None:
    report = converted(tmp_path, classifying(VIT, 5, Features.CLS), **({"global_pool": pool} if pool else {}))
    assert report.class_name == class_name
    reasons = {dropped.reason for dropped in report.accounting.dropped}
    assert any(f"global_pool = {pool!r}" in reason for reason in reasons) is (class_name == "ViTModel")


def test_what_a_head_looks_at_by_the_kind_of_network() -> None:
    assert other_head("vit_small_patch16_224", "token") is None
    assert other_head("resnet50", "avg") is None
    assert other_head("resnet50", "max") == (
        "its head looks at features that are not known here, as config.json says: global_pool = 'max'"
    )
    assert other_head("vit_small_patch16_224", "avg") == (
        "its head looks at the patch mean, as config.json says: global_pool = 'avg'"
    )


def transform_of(report: Report) -> dict[str, tuple[str, str]]:
    names = ("pixel mean", "pixel std", "resize", "crop", "filter")
    return {each.name: (each.value, each.reason) for each in report.settings if each.name in names}


def test_what_pretrained_cfg_leaves_out_is_as_timm_takes_it(tmp_path: Path) -> None:
    report = converted(tmp_path, transform={"input_size": [3, 64, 64], "mean": [0.5, 0.4, 0.3]}, num_heads=4)
    found = transform_of(report)
    otherwise = "as timm takes it where pretrained_cfg says nothing"
    assert {name for name, (_, reason) in found.items() if reason == otherwise} == {"pixel std", "resize", "filter"}
    assert found["pixel mean"] == ("0.5, 0.4, 0.3", "pretrained_cfg in config.json")
    assert found["pixel std"][0] == "0.229, 0.224, 0.225"
    assert (found["resize"][0], found["crop"][0]) == ("shorter side to 73", "centre 64×64")
    assert found["filter"][0].startswith("bicubic")


@pytest.mark.parametrize(("field", "value"), [
    ("interpolation", "lanczos"), ("crop_mode", "border"), ("crop_pct", 1.5), ("input_size", [3, 64, 48]),
    ("input_size", 64), ("mean", [0.5, None, 0.5]), ("std", [0.0, 1.0, 1.0]), ("std", []),
])  # fmt: skip
def test_a_transform_that_is_not_known_is_told_and_not_taken(tmp_path: Path, field: str, value: object) -> None:
    report = converted(tmp_path, transform={"mean": [0.5, 0.4, 0.3], field: value}, num_heads=4)
    assert f"the transform of pretrained_cfg is not taken: {field} = {value!r}" in report.remarks
    assert "pretrained_cfg in config.json" not in {reason for _, reason in transform_of(report).values()}


@pytest.mark.parametrize(("name", "other", "own"), [
    ("embed_dim", 128, 64), ("depth", 3, 2), ("patch_size", 14, 16), ("in_chans", 4, 3), ("reg_tokens", 4, 0),
])  # fmt: skip
def test_a_config_that_the_tensors_contradict_is_another_model_s(
    tmp_path: Path, name: str, other: int, own: int
) -> None:
    with pytest.raises(SettingError) as caught:
        converted(tmp_path, num_heads=2, **{name: other})
    assert str(caught.value) == (
        f"the config.json of {tmp_path / 'timm'} describes another model than the tensors\n"
        "  where: config.json: model_args\n"
        f"  expected: {name} = {own}\n"
        f"  found: {name} = {other}\n"
        "  likely cause: a config that was copied from elsewhere\n"
        "  try: give the folder as it was saved, or the file of weights alone"
    )

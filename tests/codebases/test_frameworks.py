"""What frameworks say besides their tensors, and which copy each of them means."""

import argparse
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dinoport.api import convert, plan
from dinoport.codebases.frameworks import CONVENTIONS, said_in
from dinoport.errors import PlanError, SettingError, UnknownModelError
from dinoport.model import Origin
from tests import formula, models

STATISTICS = {"mean": [0.4, 0.5, 0.6], "std": [0.3, 0.2, 0.1]}

LIGHTNING = {"pytorch-lightning_version": "2.6.6"}

MMENGINE = """
model = dict(type='ImageClassifier', backbone=dict(arch=dict(embed_dims=64, num_heads=4)))
data_preprocessor = dict(mean=[102.0, 127.5, 153.0], std=[76.5, 51.0, 25.5], to_rgb=True)
"""

SAYING: dict[str, dict[str, Any]] = {
    "LightlyTrain, pretraining": {**LIGHTNING, "lightly_train": {"normalize_args": STATISTICS}},
    "LightlyTrain, a task": {"model_class_path": "a.B", "model_init_args": {"image_normalize": STATISTICS}},
    "Lightning": {**LIGHTNING, "hyper_parameters": {"image_mean": (0.4, 0.5, 0.6), "image_std": (0.3, 0.2, 0.1)}},
    "mmengine": {"meta": {"mmengine_version": "0.10.7", "cfg": MMENGINE}},
    "mmcv": {"meta": {"mmcv_version": "1.7.0", "config": MMENGINE}},
}


def state(prefix: str = "", shift: float = 0.0) -> dict[str, torch.Tensor]:
    found = formula.state_dict(models.VIT.tensors())
    return {f"{prefix}{name}": torch.from_numpy(values) + shift for name, values in found.items()}


def processor(folder: Path) -> tuple[list[float], list[float]]:
    found = json.loads((folder / "preprocessor_config.json").read_text())
    return found["image_mean"], found["image_std"]


@pytest.mark.parametrize("framework", SAYING)
def test_statistics_are_stored(framework: str, tmp_path) -> None:
    torch.save({**SAYING[framework], "state_dict": state("backbone.vit.")}, tmp_path / "last.ckpt")
    report = convert(tmp_path / "last.ckpt", tmp_path / "out", level="exact", num_heads=1)
    assert processor(tmp_path / "out") == (STATISTICS["mean"], STATISTICS["std"])
    found = {setting.name: setting for setting in report.settings}
    assert found["pixel mean"].origin == found["pixel std"].origin == "stored"
    assert found["resize"].origin == "assumed"


@pytest.mark.parametrize(("said", "setting", "value", "reason"), [
    ("num_heads=4, norm_cfg=dict(type='LN', eps=1e-3)", "eps", "0.001", "norm_cfg in meta.cfg of mmengine"),
    ("'num_heads': 4, 'norm_cfg': {'type': 'LN'}", "eps", "1e-05", "norm_cfg in meta.cfg of mmengine"),
    ("arch='huge', img_size=64", "heads", "16", "arch in meta.cfg of mmengine"),
    ("arch=dict(num_heads=4), act_cfg=dict(type='GELU'), qk_scale=None", "heads", "4",
     "num_heads in meta.cfg of mmengine"),
    ("norm_cfg=dict(eps=1E-5, type='LN')", "eps", "1e-05", "norm_cfg in meta.cfg of mmengine"),
    ("patch_cfg=dict(norm_cfg=dict(type='LN')),\n  norm_cfg={'type': 'LN', 'eps': .001}", "eps", "0.001",
     "norm_cfg in meta.cfg of mmengine"),
    ("patch_cfg=dict(act_cfg=dict(type='ReLU')), num_heads=4", "heads", "4", "num_heads in meta.cfg of mmengine"),
    ("num_heads=1, qk_scale=0.125", "heads", "1", "num_heads in meta.cfg of mmengine"),
    ("num_heads=4, layer_cfgs=dict(qk_scale=.25)", "heads", "4", "num_heads in meta.cfg of mmengine"),
])  # fmt: skip
def test_a_config_of_openmmlab_says_eps_and_heads_by_name(said, setting, value, reason, tmp_path) -> None:
    """Width / 64 and 1e-6 were assumed once, beside a file that says otherwise."""
    text = f"model = dict(backbone=dict(type='VisionTransformer', {said}), head=dict(num_heads=2, eps=1))"
    width = 1280 if "huge" in said else 64
    tensors = formula.state_dict(replace(models.VIT, width=width, depth=1, mlp_hidden=8).tensors())
    own = {f"backbone.{name}": torch.from_numpy(each) for name, each in tensors.items()}
    torch.save({"state_dict": own, "meta": {"mmengine_version": "1", "cfg": text}}, tmp_path / "last.pth")
    found = {each.name: each for each in plan(tmp_path / "last.pth").settings}[setting]
    assert (found.value, found.origin, found.reason) == (value, "stored", reason)


@pytest.mark.parametrize(("said", "found"), [
    ("act_cfg=dict(type='QuickGELU')", "act_cfg QuickGELU"), ("'act_cfg': {'type': 'ReLU'}", "act_cfg ReLU"),
    ("layer_cfgs=dict(qk_scale=0.5)", "qk_scale 0.5"), ("qk_scale=.5", "qk_scale .5"),
    ("qk_scale=-0.125", "qk_scale -0.125"),
    ("layer_cfgs=[dict(act_cfg={'type': 'ReLU'})]", "act_cfg ReLU"),
])  # fmt: skip
def test_a_config_of_openmmlab_that_computes_otherwise_is_refused(said: str, found: str, tmp_path) -> None:
    text = f"model = dict(backbone=dict(num_heads=1, {said}))"
    meta = {"mmengine_version": "1", "cfg": text}
    torch.save({"state_dict": state("backbone."), "meta": meta}, tmp_path / "last.pth")
    with pytest.raises(SettingError, match=r"describes another model in its meta\.cfg\n") as caught:
        plan(tmp_path / "last.pth", num_heads=1)
    assert caught.value.found == found


@pytest.mark.parametrize("text", [
    *(f"backbone=dict(norm_cfg=dict(type='LN', eps={eps}))" for eps in ("5", "0", "1.2.3", "EPS", "{[]: 1}", "'a")),
    "encoder=dict(num_heads=1), decode_head=dict(norm_cfg=dict(type='LN', eps=1e-3), act_cfg=dict(type='ReLU'))",
    "backbone=dict(patch_cfg=dict(norm_cfg=dict(type='LN', eps=1e-3)))",
    "data_preprocessor=dict(mean=[1.2.3, 4, 5], std=[01, 2, 3])",
])  # fmt: skip
def test_what_a_config_of_openmmlab_does_not_say_of_its_backbone_is_not_taken(text: str, tmp_path) -> None:
    meta = {"mmengine_version": "1", "cfg": f"model = dict({text})"}
    torch.save({"state_dict": state("backbone."), "meta": meta}, tmp_path / "last.pth")
    found = {each.name: each for each in plan(tmp_path / "last.pth").settings}
    assert (found["eps"].value, found["eps"].origin) == ("1e-06", "assumed")
    assert "pixel mean" not in found or found["pixel mean"].origin == "assumed"


@pytest.mark.parametrize("beside", [True, 5, None, {"a": 1}, torch.tensor(0.9)], ids=repr)
@pytest.mark.parametrize("meta", [{}, SAYING["mmengine"]], ids=["own", "mmengine"])
def test_what_is_only_called_a_cls_token_breaks_nothing(beside: object, meta: dict[str, Any], tmp_path) -> None:
    torch.save({"model": state(), "state_dict": {"ema_cls_token": beside}, **meta}, tmp_path / "run.pth")
    assert plan(tmp_path / "run.pth").class_name == "ViTModel"


@pytest.mark.parametrize(
    ("said", "warned"),
    [
        ("to_rgb=False", True),
        ("bgr_to_rgb = False", True),
        ("'to_rgb': False", True),
        ("to_rgb=True", False),
        ("bgr_to_rgb=True, rgb_to_bgr=False", False),
        ("", False),
    ],
)
def test_pictures_that_keep_blue_in_front_are_warned_of(said: str, warned: bool, tmp_path) -> None:
    tree = {"meta": {"mmengine_version": "0.10.7", "cfg": MMENGINE.replace("to_rgb=True", said)}}
    torch.save({**tree, "state_dict": state("backbone.vit.")}, tmp_path / "last.pth")
    found = convert(tmp_path / "last.pth", tmp_path / "out", level="exact", num_heads=1).verdict.warnings
    order = "this model was given blue, green, red, and image processors give red, green, blue"
    assert (f"meta.cfg says to_rgb = False: {order}" in found) is warned


def test_the_user_s_option_wins_over_what_is_stored_field_by_field(tmp_path) -> None:
    torch.save({**SAYING["LightlyTrain, pretraining"], "state_dict": state("net.")}, tmp_path / "last.ckpt")
    report = convert(tmp_path / "last.ckpt", tmp_path / "out", level="exact", num_heads=1, image_mean=(0.1, 0.2, 0.3))
    assert processor(tmp_path / "out") == ([0.1, 0.2, 0.3], STATISTICS["std"])
    found = {setting.name: setting.origin for setting in report.settings}
    assert (found["pixel mean"], found["pixel std"]) == ("given", "stored")


@pytest.mark.parametrize(
    "found",
    [
        {"mean": [0.4, 0.5], "std": [0.3, 0.2]},
        {"mean": [0.4, 0.5, "0.6"], "std": [0.3, 0.2, 0.1]},
        {"mean": [0.4, 0.5, float("nan")], "std": [0.3, 0.2, 0.1]},
        {"mean": [0.4, 0.5, 0.6], "std": [0.0, 0.2, 0.1]},
        {"mean": [0.4, 0.5, 0.6]},
        None,
    ],
)
def test_statistics_that_are_none_are_not_taken(found: object) -> None:
    assert said_in("here", {"lightly_train": {"normalize_args": found}}).stated == {}


def test_hyper_parameters_say_heads_and_eps(tmp_path) -> None:
    given = {"num_heads": 4, "layer_norm_eps": 1e-5, "lr": 0.1, "model_name": "facebook/dinov2-small"}
    torch.save({**LIGHTNING, "hyper_parameters": given, "state_dict": state("vit.")}, tmp_path / "last.ckpt")
    report = convert(tmp_path / "last.ckpt", tmp_path / "out", level="exact")
    found = {setting.name: setting for setting in report.settings}
    assert (found["heads"].value, found["heads"].origin) == ("4", "stored")
    assert found["heads"].reason == "num_heads in hyper_parameters of Lightning"
    assert (found["eps"].value, found["eps"].origin) == ("1e-05", "stored")
    given = convert(tmp_path / "last.ckpt", tmp_path / "given", level="exact", num_heads=2)
    assert {setting.name: setting.value for setting in given.settings}["heads"] == "2"
    assert {setting.name: setting.value for setting in given.settings}["eps"] == "1e-05"


def timm_train(**asked: Any) -> dict[str, Any]:
    given = {"model": "vit_small_patch16_224", "model_kwargs": {"num_heads": 4}, "gp": None, **asked}
    head = {"head.weight": torch.ones(3, 64), "head.bias": torch.ones(3)}
    tree = {"arch": "vit_small_patch16_224", "args": argparse.Namespace(**given), "version": 2}
    return {**tree, "state_dict": {**state(), **head}, "state_dict_ema": {**state(shift=1.0), **head}}


def test_timm_s_training_says_heads_statistics_and_how_it_resamples(tmp_path) -> None:
    torch.save(timm_train(**STATISTICS), tmp_path / "last.pth.tar")
    report = convert(tmp_path / "last.pth.tar", tmp_path / "out", level="exact")
    found = {setting.name: setting for setting in report.settings}
    assert (found["heads"].value, found["heads"].origin) == ("4", "stored")
    assert found["interpolation"].origin == Origin.INFERRED.value
    assert processor(tmp_path / "out") == (STATISTICS["mean"], STATISTICS["std"])
    assert report.source.branch == "state_dict_ema"
    assert report.class_name == "ViTForImageClassification"


def test_a_head_over_a_mean_is_left_aside(tmp_path) -> None:
    torch.save(timm_train(gp="avg"), tmp_path / "last.pth.tar")
    report = convert(tmp_path / "last.pth.tar", tmp_path / "out", level="exact")
    assert report.class_name == "ViTModel"
    reasons = [line.reason for line in report.accounting.dropped if line.names.startswith("head.")]
    assert "its head looks at the patch mean, as its training says: global_pool = 'avg'" in reasons


def test_a_classifier_that_lightly_train_leaves_as_it_was_built_is_left_aside(tmp_path) -> None:
    """Its checkpoint pickles torchvision's and timm's models whole, and trains what lies below their classifier."""
    head = {"head.weight": torch.ones(3, 64), "head.bias": torch.ones(3)}
    torch.save({**LIGHTNING, "lightly_train": {"models": {"model": {**state(), **head}}}}, tmp_path / "last.ckpt")
    report = convert(tmp_path / "last.ckpt", tmp_path / "out", level="exact", num_heads=1)
    assert report.class_name == "ViTModel"
    reasons = [line.reason for line in report.accounting.dropped if line.names.startswith("head.")]
    assert reasons == ["LightlyTrain's pretraining leaves this layer as it was built"]


@pytest.mark.parametrize("convention", CONVENTIONS, ids=lambda each: f"{each.framework}-{each.taken}-{each.other}")
@pytest.mark.parametrize("seed", range(2))
def test_its_own_convention_chooses_whatever_the_order(convention: Any, seed: int, tmp_path) -> None:
    if convention.sign:
        pytest.skip("whose copies are keys of the file, and below")
    places = [(f"{convention.taken}.", 0.0), (f"{convention.other}.", 1.0)]
    random.Random(seed).shuffle(places)  # noqa: S311  # an order
    tree = {name: each for prefix, shift in places for name, each in state(f"{prefix}vit.", shift).items()}
    torch.save({"state_dict": tree}, tmp_path / "run.ckpt")
    report = convert(tmp_path / "run.ckpt", tmp_path / "out", level="exact", num_heads=1)
    assert report.source.branch == f"state_dict.{convention.taken}.vit"
    chosen = next(remark for remark in report.remarks if "was chosen" in remark)
    assert f"{convention.reason} ({convention.framework})" in chosen
    assert convention.other in chosen


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("meta", [{"mmengine_version": "0.10.7", "cfg": ""}, {"author": "me"}])
def test_mmengine_swaps_its_average_and_the_live_model(meta: dict[str, str], order: int, tmp_path) -> None:
    """`EMAHook.before_save_checkpoint` puts the average where the model is looked for."""
    copies = [("state_dict", state("backbone.")), ("ema_state_dict", {**state("module.backbone.", 1.0)})][::order]
    torch.save({"meta": meta, **dict(copies)}, tmp_path / "epoch_1.pth")
    chosen = " ".join(plan(tmp_path / "epoch_1.pth", num_heads=1).remarks)
    theirs = "state_dict.backbone was chosen, the average; its hook swaps both as it saves (MMEngine)"
    assert (theirs in chosen) == ("mmengine_version" in meta)
    assert ("ema_state_dict.module.backbone was chosen, the average of the run" in chosen) != (theirs in chosen)


@pytest.mark.parametrize("order", [1, -1])
def test_an_average_beside_the_live_model_is_taken_whatever_the_order(order: int, tmp_path) -> None:
    copies = [("ema_state_dict", state(shift=1.0)), ("model_state_dict", state())][::order]
    torch.save(dict(copies), tmp_path / "run.pth")
    report = convert(tmp_path / "run.pth", tmp_path / "out", level="exact", num_heads=1)
    assert report.source.branch == "ema_state_dict"
    assert any("the average of the run" in remark and "model_state_dict" in remark for remark in report.remarks)


def test_a_damaged_teacher_does_not_give_way_in_silence(tmp_path) -> None:
    cut = {name: each for name, each in state("teacher.vit.").items() if not name.endswith("norm.weight")}
    torch.save({"weights": {**cut, **state("other.vit.", 1.0)}}, tmp_path / "run.ckpt")
    with pytest.raises(PlanError, match=r"under weights.teacher.vit., but it is not whole\n  - norm.weight is missing"):
        convert(tmp_path / "run.ckpt", tmp_path / "out", level="exact", num_heads=1)


def resnet(config: str, name: str = "mmengine_version", key: str = "cfg") -> dict[str, object]:
    own = {
        f"backbone.{each}": torch.from_numpy(values)
        for each, values in formula.state_dict(models.RESNET.tensors()).items()
    }
    return {"state_dict": own, "meta": {name: "1", key: config}}


@pytest.mark.parametrize("key", ["cfg", "config"])
@pytest.mark.parametrize(
    "said",
    [
        "dilations=(1, 1, 2, 4)",
        "'dilations': [1, 1, 1, 2]",
        "strides=(1, 2, 1, 1)",
        "style='caffe'",
        '"style": "caffe"',
    ],
)
def test_a_config_of_a_resnet_that_strides_elsewhere_contradicts_its_names(said: str, key: str, tmp_path) -> None:
    """MMSegmentation's dilate, MMDetection's in the style of Caffe stride in the 1×1; both have torchvision's names."""
    text = f"model = dict(type='X', backbone=dict(type='ResNet', depth=50, {said}), neck={{}})"
    torch.save(resnet(text, key=key), tmp_path / "iter.pth")
    with pytest.raises(UnknownModelError, match="has a ResNet that is not computed as torchvision's") as raised:
        plan(tmp_path / "iter.pth")
    said = said.replace("'dilations': ", "dilations=").replace('"style": ', "style=")
    assert raised.value.found == f"{said.replace('=', ' ')} in meta.{key}"


@pytest.mark.parametrize(
    "text",
    [
        "backbone=dict(type='ResNet', depth=50, dilations=(1, 1, 1, 1), strides=[1, 2, 2, 2], style='pytorch')",
        "backbone=dict(type='ResNet', depth=50), decode_head=dict(dilations=(1, 12, 24, 36))",
        "",
    ],
)
def test_a_config_of_torchvision_s_resnet_is_taken(text: str, tmp_path) -> None:
    torch.save(resnet(f"model = dict({text})"), tmp_path / "iter.pth")
    assert plan(tmp_path / "iter.pth").class_name == "ResNetModel"

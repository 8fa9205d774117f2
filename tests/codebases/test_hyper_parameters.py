"""What `save_hyperparameters()` of Lightning kept: taken as settings, and held against the tensors."""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
# ruff: noqa: E402 (imports below need torch)

from safetensors.torch import load_file, save_file

from dinoport import convert, plan
from dinoport.codebases.hyper_parameters import hyper_parameters
from dinoport.errors import SettingError, UnknownModelError
from dinoport.formats.torch.stand_ins import Opaque
from dinoport.report.report import Report
from tests.finding.test_places import state
from tests.models import VIT

HEADS = {"num_heads": 4}


def planned(folder: Path, given: object, network: str = "vit", **asked: Any) -> Report:
    tree = {"pytorch-lightning_version": "2.6.6", "epoch": 3, "state_dict": state(network, "encoder.")}
    torch.save({**tree, "hyper_parameters": given}, folder / "last.ckpt")
    return plan(folder / "last.ckpt", **asked)


def omega(values: dict[str, Any]) -> Opaque:
    """A config as OmegaConf pickles it: each value in a node of its own."""
    nodes = {name: omega(each) if isinstance(each, dict) else Opaque("omegaconf.nodes.AnyNode", (), {"_val": each})
             for name, each in values.items()}  # fmt: skip
    return Opaque("omegaconf.dictconfig.DictConfig", (), {"_metadata": None, "_parent": None, "_content": nodes})


@pytest.mark.parametrize(("given", "heads", "eps"), [
    ({"num_heads": 4, "layer_norm_eps": 1e-5}, "num_heads", "layer_norm_eps"),
    ({"model": {"num_heads": 4, "eps": 1e-5}, "lr": 0.1}, "model.num_heads", "model.eps"),
    ({"cfg": {"backbone": {"heads": 4, "depth": 2, "norm_eps": 1e-5}}}, "cfg.backbone.heads", "cfg.backbone.norm_eps"),
    (argparse.Namespace(num_attention_heads=4, norm_eps=1e-5), "num_attention_heads", "norm_eps"),
    ({"num_heads": 4, "layer_norm_eps": "1e-5"}, "num_heads", "layer_norm_eps"),
    ({"args": argparse.Namespace(vit={"num_heads": 4, "eps": 1e-5})}, "args.vit.num_heads", "args.vit.eps"),
])  # fmt: skip
def test_heads_and_eps_in_any_form(given, heads, eps, tmp_path: Path) -> None:
    found = {each.name: each for each in planned(tmp_path, given).settings}
    assert (found["heads"].value, found["heads"].origin) == ("4", "stored")
    assert found["heads"].reason == f"{heads} in hyper_parameters of Lightning"
    assert (found["eps"].value, found["eps"].reason) == ("1e-05", f"{eps} in hyper_parameters of Lightning")


def test_a_config_of_omegaconf() -> None:
    found = hyper_parameters({"cfg": omega({"model": {"num_heads": 4, "eps": 1e-5, "patch_size": 16}})})
    assert {name: each.value for name, each in found.stated.items()} == {"num_heads": 4, "layer_norm_eps": 1e-5}
    assert found.sizes == {"patch_size": (16, "cfg.model.patch_size")}


@pytest.mark.parametrize("given", [
    {"heads": 4}, {"num_heads": True}, {"num_heads": "4"}, {"num_heads": 4.0}, {"decoder": HEADS},
    {"text_model": HEADS}, {"neck": {"inner": HEADS}}, {"optimizer": {"eps": 1e-8, "num_heads": 4}},
    [HEADS], None, "num_heads=4", {"layer_norm_eps": "1.2.3e-5"}, {"layer_norm_eps": ".e-5"},
])  # fmt: skip
def test_what_may_be_another_s_is_not_taken(given, tmp_path: Path) -> None:
    found = {each.name: each.origin for each in planned(tmp_path, given).settings}
    assert (found["heads"], found["eps"]) == ("assumed", "assumed")


def test_the_eps_of_an_optimizer_is_said(tmp_path: Path) -> None:
    report = planned(tmp_path, {"num_heads": 4, "patch_size": 16, "lr": 0.1, "eps": 1e-8})
    assert "eps 1e-08 in hyper_parameters of Lightning was not taken: it may be the optimizer's" in report.remarks
    assert {each.name: each.value for each in report.settings}["eps"] == "1e-06"


REFUSED = "{} {} in its hyper_parameters of Lightning\n  expected: {}\n  found: {}\n" \
    "  likely cause: values that are another layer's, or an earlier run's\n" \
    "  try: add `num_heads=N`, with N from the code that trained the model"  # fmt: skip


@pytest.mark.parametrize(("given", "what", "expected", "found"), [
    ({**HEADS, "patch_size": 8}, "describes another model", "16, as the tensors have it", "patch_size 8"),
    ({**HEADS, "patch_size": (8, 8)}, "describes another model", "16, as the tensors have it", "patch_size 8"),
    ({"vit": {**HEADS, "embed_dim": 32}}, "describes another model", "64, as the tensors have it", "vit.embed_dim 32"),
    ({**HEADS, "depth": 12}, "describes another model", "2, as the tensors have it", "depth 12"),
    ({**HEADS, "n_heads": 2}, "says two numbers of heads", "one number for the backbone", "num_heads 4, n_heads 2"),
    ({"a": HEADS, "b": {"num_heads": 8}}, "says two numbers of heads", "one number for the backbone",
     "a.num_heads 4, b.num_heads 8"),
])  # fmt: skip
def test_a_contradiction_is_refused(given, what, expected, found, tmp_path: Path) -> None:
    with pytest.raises(SettingError) as caught:
        planned(tmp_path, given)
    assert str(caught.value) == REFUSED.format(tmp_path / "last.ckpt", what, expected, found)
    assert caught.value.missing == "num_heads"
    assert {each.name: each.value for each in planned(tmp_path, given, num_heads=2).settings}["heads"] == "2"


@pytest.mark.parametrize(("given", "found"), [
    ({"qk_norm": True}, "qk_norm: True"), ({**HEADS, "vit": {"use_qk_norm": True}}, "vit.use_qk_norm: True"),
    (argparse.Namespace(model={"qk_layernorm": True}), "model.qk_layernorm: True"),
    ({"vit": {**HEADS, "hidden_act": "relu"}}, "vit.hidden_act: relu"),
    ({**HEADS, "act_layer": "gelu_pytorch_tanh"}, "act_layer: gelu_pytorch_tanh"),
])  # fmt: skip
def test_norms_that_no_tensor_shows_are_refused(given, found, tmp_path: Path) -> None:
    with pytest.raises(SettingError) as caught:
        planned(tmp_path, given)
    assert str(caught.value) == (
        f"{tmp_path / 'last.ckpt'} describes another model in its hyper_parameters of Lightning\n"
        "  expected: queries and keys without norms or a scale of their own, and an exact GELU or a gate by SiLU\n"
        f"  found: {found}\n"
        "  likely cause: parts without weights, which no tensor shows, or another layer's values\n"
        "  try: if the backbone has no such part: save its state dict alone with torch.save, and give that"
    )


@pytest.mark.parametrize(("sides", "refused"), [
    ([128, 32], True), ((32, 128), True), ([64, 64], False), ([128, 64], False), (["a", 32], False),
    ([128, 32, 1], False),
])  # fmt: skip
def test_a_table_for_pictures_that_are_not_square_is_refused(sides, refused: bool, tmp_path: Path) -> None:
    """It has 16 rows, as many as a square of 64 pixels; that it is none stands nowhere else."""
    given = {"vit": {**HEADS, "img_size": sides}}
    if not refused:
        assert planned(tmp_path, given).class_name == "ViTModel"
        return
    with pytest.raises(UnknownModelError, match="has positions for pictures that are not square") as caught:
        planned(tmp_path, given)
    assert caught.value.found == f"{sides[0]}×{sides[1]} pixels, as vit.img_size in hyper_parameters of Lightning says"


@pytest.mark.parametrize("key", ["config", "model_args", "args"])
def test_a_training_s_arguments_say_it_too(key: str, tmp_path: Path) -> None:
    torch.save({"model": state("vit"), key: argparse.Namespace(img_size=(128, 32), lr=0.1)}, tmp_path / "run.pth")
    with pytest.raises(UnknownModelError, match="has positions for pictures that are not square") as caught:
        plan(tmp_path / "run.pth", num_heads=4)
    assert caught.value.found == f"128×32 pixels, as img_size in {key} says"


@pytest.mark.parametrize("given", [
    {"qk_norm": False}, {"decoder": {"qk_norm": True}}, {"use_qk_norm": None}, {"hidden_act": "relu"},
    {**HEADS, "act_layer": "nn.GELU"}, {**HEADS, "hidden_act": "gelu", "decoder": {**HEADS, "hidden_act": "relu"}},
])  # fmt: skip
def test_norms_of_another_layer_are_none(given, tmp_path: Path) -> None:
    assert planned(tmp_path, given).class_name == "ViTModel"


@pytest.mark.parametrize("part", [{"embed_dim": 384}, {"depth": 12}])
def test_an_eps_of_another_model_is_refused(part: dict[str, int], tmp_path: Path) -> None:
    given = {"vit": {**part, "norm_eps": 1e-5}}
    with pytest.raises(SettingError, match="describes another model in its hyper_parameters of Lightning") as caught:
        planned(tmp_path, given, num_heads=2)
    assert caught.value.missing == "layer_norm_eps"
    found = planned(tmp_path, given, num_heads=2, layer_norm_eps=1e-6)
    assert {each.name: each.origin for each in found.settings}["eps"] == "given"


def test_weights_that_show_other_heads() -> None:
    own, architecture = hyper_parameters({"vit": HEADS}), replace(VIT, heads=4)
    own.refuse_unlike("last.ckpt", architecture, 4, assumed=False)
    own.refuse_unlike("last.ckpt", architecture, None, assumed=False)
    with pytest.raises(SettingError) as caught:
        own.refuse_unlike("last.ckpt", architecture, 8, assumed=False)
    what = "says another number of heads than the weights show"
    assert str(caught.value) == REFUSED.format("last.ckpt", what, "8 heads", "vit.num_heads 4")


def test_the_weights_are_asked(tmp_path: Path) -> None:
    assert planned(tmp_path, HEADS).heads
    assert not planned(tmp_path, HEADS, num_heads=4).heads


def test_a_size_that_nothing_is_taken_with_is_said(tmp_path: Path) -> None:
    remarks = planned(tmp_path, {"patch_size": 256, "img_size": 224}).remarks
    assert "patch_size 256 in hyper_parameters of Lightning is not this model's: its tensors have 16" in remarks
    assert "img_size 224 in hyper_parameters of Lightning is not this model's: its tensors have 64" in remarks


def test_two_values_of_eps_are_said(tmp_path: Path) -> None:
    remarks = planned(tmp_path, {"layer_norm_eps": 1e-5, "norm_eps": 1e-12}).remarks
    said = "and neither was taken: layer_norm_eps 1e-05, norm_eps 1e-12"
    assert f"two values stand in hyper_parameters of Lightning, {said}" in remarks


def test_two_numbers_of_heads_where_the_tensors_tell(tmp_path: Path) -> None:
    report = planned(tmp_path, {"a": HEADS, "b": {"num_heads": 8}}, "dinov3")
    assert {each.name: each.value for each in report.settings}["heads"] == "2"
    assert planned(tmp_path, {"a": HEADS, "b": {"num_heads": 8}}, "convnext")


@pytest.mark.parametrize("sign", ["vocab_size", "num_key_value_heads", "max_position_embeddings"])
def test_the_part_of_a_language_model_is_not_the_backbones(sign: str, tmp_path: Path) -> None:
    """Whatever it is called: its heads refused the backbone, and its base of rotation was taken for it."""
    qwen = {"num_attention_heads": 28, "hidden_size": 3584, "rope_theta": 1_000_000.0, sign: 32_768}
    found = {each.name: each for each in planned(tmp_path, {"qwen": qwen, "vit": HEADS}).settings}
    assert (found["heads"].value, found["heads"].reason) == ("4", "vit.num_heads in hyper_parameters of Lightning")
    assert hyper_parameters({"qwen": qwen}).stated == {}


@pytest.mark.parametrize("given", [{"rope_theta": 1000}, {"cfg": {**HEADS, "rope_theta": 1000.0}}])
def test_the_base_of_rotation_of_a_model_whose_names_have_no_periods(given: Any, tmp_path: Path) -> None:
    """100 was assumed once, beside a file that says otherwise. Where periods are stored, they tell."""
    torch.save(state("dinov3"), tmp_path / "bare.pth")
    convert(tmp_path / "bare.pth", tmp_path / "folder", level="exact")
    tensors = load_file(tmp_path / "folder" / "model.safetensors")
    torch.save({"pytorch-lightning_version": "2.6.6", "state_dict": tensors, "hyper_parameters": given}, tmp_path / "f")
    found = {each.name: each for each in plan(tmp_path / "f", num_heads=2).settings}["rope base"]
    assert (found.value, found.origin) == ("1000.0", "inferred")
    report = convert(tmp_path / "f", tmp_path / "again", num_heads=2, level="exact")
    assert any(named.startswith("rope base = 1000.0 (") for named in report.verdict.named)
    stored = {each.name: each for each in planned(tmp_path, given, "dinov3", num_heads=2).settings}["rope base"]
    assert (stored.value, stored.reason) == ("100.0", "rope_embed.periods")


@pytest.mark.parametrize("key", ["config", "cfg", "hparams", "model_config"])
def test_a_users_own_config_beside_the_model_is_read(key: str, tmp_path: Path) -> None:
    """Width / 64 was assumed once, beside a file that says otherwise."""
    torch.save({"model": state("vit"), key: {"vit": HEADS, "epochs": 3}}, tmp_path / "run.pth")
    found = {each.name: each for each in plan(tmp_path / "run.pth").settings}
    assert (found["heads"].value, found["heads"].reason) == ("4", f"vit.num_heads in {key}")
    torch.save({"model": state("vit"), key: {"a": HEADS, "b": {"num_heads": 8}}}, tmp_path / "run.pth")
    with pytest.raises(SettingError, match=f"says two numbers of heads in its {key}\n"):
        plan(tmp_path / "run.pth")


@pytest.mark.parametrize("beside", [
    {"args": argparse.Namespace(**HEADS, lr=0.1)}, {"opt": {"vit": HEADS}}, {"meta": HEADS}, {"init_args": HEADS},
    {"num_heads": 4, "epoch": 3}, {"args": HEADS, "config": {"lr": 0.1}},
])  # fmt: skip
def test_what_lies_under_any_other_key_is_read_and_named(beside: dict[str, Any], tmp_path: Path) -> None:
    """It may be a decoder's: the verdict says where it was taken from, as no tensor confirms it."""
    torch.save({"model": state("vit"), **beside}, tmp_path / "run.pth")
    report = convert(tmp_path / "run.pth", tmp_path / "out", level="exact")
    assert [each for each in report.verdict.named if each.startswith("heads = 4 (")], report.verdict


@pytest.mark.parametrize(
    "key", ["optimizer", "head_args", "Decoder_cfg", "LOSS", "detector", "classifier", "metadata2"]
)
def test_keys_of_other_parts_are_told_whatever_their_case(key: str, tmp_path: Path) -> None:
    torch.save({"model": state("vit"), key: {**HEADS, "layer_norm_eps": 1e-3}}, tmp_path / "run.pth")
    found = {each.name: each.origin for each in plan(tmp_path / "run.pth").settings}
    assert {found["heads"], found["eps"]} == {"inferred" if key == "metadata2" else "assumed"}


@pytest.mark.parametrize(("beside", "said"), [
    ({"args": argparse.Namespace(num_heads=8, embed_dim=256, norm_eps=1e-3)}, "embed_dim 256 in args"),
    ({"num_heads": 4, "depth": 7}, "depth 7 in own keys"),
    ({"opts": {"a": {**HEADS, "depth": 7}}}, "a.depth 7 in opts"),
])  # fmt: skip
def test_what_lies_elsewhere_and_describes_another_model_is_not_taken(beside, said: str, tmp_path: Path) -> None:
    torch.save({"model": state("vit"), **beside}, tmp_path / "run.pth")
    report = plan(tmp_path / "run.pth")
    found = {each.name: (each.value, each.origin) for each in report.settings}
    assert (found["heads"], found["eps"]) == (("1", "assumed"), ("1e-06", "assumed"))
    assert any(each.startswith(f"{said} is not this model's") for each in report.remarks)


@pytest.mark.parametrize(("config", "said"), [
    (HEADS, "num_heads"), ({"encoder": HEADS, "classes": 3}, "encoder.num_heads"),
    ({"architectures": ["Mine"], "auto_map": {}, "vision": HEADS}, "vision.num_heads"),
])  # fmt: skip
def test_the_config_of_a_users_own_class_in_a_folder(config: dict[str, Any], said: str, tmp_path: Path) -> None:
    """As PyTorchModelHubMixin writes it, and repositories with code of their own."""
    (folder := tmp_path / "mine").mkdir()
    save_file(state("vit", "net."), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    report = convert(folder, tmp_path / "out", level="exact")
    assert f"heads = 4 ({said} in config.json)" in report.verdict.named
    (folder / "config.json").write_text(json.dumps({**HEADS, "embed_dim": 32}))
    with pytest.raises(SettingError, match=r"describes another model in its config\.json\n"):
        plan(folder)


def test_several_configs_are_read_as_one(tmp_path: Path) -> None:
    def heads(**configs: object) -> tuple[str, str]:
        torch.save({"model": state("vit"), **configs}, tmp_path / "run.pth")
        found = {each.name: each for each in plan(tmp_path / "run.pth").settings}["heads"]
        return found.value, found.reason

    for more in ("cfg", "metadata", "args"):
        with pytest.raises(SettingError, match="says two numbers of heads in its configs\n"):
            heads(config=HEADS, **{more: {"num_heads": 8}})
    assert heads(config={"norm_eps": 1e-6}, model_config=HEADS) == ("4", "model_config.num_heads in configs")
    with pytest.raises(SettingError, match="says two numbers of heads in its configs\n") as caught:
        heads(config=HEADS, model_config={"num_heads": 8})
    assert caught.value.found == "config.num_heads 4, model_config.num_heads 8"


def test_a_decoders_heads_are_not_the_backbones(tmp_path: Path) -> None:
    text = "model = dict(backbone=dict(type='ViT', arch='base'), decode_head=dict(num_heads=8))"
    meta = {"mmengine_version": "1", "cfg": text}
    torch.save({"meta": meta, "state_dict": state("vit", "backbone.")}, tmp_path / "run.pth")
    found = {each.name: each.origin for each in plan(tmp_path / "run.pth").settings}
    assert found["heads"] == "assumed"


@pytest.mark.parametrize(("text", "heads"), [
    ("model = dict(backbone=dict(type='ViT', num_heads=4), decode_head=dict(num_heads=8))", "4"),
    ("model = dict(decode_head=dict(num_heads=8), backbone={'a': [1, (2,)], 'num_heads': 4})", "4"),
    ("num_heads = 4", "4"),
])  # fmt: skip
def test_heads_of_the_backbone_in_a_config_that_is_text(text: str, heads: str, tmp_path: Path) -> None:
    torch.save(
        {"meta": {"mmengine_version": "1", "cfg": text}, "state_dict": state("vit", "backbone.")}, tmp_path / "f"
    )
    found = {each.name: each for each in plan(tmp_path / "f").settings}["heads"]
    assert (found.value, found.reason) == (heads, "num_heads in meta.cfg of mmengine")


@pytest.mark.parametrize("text", [
    "encoder=dict(num_heads=4)\ndecoder=dict(num_heads=8)",
    "model=dict(teacher=dict(backbone=dict(a=[1], num_heads=8)), backbone=dict(num_heads=4))",
])  # fmt: skip
def test_several_heads_in_a_config_that_is_text(text: str, tmp_path: Path) -> None:
    meta = {"mmengine_version": "1", "cfg": text}
    torch.save({"meta": meta, "state_dict": state("vit", "backbone.")}, tmp_path / "run.pth")
    with pytest.raises(SettingError, match=r"says two numbers of heads in its meta\.cfg\n") as caught:
        plan(tmp_path / "run.pth")
    assert caught.value.found == "num_heads 4, num_heads 8"

"""A model is found below any prefix, whatever framework wrote it, and what stands beside it is left aside."""

import json
import random
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dinoport.api import convert, plan
from dinoport.errors import PlanError, SettingError, UsageError
from dinoport.report.report import Report
from tests import formula, models
from tests.codebases import relatives
from tests.models import weights

MODELS = {"vit": models.VIT, "dinov2": models.V2, "dinov3": models.V3, "convnext": models.CONVNEXT}
MODELS |= {"deep": replace(models.V2, depth=3)}
HEADS = {"deep": {"num_heads": 1}, "vit": {"num_heads": 1}, "dinov2": {"num_heads": 1}, "dinov3": {}, "convnext": {}}

PARTS = ("model", "net", "encoder", "vit", "_orig_mod", "module", "backbone", "wrapped_model", "_model", "vision_tower")


def state(name: str, prefix: str = "", shift: float = 0.0) -> dict[str, torch.Tensor]:
    found = formula.state_dict(MODELS[name].tensors())
    return {f"{prefix}{key}": torch.from_numpy(values + type(values.flat[0])(shift)) for key, values in found.items()}


def as_alone(source: Path, name: str = "vit", **asked: object) -> Report:
    """The report of a conversion, whose weights are those of the model in a file of its own."""
    torch.save(state(name), source.with_name("bare.pth"))
    convert(source.with_name("bare.pth"), source.with_name("ours"), level="exact", **HEADS[name])
    report = convert(source, source.with_name("theirs"), level="exact", **HEADS[name], **asked)
    assert weights(source.with_name("theirs")) == weights(source.with_name("ours"))
    return report


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("seed", range(6))
def test_it_is_found_below_any_prefix(name: str, seed: int, tmp_path) -> None:
    chance = random.Random(f"{name}{seed}")  # noqa: S311  # a choice of names
    prefix = ".".join(chance.sample(PARTS, chance.randint(1, 4))) + "."
    beside = {"head.weight": torch.ones(3, 64), "decoder.blocks.0.norm.weight": torch.ones(4), "step": torch.tensor(7)}
    tree = {**state(name, prefix), **beside}
    keys = chance.sample(("state_dict", "train_model", "weights"), chance.randint(0, 2))
    items = list(tree.items())
    chance.shuffle(items)
    tree = dict(items)
    for key in keys:
        tree = {key: tree, "epoch": 3}
    torch.save(tree, tmp_path / "wrapped.ckpt")
    report = as_alone(tmp_path / "wrapped.ckpt", name)
    dropped = " ".join(line.names for line in report.accounting.dropped)
    assert "decoder.blocks.0.norm.weight" in dropped


def grouped(tree: dict[str, torch.Tensor], size: int, *, anew: bool = False) -> dict[str, torch.Tensor]:
    """The same, its blocks in groups of so many, as `block_chunks` names them; `anew` counts them in each group."""

    def name(found: re.Match[str]) -> str:
        block = int(found[1])
        return f"blocks.{block // size}.{block % size if anew else block}."

    return {re.sub(r"blocks\.(\d+)\.", name, key): each for key, each in tree.items()}


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("prefix", ["", "encoder.", "depth_model.encoder.", "module.net.backbone.", "net.vit.model."])
def test_grouped_blocks_are_counted_through_below_any_prefix(prefix: str, size: int, tmp_path) -> None:
    beside = {"decoder.blocks.0.0.attn.qkv.weight": torch.ones(4, 4), "projector.weight": torch.ones(3, 64)}
    torch.save({"model": grouped(state("deep", prefix), size) | (beside if prefix else {})}, tmp_path / "run.pth")
    report = as_alone(tmp_path / "run.pth", "deep")
    count = sum(name.startswith("blocks.") for name in state("deep"))
    said = f"block chunks flattened in {count} names: blocks.{{chunk}}.{{block}} became blocks.{{block}}"
    assert said in report.source.stripped


@pytest.mark.parametrize("prefix", ["enc.", "net.vit."])
def test_stages_that_count_their_own_blocks_are_not_groups(prefix: str, tmp_path) -> None:
    torch.save(grouped(state("deep", prefix), 2, anew=True), tmp_path / "run.pth")
    with pytest.raises(PlanError):
        convert(tmp_path / "run.pth", tmp_path / "out", level="exact", num_heads=1)


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(
    ("preferred", "other"),
    [
        ("teacher_backbone.vit.", "student_backbone.vit."),
        ("ema.net.vit.", "online.net.vit."),
        ("net_ema.vit.", "net.vit."),
        ("swa.net.vit.", "live.net.vit."),
        ("encoder.vit.", "student.encoder.vit."),
        ("encoder.vit.", "momentum_encoder.vit."),
    ],
)
def test_the_convention_chooses_whatever_the_order(preferred: str, other: str, order: int, tmp_path) -> None:
    parts = [state("vit", preferred), state("vit", other, shift=1.0)][::order]
    torch.save({"state_dict": {**parts[0], **parts[1]}}, tmp_path / "run.ckpt")
    report = as_alone(tmp_path / "run.ckpt")
    assert any("was chosen" in remark and other.rstrip(".") in remark for remark in report.remarks)
    convert(tmp_path / "run.ckpt", tmp_path / "asked", level="exact", num_heads=1, prefix=f"state_dict.{other}")
    assert weights(tmp_path / "asked") != weights(tmp_path / "ours")


def test_two_without_a_convention_are_asked_for(tmp_path) -> None:
    torch.save({**state("vit", "left.vit."), **state("vit", "right.vit.", shift=1.0)}, tmp_path / "two.ckpt")
    with pytest.raises(SettingError) as caught:
        convert(tmp_path / "two.ckpt", tmp_path / "out", level="exact", num_heads=1)
    assert str(caught.value) == (
        f"{tmp_path / 'two.ckpt'} holds several models, and nothing says which one is meant\n"
        "  expected: `prefix` with one of them\n"
        "  found: left.vit., right.vit.\n"
        "  try: add `prefix='left.vit.'`"
    )
    convert(tmp_path / "two.ckpt", tmp_path / "out", level="exact", num_heads=1, prefix="right.vit.")


def test_a_word_that_others_have_in_them_is_no_role(tmp_path) -> None:
    parts = {**state("vit", "semantic.vit."), **state("vit", "instance.vit.", shift=1.0)}
    torch.save(parts, tmp_path / "two.ckpt")
    with pytest.raises(SettingError, match="holds several models"):
        convert(tmp_path / "two.ckpt", tmp_path / "out", level="exact", num_heads=1)


def test_copies_of_one_storage_are_one(tmp_path) -> None:
    own = state("vit")
    both = {f"{prefix}{key}": each for prefix in ("left.vit.", "right.vit.") for key, each in own.items()}
    torch.save(both, tmp_path / "shared.ckpt")
    report = convert(tmp_path / "shared.ckpt", tmp_path / "out", level="exact", num_heads=1)
    assert "the same tensors also lie under right.vit." in report.remarks
    for prefix in ("left.vit.", "right.vit."):
        convert(tmp_path / "shared.ckpt", tmp_path / prefix, level="exact", num_heads=1, prefix=prefix)
        assert weights(tmp_path / prefix) == weights(tmp_path / "out")


def test_copies_of_one_value_are_one_wherever_they_lie(tmp_path) -> None:
    both = {**state("vit", "left.vit."), **state("vit", "right.vit.")}
    torch.save({**both, **state("vit", "student.vit.", shift=1.0)}, tmp_path / "saved.ckpt")
    report = convert(tmp_path / "saved.ckpt", tmp_path / "out", level="exact", num_heads=1)
    assert "the same tensors also lie under right.vit." in report.remarks
    assert any(
        remark.startswith("left.vit was chosen, the copy without a role")
        and "also in the file: student.vit (" in remark
        for remark in report.remarks
    )
    both["right.vit.norm.bias"] = both["right.vit.norm.bias"] + 1
    torch.save(both, tmp_path / "other.ckpt")
    with pytest.raises(SettingError, match="holds several models"):
        convert(tmp_path / "other.ckpt", tmp_path / "none", level="exact", num_heads=1)


@pytest.mark.parametrize(("prefix", "meant"), [
    ("teacher.", "`prefix='teacher.backbone.'`"),
    ("studnt.", "`prefix='student.module.backbone.'`"),
    ("student", "`prefix='student.module.backbone.'`"),
    ("ema", "`prefix='ema.left.vit.'` or `prefix='ema.right.vit.'`"),
    ("zzz", "`dinoport.inspect("),
])  # fmt: skip
def test_places_that_begin_as_the_prefix_does_or_nearly(tmp_path, prefix, meant) -> None:
    both = {**state("vit", "left.vit."), **state("vit", "right.vit.", shift=1.0)}
    copies = {"teacher": state("vit", "backbone."), "student": state("vit", "module.backbone.", shift=2.0)}
    torch.save({**copies, "ema": both}, tmp_path / "run.ckpt")
    with pytest.raises(SettingError) as caught:
        convert(tmp_path / "run.ckpt", tmp_path / "out", level="exact", num_heads=1, prefix=prefix)
    assert meant in str(caught.value)


def test_a_prefix_that_is_nearly_right_gets_a_hint(tmp_path) -> None:
    torch.save({"state_dict": state("vit", "encoder.vit.")}, tmp_path / "run.ckpt")
    with pytest.raises(SettingError, match="did you mean: `prefix='state_dict"):
        convert(tmp_path / "run.ckpt", tmp_path / "out", level="exact", num_heads=1, prefix="state_dict.encoder.vti")
    with pytest.raises(UsageError, match="both say where the model lies"):
        convert(tmp_path / "run.ckpt", tmp_path / "out", prefix="state_dict.encoder.vit.", checkpoint_key="teacher")


HURT = {
    "a tensor": ("vit", "norm.weight", None, ["norm.weight is missing"]),
    "a bias of one block": (
        "deep", "blocks.1.mlp.fc1.bias", None, ["blocks.1.mlp.fc1.bias is missing, though other blocks have it"]),
    "the first of a part": (
        "deep", "blocks.0.ls1.gamma", None, ["blocks.0.ls1.gamma is missing, though other blocks have it"]),
    "the table": ("dinov2", "pos_embed", None, ["pos_embed is missing"]),
    "the CLS token": ("dinov2", "cls_token", None, ["cls_token is missing"]),
    "the patches": ("dinov3", "patch_embed.proj.weight", None, ["patch_embed.proj.weight is missing"]),
    "the stem": ("convnext", "downsample_layers.0.0.weight", None, ["downsample_layers.0.0.weight is missing"]),
    "a shape": ("dinov3", "norm.weight", (7,), ["norm.weight has shape (7,) where (64,) was expected"]),
    "a shape of one block": (
        "deep", "blocks.0.norm1.weight", (7,), ["blocks.0.norm1.weight has shape (7,) where other blocks have (64,)"]),
}  # fmt: skip

TITLES = {
    "deep": "a DINOv2 ViT",
    "vit": "a ViT (codebase not known)",
    "dinov2": "a DINOv2 ViT",
    "dinov3": "a DINOv3 ViT",
    "convnext": "a DINOv3 ConvNeXt",
}


@pytest.mark.parametrize("hurt", HURT)
def test_an_incomplete_one_is_named_and_not_taken(hurt: str, tmp_path) -> None:
    name, gone, shape, lines = HURT[hurt]
    tree = state(name, "encoder.vit.")
    del tree[f"encoder.vit.{gone}"]
    if shape:
        tree[f"encoder.vit.{gone}"] = torch.ones(shape)
    assert said(tree, tmp_path, **HEADS[name]) == whole_message(tmp_path, TITLES[name], lines)


@pytest.mark.parametrize("name", ["vit", "dinov2", "dinov3"])
def test_a_gap_between_blocks_is_one_line(name: str, tmp_path) -> None:
    tree = {key.replace("blocks.1.", "blocks.4."): each for key, each in state(name, "encoder.vit.").items()}
    lines = ["blocks.{1…3} is missing, though there is blocks.4"]
    assert said(tree, tmp_path, **HEADS[name]) == whole_message(tmp_path, TITLES[name], lines)


def said(tree: dict[str, torch.Tensor], folder: Path, **asked: object) -> str:
    torch.save(tree, folder / "cut.ckpt")
    with pytest.raises(PlanError) as caught:
        convert(folder / "cut.ckpt", folder / "out", level="exact", **asked)
    assert not (folder / "out").exists()
    return str(caught.value)


def whole_message(folder: Path, title: str, lines: list[str]) -> str:
    return "\n".join(
        [
            f"{folder / 'cut.ckpt'} holds {title} under encoder.vit., but it is not whole",
            *(f"  - {line}" for line in lines),
            "  expected: every tensor of the model, each block like the others",
            "  likely cause: the file was cut, merged or renamed, or another code than upstream's wrote it",
            f"  try: `dinoport.inspect({str(folder / 'cut.ckpt')!r})`",
        ]
    )


def test_a_user_s_own_layer_of_the_same_name_is_none_of_the_backbone_s(tmp_path) -> None:
    tree = {**state("vit", "model."), "norm.weight": torch.ones(12), "norm.bias": torch.ones(12)}
    torch.save(tree, tmp_path / "run.ckpt")
    report = as_alone(tmp_path / "run.ckpt")
    assert "norm.weight" in " ".join(line.names for line in report.accounting.dropped)


def test_what_timms_config_says_is_taken(tmp_path) -> None:
    from dinoport.formats.safetensors.writer import write_safetensors
    from tests.writing.stub_tensors import tensor

    folder = tmp_path / "timm"
    folder.mkdir()
    found = formula.state_dict(models.VIT.tensors())
    write_safetensors(folder / "model.safetensors", [tensor(name, each, block=1 << 20) for name, each in found.items()])
    config = {
        "architecture": "vit_small_patch16_224",
        "model_args": {"num_heads": 4},
        "pretrained_cfg": {
            "input_size": [3, 64, 64],
            "interpolation": "bilinear",
            "crop_pct": 0.9,
            "crop_mode": "center",
            "mean": [0.5, 0.4, 0.3],
            "std": [0.1, 0.2, 0.3],
        },
    }
    (folder / "config.json").write_text(json.dumps(config))
    convert(folder, tmp_path / "out", level="exact")
    written = json.loads((tmp_path / "out" / "config.json").read_text())
    processor = json.loads((tmp_path / "out" / "preprocessor_config.json").read_text())
    assert written["num_attention_heads"] == 4
    assert (processor["image_mean"], processor["image_std"]) == ([0.5, 0.4, 0.3], [0.1, 0.2, 0.3])
    assert (processor["size"], processor["resample"]) == ({"shortest_edge": 71}, 2)


@pytest.mark.parametrize("kind", [list, tuple])
def test_models_in_a_list_are_found_by_their_places(kind: type, tmp_path) -> None:
    torch.save(kind([{"epoch": 3}, {"net": state("vit", "vit.")}]), tmp_path / "saved.pt")
    report = as_alone(tmp_path / "saved.pt", prefix="1.net.vit.")
    assert report.source.branch == "1.net.vit"


STATISTICS = {"mean": [0.5, 0.25, 0.125], "std": [0.25, 0.5, 0.75]}


@pytest.mark.parametrize(("mean", "std", "times"), [
    ("encoder.pixel_mean", "encoder.pixel_std", 1),
    ("image_mean", "image_std", 255),
    ("encoder.vit.mean", "encoder.vit.std", 1),
])  # fmt: skip
def test_statistics_that_a_module_keeps_are_stored(mean: str, std: str, times: int, tmp_path) -> None:
    buffers = {mean: torch.tensor(STATISTICS["mean"]).reshape(1, 3, 1, 1), std: torch.tensor(STATISTICS["std"])}
    tree = {**state("vit", "encoder.vit."), **{name: each * times for name, each in buffers.items()}}
    torch.save(tree, tmp_path / "run.pth")
    report = convert(tmp_path / "run.pth", tmp_path / "out", level="exact", num_heads=1)
    found = json.loads((tmp_path / "out/preprocessor_config.json").read_text())
    assert {name: found[f"image_{name}"] for name in STATISTICS} == STATISTICS
    origins = {setting.name: (setting.origin, setting.reason) for setting in report.settings}
    assert origins["pixel mean"] == ("stored", f"{mean} and {std} in the file")


@pytest.mark.parametrize(("mean", "warned"), [
    ((103.53, 116.28, 123.675), True), ((0.406, 0.456, 0.485), True), ((0.485, 0.456, 0.406), False),
    ((123.675, 116.28, 103.53), False), ((0.456, 0.456, 0.456), False),
])  # fmt: skip
def test_means_from_blue_to_red_are_warned_of(mean: tuple[float, ...], warned: bool, tmp_path: Path) -> None:
    """As Detectron2 and Caffe have them, which give pictures with blue in front."""
    buffers = {"pixel_mean": torch.tensor(mean).reshape(3, 1, 1), "pixel_std": torch.full((3, 1, 1), max(mean) / 2)}
    torch.save({**state("vit", "backbone.net."), **buffers}, tmp_path / "run.pth")
    found = convert(tmp_path / "run.pth", tmp_path / "out", level="exact", num_heads=1).verdict.warnings
    said = "pixel_mean and pixel_std in the file are ImageNet's from blue to red: this model was given blue, green, red"
    assert any(each.startswith(said) for each in found) == warned


def test_of_two_pairs_of_statistics_none_is_taken(tmp_path) -> None:
    pairs = {f"{side}.pixel_{each}": torch.tensor(STATISTICS[each]) for side in ("a", "b") for each in STATISTICS}
    torch.save({**state("vit", "encoder.vit."), **pairs}, tmp_path / "run.pth")
    report = convert(tmp_path / "run.pth", tmp_path / "out", level="exact", num_heads=1)
    assert {each.name: each.origin for each in report.settings}["pixel mean"] == "assumed"


@pytest.mark.parametrize("beside", ["head.weight", "decoder.conv.weight", "norm.weight"])
@pytest.mark.parametrize("lead", ["backbone.", "model.backbone.", "module.", "encoder.", "teacher.backbone."])
def test_patches_alone_are_told_beside_other_parts(lead: str, beside: str, tmp_path: Path) -> None:
    """An I-JEPA is told by what it lacks, which says nothing of names under other prefixes."""
    own = {f"{lead}{name}": torch.from_numpy(each.copy()) for name, each in relatives.BY_NAME["ijepa"].state().items()}
    torch.save({**own, beside: torch.ones(3, 64)}, tmp_path / "run.pth")
    assert plan(tmp_path / "run.pth", num_heads=2).class_name == "IJepaModel"


@pytest.mark.parametrize("name", ["msn", "ijepa"])
def test_the_other_copies_are_named_as_they_are_asked_for(name: str, tmp_path: Path) -> None:
    case = relatives.BY_NAME[name]
    source = case.write(tmp_path)
    remark = next(each for each in plan(source, case.request, num_heads=1).remarks if "also in the file: " in each)
    assert "also in the file: encoder.module (`prefix`)" in remark
    assert plan(source, case.request, num_heads=1, prefix="encoder.module").source.branch == "encoder"

"""What config.json says, what is refused, and what is said where timm is not there."""

import json
from dataclasses import replace
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

from dinoport.api import convert
from dinoport.codebases.timm import builders, eva, vit
from dinoport.codebases.timm.pretrained import crop_share
from dinoport.errors import DinoportError, UnknownModelError, UsageError
from dinoport.formats.torch.writer import write_torch_file
from dinoport.networks.convnext.architecture import ConvNeXt
from dinoport.networks.interpolation import INTERPOLATIONS
from dinoport.networks.network import Features
from dinoport.networks.preprocessing import DINOV3_PROCESSOR, EVALUATION
from dinoport.networks.rotary_vit.architecture import RotaryViT
from dinoport.networks.torch_interpolation import interpolate_table
from dinoport.networks.vit.architecture import ViT
from dinoport.proofs.verdict import Word
from tests import formula
from tests.models import classifying
from tests.timm_target.models import CASES, SMALL_V2, SMALL_V3, SMALL_VIT, asked, write
from tests.with_timm import needs_timm
from tests.writing.stub_tensors import tensor

torch = pytest.importorskip("torch")


def config_of(case: str, folder: Path, **others: Any) -> dict[str, Any]:
    convert(write(case, folder / "weights.pth"), folder / "out", to="timm", level="none", **asked(case), **others)
    found: dict[str, Any] = json.loads((folder / "out" / "config.json").read_text())
    return found


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(
    "model", [SMALL_VIT, SMALL_V3, CASES["convnext"], CASES["resnet"]], ids=lambda each: each.network.name
)
def test_a_first_layer_of_other_than_three_channels_is_not_named(model: Any, channels: int, tmp_path: Path) -> None:
    """Where it is, timm 1.0.28 and older begin it anew, at random and without a word."""
    state = formula.state_dict(replace(model, channels=channels).tensors())
    write_torch_file(tmp_path / "own.pth", [tensor(name, each, block=1 << 20) for name, each in state.items()])
    heads = {"num_heads": 2} if model is SMALL_VIT else {}
    convert(tmp_path / "own.pth", tmp_path / "out", to="timm", level="none", **heads)
    described = json.loads((tmp_path / "out" / "config.json").read_text())["pretrained_cfg"]
    assert (described["first_conv"] is None) is (channels != 3)


@needs_timm
@pytest.mark.parametrize("channels", [1, 4])
def test_timm_loads_a_first_layer_of_other_channels_as_it_is(channels: int, tmp_path: Path) -> None:
    import timm

    state = formula.state_dict(replace(SMALL_VIT, channels=channels).tensors())
    write_torch_file(tmp_path / "own.pth", [tensor(name, each) for name, each in state.items()])
    convert(tmp_path / "own.pth", tmp_path / "out", to="timm", level="none", num_heads=2)
    found = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).patch_embed.proj.weight
    assert np.array_equal(found.detach().numpy(), state["patch_embed.proj.weight"])


def test_config_json_says_what_differs_and_the_transform(tmp_path: Path) -> None:
    assert config_of("dinov2 registers", tmp_path) == {
        "architecture": "vit_small_patch14_reg4_dinov2",
        "num_classes": 0,
        "model_args": {
            "img_size": 28,
            "embed_dim": 32,
            "depth": 2,
            "num_heads": 2,
            "mlp_ratio": 2.0,
            "reg_tokens": 3,
            "dynamic_img_size": True,
        },
        "pretrained_cfg": {
            "tag": "dinov2",
            "num_classes": 0,
            "input_size": [3, 28, 28],
            "fixed_input_size": False,
            "interpolation": "bicubic",
            "crop_pct": 0.875,
            "crop_mode": "center",
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
            "first_conv": "patch_embed.proj",
            "classifier": "head",
        },
        "dinoport": {"family": "dinov2", "mask_token": True},
    }


def test_labels_and_the_loss_of_a_norm_stand_in_config_json(tmp_path: Path) -> None:
    names = tmp_path / "names.json"
    names.write_text(json.dumps(["ant", "bee", "cat", "dog", "eel"]))
    config = config_of("dino classifier", tmp_path, labels=str(names))
    assert config["label_names"] == ["ant", "bee", "cat", "dog", "eel"]
    assert config["num_classes"] == config["pretrained_cfg"]["num_classes"] == 5
    (tmp_path / "v3").mkdir()
    assert config_of("dinov3 local norm", tmp_path / "v3")["dinoport"]["lost"] == ["local_cls_norm"]


def plain(width: int, depth: int, heads: int, patch: int, **others: Any) -> ViT:
    sizes = {"width": width, "depth": depth, "heads": heads, "mlp_hidden": 4 * width, "patch_size": patch}
    return ViT(**{**sizes, "image_size": 224 if patch in (8, 16) else 518, **others})


V2 = {"layer_scale": True, "mask_token": True}
GIANT = {"feed_forward": "swiglu", "mlp_hidden": 4096}


@pytest.mark.parametrize(
    ("architecture", "name", "arguments"),
    [
        (plain(384, 12, 6, 16), "vit_small_patch16_224", {"img_size": 224}),
        (plain(384, 12, 6, 8), "vit_small_patch8_224", {"img_size": 224}),
        (plain(768, 12, 12, 16), "vit_base_patch16_224", {"img_size": 224}),
        (plain(768, 12, 12, 8), "vit_base_patch8_224", {"img_size": 224}),
        (plain(384, 12, 6, 14, **V2), "vit_small_patch14_dinov2", {"img_size": 518}),
        (plain(768, 12, 12, 14, **V2), "vit_base_patch14_dinov2", {"img_size": 518}),
        (plain(1024, 24, 16, 14, **V2), "vit_large_patch14_dinov2", {"img_size": 518}),
        (plain(1536, 40, 24, 14, **V2, **GIANT), "vit_giant_patch14_dinov2", {"img_size": 518}),
        (plain(384, 12, 6, 14, **V2, registers=4), "vit_small_patch14_reg4_dinov2", {"img_size": 518}),
        (plain(1024, 24, 16, 14, **V2, registers=4), "vit_large_patch14_reg4_dinov2", {"img_size": 518}),
        (plain(1536, 40, 24, 14, **V2, **GIANT, registers=4), "vit_giant_patch14_reg4_dinov2", {"img_size": 518}),
    ],
)
def test_published_sizes_of_vits_have_timms_own_names(
    architecture: ViT, name: str, arguments: dict[str, object]
) -> None:
    wanted = vit._wanted(architecture, architecture.image_size)
    usual, candidates = vit._candidates(architecture)
    builder = builders.chosen(candidates, wanted, usual)
    assert builder.name == name
    assert builder.differing(wanted) == {**arguments, "dynamic_img_size": True}


def rotary(width: int, depth: int, heads: int, hidden: int, gated: bool, bias: bool = True) -> RotaryViT:
    return RotaryViT(
        width,
        depth,
        heads,
        hidden,
        16,
        registers=4,
        feed_forward="swiglu" if gated else "mlp",
        qkv_bias=bias,
        key_bias_mask=bias,
    )


@pytest.mark.parametrize(
    ("architecture", "name"),
    [
        (rotary(384, 12, 6, 1536, False), "vit_small_patch16_dinov3_qkvb"),
        (rotary(384, 12, 6, 1536, True), "vit_small_plus_patch16_dinov3_qkvb"),
        (rotary(768, 12, 12, 3072, False), "vit_base_patch16_dinov3_qkvb"),
        (rotary(1024, 24, 16, 4096, False), "vit_large_patch16_dinov3_qkvb"),
        (rotary(1280, 32, 20, 5120, True), "vit_huge_plus_patch16_dinov3_qkvb"),
        (rotary(4096, 40, 32, 8192, True, False), "vit_7b_patch16_dinov3"),
    ],
)
def test_published_sizes_of_dinov3_have_timms_own_names(architecture: RotaryViT, name: str) -> None:
    wanted = eva._wanted(architecture, 224)
    builder = eva._builder(architecture, wanted)
    assert builder.name == name
    assert builder.differing(wanted) == {"img_size": 224, "global_pool": "token"}


def test_a_size_without_a_name_takes_a_builder_with_sizes() -> None:
    """The published ViT-L/16+ is one: timm has no builder for it."""
    large = rotary(1024, 24, 16, 4096, True)
    builder = eva._builder(large, eva._wanted(large, 224))
    assert builder.name == "vit_small_patch16_dinov3_qkvb"
    sizes = {"embed_dim": 1024, "depth": 24, "num_heads": 16, "swiglu_mlp": True, "swiglu_align_to": 8}
    assert builder.differing(eva._wanted(large, 224)) == {"img_size": 224, **sizes, "global_pool": "token"}
    assert builders.chosen(builders.CONVNEXT, {"depths": [3, 3, 27, 3], "dims": [192, 384, 768, 1536]}, EVA).name == (
        "convnext_large"
    )


EVA = builders.EVA02


@pytest.mark.parametrize(("hidden", "width"), [(128, 32), (4096, 1536), (100, 48), (1001, 384), (341, 128)])
def test_the_ratio_gives_the_hidden_features_that_timm_rounds_down_to(hidden: int, width: int) -> None:
    assert int(width * builders.mlp_ratio(hidden, width)) == hidden


@pytest.mark.parametrize("size", [28, 98, 112, 224, 256, 480, 518])
def test_the_share_gives_the_size_before_the_crop(size: int) -> None:
    transform = EVALUATION.for_image_size(size)
    assert int(size / crop_share(transform)) == transform.resize
    assert crop_share(DINOV3_PROCESSOR) == 1


def refused(architecture: Any, folder: Path, **others: Any) -> str:
    shapes = {name.replace("classifier.", "linear_head."): each for name, each in architecture.tensors().items()}
    state = formula.state_dict(shapes)
    own = [tensor(name, values, block=1 << 20) for name, values in state.items()]
    from dinoport.formats.torch.writer import write_torch_file

    write_torch_file(folder / "weights.pth", own)
    with pytest.raises(UnknownModelError) as caught:
        convert(folder / "weights.pth", folder / "out", to="timm", level="none", **others)
    assert not (folder / "out").exists()
    return str(caught.value).replace(f"{folder}/", "")


def test_a_head_over_more_than_the_cls_token_is_refused(tmp_path: Path) -> None:
    found = refused(classifying(SMALL_V2, 5, Features.CLS_MEAN), tmp_path, num_heads=2)
    assert found.splitlines() == [
        "weights.pth cannot be written for timm with its classifier",
        "  where: linear_head.weight",
        "  expected: a classifier over the CLS token: timm's head takes one pooled vector",
        "  found: a classifier over CLS token, then patch mean",
        "  try: give the backbone alone, or leave `head` out; `to='transformers'` has a class for DINO's and DINOv2's "
        "heads",
    ]


def test_an_eps_that_no_builder_has_is_refused(tmp_path: Path) -> None:
    found = refused(SMALL_VIT, tmp_path, num_heads=2, layer_norm_eps=1e-12)
    assert found.splitlines()[:4] == [
        "weights.pth cannot be written for timm: no builder has the epsilon of its LayerNorm",
        "  where: eps",
        "  expected: 1e-06 or 1e-05",
        "  found: 1e-12",
    ]


def test_a_stride_that_timm_does_not_have_is_refused() -> None:
    from dinoport.codebases.dino.resnet import FAMILY
    from dinoport.codebases.timm.resnet import target
    from dinoport.mapping.decoding import Decoding
    from dinoport.model import Model
    from dinoport.request import Request
    from tests.models import RESNET

    other = replace(RESNET, stride_in_3x3=False)
    model = Model("weights.pth", "", FAMILY, other, Decoding({}), (), FAMILY.preprocessing)
    with pytest.raises(UnknownModelError, match="no class of it has this stride"):
        target(model, Request(), None)
    model = replace(model, architecture=replace(RESNET, widths=(128, 256, 512, 1024)))
    with pytest.raises(UnknownModelError, match="no class of it has these sizes"):
        target(model, Request(), None)


@pytest.mark.parametrize("name", ["offset", "size", "size-antialias", "bilinear-antialias"])
def test_a_table_is_resampled_by_the_rule_of_the_original(name: str, tmp_path: Path) -> None:
    """With registers too, whose table timm keeps without the row of the CLS token."""
    case, size = "dinov2 registers", 42
    path = write(case, tmp_path / "weights.pth")
    convert(path, tmp_path / "out", to="timm", level="exact", interpolation=name, image_size=size, **asked(case))
    table = torch.load(path, weights_only=True)["pos_embed"].double()
    side = size // SMALL_V2.patch_size
    expected = {rule: interpolate_table(table, side, side, own)[:, 1:] for rule, own in INTERPOLATIONS.items()}
    found = load_file(tmp_path / "out" / "model.safetensors")["pos_embed"].double()
    assert [rule for rule, own in expected.items() if torch.allclose(found, own, rtol=0, atol=1e-6)] == [name]


def test_several_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="`max_shard_bytes` goes with a conversion to Transformers, not `to='timm'`"):
        config_of("dino", tmp_path, max_shard_bytes=1_000_000)


def test_without_timm_its_proofs_are_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers")
    found = util.find_spec
    monkeypatch.setattr("dinoport.shown.packages.find_spec", lambda name: None if name == "timm" else found(name))
    report = convert(write("dino", tmp_path / "weights.pth"), tmp_path / "out", to="timm", **asked("dino"))
    assert report.verdict.word is Word.TRANSPORTED
    assert report.verdict.shown == "(outputs not shown: timm is not installed: pip install timm)"
    assert report.verdict.not_shown == ("loading", "outputs", "pixels")


def test_a_builder_of_one_size_has_no_larger_convnext() -> None:
    narrow = ConvNeXt((1, 2, 1, 1), (8, 16, 24, 32))
    wanted = {"depths": list(narrow.depths), "dims": list(narrow.widths)}
    assert builders.chosen(builders.CONVNEXT, wanted, builders.CONVNEXT[0]).differing(wanted) == wanted


def test_nothing_is_written_of_a_source_that_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DinoportError):
        config_of("dino", tmp_path, image_size=33)
    assert not (tmp_path / "out").exists()


def test_every_case_is_one_of_the_four_classes() -> None:
    assert {type(each).__name__ for each in CASES.values()} == {"ViT", "RotaryViT", "ConvNeXt", "ResNet"}
    assert SMALL_V3.registers == 4

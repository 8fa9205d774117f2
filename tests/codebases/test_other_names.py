"""ViTs under the names of MMPretrain and torchvision become what they are under the originals' names."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dinoport.api import convert, plan
from dinoport.errors import DinoportError
from dinoport.formats.opening import open_checkpoint
from tests import formula, models
from tests.models import weights

MMPRETRAIN = (
    (r"patch_embed\.proj", "patch_embed.projection"),
    (r"^norm\.", "ln1."),
    (r"blocks\.(\d)\.norm([12])", r"layers.\1.ln\2"),
    (r"blocks\.(\d)\.mlp\.fc1", r"layers.\1.ffn.layers.0.0"),
    (r"blocks\.(\d)\.mlp\.fc2", r"layers.\1.ffn.layers.1"),
    (r"blocks\.(\d)\.ls1\.gamma", r"layers.\1.attn.gamma1.weight"),
    (r"blocks\.(\d)\.ls2\.gamma", r"layers.\1.ffn.gamma2.weight"),
    (r"blocks\.", "layers."),
)

TORCHVISION = (
    (r"cls_token", "class_token"),
    (r"pos_embed", "encoder.pos_embedding"),
    (r"patch_embed\.proj", "conv_proj"),
    (r"^norm\.", "encoder.ln."),
    (r"blocks\.(\d)\.norm([12])", r"encoder.layers.encoder_layer_\1.ln_\2"),
    (r"blocks\.(\d)\.mlp\.fc1", r"encoder.layers.encoder_layer_\1.mlp.0"),
    (r"blocks\.(\d)\.mlp\.fc2", r"encoder.layers.encoder_layer_\1.mlp.3"),
    (r"blocks\.(\d)\.attn\.qkv\.", r"encoder.layers.encoder_layer_\1.self_attention.in_proj_"),
    (r"blocks\.(\d)\.attn\.proj", r"encoder.layers.encoder_layer_\1.self_attention.out_proj"),
)

MMSEGMENTATION = (
    *MMPRETRAIN[:-1],
    (r"attn\.qkv\.", "attn.attn.in_proj_"),
    (r"attn\.proj\.", "attn.attn.out_proj."),
    MMPRETRAIN[-1],
)

TAO = ((r"mlp\.w12", "mlp.fc1"), (r"mlp\.w3", "mlp.fc2"))

CASES: dict[str, tuple[Any, Any]] = {
    "nvidia tao, dinov2": (replace(models.V2_SWIGLU, registers=2), TAO),
    "nvidia tao, exported": (replace(models.V2_SWIGLU, registers=2, mask_token=False), TAO),
    "mmpretrain, dinov2": (models.V2, MMPRETRAIN),
    "mmpretrain, vit": (models.VIT, MMPRETRAIN),
    "mmsegmentation, vit": (models.VIT, MMSEGMENTATION),
    "torchvision, vit": (models.VIT, TORCHVISION),
}


def renamed(name: str, names: Any) -> str:
    for pattern, other in names:
        name = re.sub(pattern, other, name)
    return name


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("prefix", ["", "backbone.", "net.encoder.vit."])
def test_it_becomes_what_it_is_under_the_original_s_names(case: str, prefix: str, tmp_path: Path) -> None:
    model, names = CASES[case]
    state = {name: torch.from_numpy(each) for name, each in formula.state_dict(model.tensors()).items()}
    torch.save(state, tmp_path / "bare.pth")
    theirs = {f"{prefix}{renamed(name, names)}": each for name, each in state.items()}
    if names is TAO:
        theirs |= {name: each[None] for name, each in theirs.items() if name.endswith("mask_token")}
    torch.save(theirs, tmp_path / "theirs.pth")
    convert(tmp_path / "bare.pth", tmp_path / "ours", level="exact", num_heads=1)
    report = convert(tmp_path / "theirs.pth", tmp_path / "out", level="exact", num_heads=1)
    assert weights(tmp_path / "out") == weights(tmp_path / "ours")
    assert any(remark.startswith("read through the names of ") for remark in report.remarks)
    resampled = next(each for each in report.settings if each.name == "interpolation")
    said = {"mmpretrain": "as MMPretrain resamples", "mmsegmentation": "as MMSegmentation resamples"}
    said["nvidia tao"] = "as NVIDIA TAO resamples"
    assert resampled.reason == said.get(case.partition(",")[0], resampled.reason)
    assert report.ends[0].startswith("ViT (codebase not known)") is (model is models.VIT)


@pytest.mark.parametrize("case", CASES)
def test_a_missing_tensor_is_named(case: str, tmp_path: Path) -> None:
    model, names = CASES[case]
    state = {renamed(name, names): torch.from_numpy(each) for name, each in formula.state_dict(model.tensors()).items()}
    gone = renamed("blocks.1.norm2.weight", names)
    torch.save({f"net.{name}": each for name, each in state.items() if name != gone}, tmp_path / "cut.pth")
    with pytest.raises(DinoportError, match=r"(norm2|ln2|ln_2)\.weight"):
        convert(tmp_path / "cut.pth", tmp_path / "out", level="exact", num_heads=1)


CLASSES = 3


def test_torchvision_s_classifier_goes_along_where_the_file_is_its_network(tmp_path: Path) -> None:
    own = {name: torch.from_numpy(each) for name, each in formula.state_dict(models.VIT.tensors()).items()}
    layer = {"weight": torch.linspace(-1, 1, CLASSES * 64).reshape(CLASSES, 64), "bias": torch.arange(1.0, CLASSES + 1)}
    theirs = {renamed(name, TORCHVISION): each for name, each in own.items()}
    theirs |= {f"heads.head.{leaf}": each for leaf, each in layer.items()}
    torch.save(theirs, tmp_path / "vit.pth")
    torch.save(own | {f"head.{leaf}": each for leaf, each in layer.items()}, tmp_path / "bare.pth")
    report = convert(tmp_path / "vit.pth", tmp_path / "out", level="exact", num_heads=1)
    convert(tmp_path / "bare.pth", tmp_path / "ours", level="exact", num_heads=1)
    assert report.class_name == "ViTForImageClassification"
    assert weights(tmp_path / "out") == weights(tmp_path / "ours")
    convert(tmp_path / "vit.pth", tmp_path / "back", level="exact", num_heads=1, to="original")
    with open_checkpoint(tmp_path / "back") as back:
        assert back.tensors.keys() - own.keys() == {"linear.weight", "linear.bias"}


def test_within_another_framework_s_file_it_stays_aside(tmp_path: Path) -> None:
    own = {name: torch.from_numpy(each) for name, each in formula.state_dict(models.VIT.tensors()).items()}
    theirs = {f"backbone.vit.{renamed(name, TORCHVISION)}": each for name, each in own.items()}
    theirs["backbone.vit.heads.head.weight"] = torch.ones(CLASSES, 64)
    theirs["backbone.vit.heads.head.bias"] = torch.ones(CLASSES)
    torch.save({"state_dict": theirs}, tmp_path / "last.ckpt")
    report = convert(tmp_path / "last.ckpt", tmp_path / "out", level="exact", num_heads=1)
    assert report.class_name == "ViTModel"
    dropped = {line.names: line.reason for line in report.accounting.dropped}
    assert dropped["heads.head.weight, heads.head.bias"].startswith("a layer outside the backbone")


def test_a_resnet_as_a_sequence_of_its_children(tmp_path: Path) -> None:
    """As lightly's examples keep it: `nn.Sequential(*list(resnet.children())[:-1])`."""
    places = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}
    own = {name: torch.full(shape, 0.5) for name, shape in models.RESNET.tensors().items()}
    theirs = {}
    for name, each in own.items():
        first, _, rest = name.partition(".")
        theirs[f"backbone.{places[first]}.{rest}"] = each
    torch.save(own, tmp_path / "bare.pth")
    torch.save(
        {"state_dict": {**theirs, "projection_head.layers.0.weight": torch.ones(8, 2048)}}, tmp_path / "last.ckpt"
    )
    bare, found = plan(tmp_path / "bare.pth"), plan(tmp_path / "last.ckpt")
    assert found.class_name == "ResNetModel"
    assert (found.accounting.size_bytes, found.accounting.counts["bijective"]) == (
        bare.accounting.size_bytes,
        bare.accounting.counts["bijective"],
    )
    assert [line.names for line in found.accounting.dropped] == ["projection_head.layers.0.weight"]

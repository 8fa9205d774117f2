"""ViTs under the names of MMPretrain and torchvision become what they are under the originals' names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from dinoport.api import convert
from dinoport.errors import DinoportError
from dinoport.formats.opening import open_checkpoint
from tests import formula, models

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

CASES: dict[str, tuple[Any, Any]] = {
    "mmpretrain, dinov2": (models.V2, MMPRETRAIN),
    "mmpretrain, vit": (models.VIT, MMPRETRAIN),
    "torchvision, vit": (models.VIT, TORCHVISION),
}


def renamed(name: str, names: Any) -> str:
    for pattern, other in names:
        name = re.sub(pattern, other, name)
    return name


def weights(folder: Path) -> dict[str, bytes]:
    with open_checkpoint(folder) as checkpoint:
        return {name: tensor.read().tobytes() for name, tensor in checkpoint.tensors.items()}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("prefix", ["", "backbone.", "net.encoder.vit."])
def test_it_becomes_what_it_is_under_the_original_s_names(case: str, prefix: str, tmp_path: Path) -> None:
    model, names = CASES[case]
    state = {name: torch.from_numpy(each) for name, each in formula.state_dict(model.tensors()).items()}
    torch.save(state, tmp_path / "bare.pth")
    torch.save({f"{prefix}{renamed(name, names)}": each for name, each in state.items()}, tmp_path / "theirs.pth")
    convert(tmp_path / "bare.pth", tmp_path / "ours", level="exact", num_heads=1)
    report = convert(tmp_path / "theirs.pth", tmp_path / "out", level="exact", num_heads=1)
    assert weights(tmp_path / "out") == weights(tmp_path / "ours")
    assert any(remark.startswith("read through the names of ") for remark in report.remarks)
    resampled = next(each for each in report.settings if each.name == "interpolation")
    assert (resampled.reason == "as MMPretrain resamples") is case.startswith("mmpretrain")


@pytest.mark.parametrize("case", CASES)
def test_a_missing_tensor_is_named(case: str, tmp_path: Path) -> None:
    model, names = CASES[case]
    state = {renamed(name, names): torch.from_numpy(each) for name, each in formula.state_dict(model.tensors()).items()}
    gone = renamed("blocks.1.norm2.weight", names)
    torch.save({f"net.{name}": each for name, each in state.items() if name != gone}, tmp_path / "cut.pth")
    with pytest.raises(DinoportError, match=r"(norm2|ln2|ln_2)\.weight"):
        convert(tmp_path / "cut.pth", tmp_path / "out", level="exact", num_heads=1)

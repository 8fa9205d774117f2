"""Builders of timm, narrow and with values of their own: each computes what its folder converts to, or is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.models import save_for_hf

from dinoport.api import convert
from dinoport.errors import UnknownModelError
from tests.frameworks.genuine import TOLERANCE, pixels, shaken

TAKEN = (
    "test_vit", "vit_tiny_patch16_224", "vit_gigantic_patch14_224", "vit_base_patch16_plus_240",
    "vit_small_patch16_36x1_224", "vit_giant_patch16_gap_224", "vit_base_patch14_dinov2",
    "vit_base_patch14_reg4_dinov2", "vit_large_patch14_reg1_tipsv2", "vit_small_patch16_dinov3",
    "vit_base_patch16_dinov3_qkvb", "vit_small_plus_patch16_dinov3_qkvb", "vit_large_patch16_lingbot",
    "vit_giant_patch16_lingbot", "deit_small_patch16_224", "deit_tiny_distilled_patch16_224",
    "deit3_medium_patch16_224", "eva_large_patch14_196",
)  # fmt: skip

REFUSED = (
    "vit_base_patch16_clip_quickgelu_224", "vit_so400m_patch16_siglip_gap_256", "vit_base_patch32_siglip_256",
    "vit_small_patch16_rope_ape_224", "vit_small_patch16_rope_mixed_224", "vit_base_patch16_radio_v3",
    "vit_medium_patch16_gap_256", "vit_wee_patch16_reg1_gap_256", "beit_base_patch16_224", "beit3_base_patch16_224",
    "eva02_base_patch14_224", "eva02_tiny_patch14_224", "aimv2_large_patch14_224",
)  # fmt: skip


def built(name: str, folder: Path, **sizes: Any) -> Any:
    """A builder's model with heads of 64 channels, as timm saves it; its heads are in config.json."""
    model = shaken(timm.create_model(name, embed_dim=128, depth=2, num_classes=0, **sizes))
    with torch.no_grad():
        for parameter, values in model.named_parameters():
            if "gamma" in parameter:
                values.add_(0.5)
    arguments = {"embed_dim": 128, "depth": 2, "num_classes": 0, **sizes}
    save_for_hf(model, folder, model_args=arguments, safe_serialization=True)
    return model


@pytest.mark.parametrize("name", TAKEN)
def test_a_folder_computes_what_its_builder_does(name: str, tmp_path: Path, out: Path) -> None:
    from transformers import AutoModel

    model = built(name, tmp_path / "timm", num_heads=2)
    convert(tmp_path / "timm", out, level="exact")
    images = pixels(model.patch_embed.img_size[0])
    with torch.inference_mode():
        expected, found = model.forward_features(images), AutoModel.from_pretrained(out).eval()(images)
    assert float((found.last_hidden_state - expected).abs().max()) < TOLERANCE


@pytest.mark.parametrize("name", REFUSED)
def test_a_builder_that_computes_otherwise_is_refused_by_its_own_name(name: str, tmp_path: Path, out: Path) -> None:
    built(name, tmp_path / "timm", num_heads=2)
    with pytest.raises(UnknownModelError) as raised:
        convert(tmp_path / "timm", out, level="none")
    assert str(raised.value).splitlines()[0].endswith(", and no model of the DINO family")

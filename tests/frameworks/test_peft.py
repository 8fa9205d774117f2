"""Adapters that PEFT writes for a model of Transformers, against PEFT's own arithmetic."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import (
    AutoModelForImageClassification,
    Dinov2Config,
    Dinov2ForImageClassification,
    Dinov2Model,
    DINOv3ConvNextConfig,
    DINOv3ConvNextModel,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    ViTConfig,
    ViTForImageClassification,
    ViTModel,
)  # fmt: skip

from dinoport.api import convert
from dinoport.errors import DinoportError
from tests.error_text import error_text
from tests.frameworks.genuine import TOLERANCE, pixels, proven, shaken

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 28, "patch_size": 14}

MODELS = {
    "dinov2": lambda: Dinov2Model(Dinov2Config(**SIZES, mlp_ratio=2)),
    "vit": lambda: ViTModel(ViTConfig(**SIZES, intermediate_size=64, layer_norm_eps=1e-6), add_pooling_layer=False),
}

CONFIGS: dict[str, dict[str, Any]] = {
    "plain": {"target_modules": ["q_proj", "v_proj"]},
    "rank-stabilised": {"target_modules": ["q_proj", "v_proj"], "use_rslora": True},
    "all linear layers": {"target_modules": "all-linear"},
    "patterns": {
        "target_modules": ["q_proj", "v_proj"],
        "rank_pattern": {"q_proj": 2},
        "alpha_pattern": {"v_proj": 3},
    },
    "saved modules": {"target_modules": ["q_proj"], "modules_to_save": ["layernorm"]},
    "biases of its layers": {"target_modules": ["q_proj", "v_proj"], "bias": "lora_only"},
    "all biases": {"target_modules": ["q_proj"], "bias": "all"},
}


def adapted(folder: Path, model: str, config: str) -> tuple[Any, Path]:
    """A model with an adapter of its own values, saved as PEFT does, beside its base."""
    base = shaken(MODELS[model]())
    base.save_pretrained(folder / "base")
    base.name_or_path = str(folder / "base")
    whole = peft.get_peft_model(base, peft.LoraConfig(r=4, lora_alpha=8, **CONFIGS[config]))
    chance = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for _, each in whole.named_parameters():
            if each.requires_grad:
                each.copy_(each + torch.randn(each.shape, generator=chance) * 0.05)
    whole.save_pretrained(folder / "adapter")
    return whole.eval(), folder / "adapter"


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("config", CONFIGS)
def test_an_adapter_is_merged_into_its_base(model: str, config: str, tmp_path: Path, out: Path) -> None:
    whole, source = adapted(tmp_path, model, config)
    genuine = whole.base_model.model
    report = proven(source, out, lambda images: genuine(images).last_hidden_state, 28)
    assert any("the adapter's base is" in remark for remark in report.remarks)


def test_a_state_dict_with_adapters_asks_for_their_scale(tmp_path: Path, out: Path) -> None:
    whole, _ = adapted(tmp_path, "dinov2", "plain")
    torch.save(whole.state_dict(), tmp_path / "whole.pth")
    with pytest.raises(DinoportError, match="lora_alpha"):
        convert(tmp_path / "whole.pth", out, num_heads=4)
    genuine = whole.base_model.model
    asked = {"num_heads": 4, "lora_alpha": 8}
    proven(tmp_path / "whole.pth", out, lambda images: genuine(images).last_hidden_state, 28, **asked)


@pytest.mark.parametrize("given", [{"use_dora": True}, {"init_lora_weights": "pissa"}])
def test_what_is_not_merged_is_refused_by_its_name(given: dict[str, Any], tmp_path: Path, out: Path) -> None:
    base = shaken(MODELS["dinov2"]())
    base.save_pretrained(tmp_path / "base")
    base.name_or_path = str(tmp_path / "base")
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj"], **given)
    peft.get_peft_model(base, config).save_pretrained(tmp_path / "adapter")
    message = error_text(DinoportError, lambda: convert(tmp_path / "adapter", out))
    assert next(iter(given)).split("_")[-1] in message.lower() or "pissa" in message.lower()
    assert not out.exists()


@pytest.mark.parametrize("model", MODELS)
def test_a_classifier_beside_an_adapter_over_a_base_without_one(model: str, tmp_path: Path, out: Path) -> None:
    """As notebooks train them: a headless model of the Hub as the base, and `modules_to_save=["classifier"]`."""
    shaken(MODELS[model]()).save_pretrained(tmp_path / "base")
    classes = {"dinov2": Dinov2ForImageClassification, "vit": ViTForImageClassification}
    own = classes[model].from_pretrained(tmp_path / "base", num_labels=3)
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj"], modules_to_save=["classifier"])
    whole = peft.get_peft_model(own, config)
    chance = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for _, each in whole.named_parameters():
            if each.requires_grad:
                each.copy_(torch.randn(each.shape, generator=chance) * 0.05)
    whole.eval().save_pretrained(tmp_path / "adapter")
    (tmp_path / "base").rename(tmp_path / "moved")
    report = convert(tmp_path / "adapter", out, base=tmp_path / "moved")
    assert not report.verdict.failed, report
    with torch.inference_mode():
        found = AutoModelForImageClassification.from_pretrained(out).eval()(pixels(28)).logits
        assert float((whole(pixels(28)).logits - found).abs().max()) < TOLERANCE


FURTHER: dict[str, tuple[Any, dict[str, Any]]] = {
    "a pooler": (lambda: ViTModel(ViTConfig(**SIZES, intermediate_size=64)), {"target_modules": "all-linear"}),
    "a pooler that was trained whole": (
        lambda: ViTModel(ViTConfig(**SIZES, intermediate_size=64)),
        {"target_modules": ["q_proj"], "modules_to_save": ["pooler"]},
    ),
    "a norm with two names": (
        lambda: DINOv3ConvNextModel(DINOv3ConvNextConfig(hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 2, 1])),
        {"target_modules": ["pointwise_conv1"], "modules_to_save": ["layer_norm"]},
    ),
    "the patches of rotary positions": (
        lambda: DINOv3ViTModel(DINOv3ViTConfig(**SIZES, intermediate_size=64, num_register_tokens=2)),
        {"target_modules": ["patch_embeddings"]},
    ),
    "half of a gate": (
        lambda: Dinov2Model(Dinov2Config(**SIZES, mlp_ratio=2, use_swiglu_ffn=True)),
        {"target_modules": ["v_proj"], "modules_to_save": ["up_proj"]},
    ),
}


@pytest.mark.parametrize("case", FURTHER)
def test_what_adapters_reach_beyond_attention(case: str, tmp_path: Path, out: Path) -> None:
    make, config = FURTHER[case]
    base = shaken(make())
    base.save_pretrained(tmp_path / "base")
    base.name_or_path = str(tmp_path / "base")
    whole = peft.get_peft_model(base, peft.LoraConfig(r=4, lora_alpha=8, **config))
    chance = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for _, each in whole.named_parameters():
            if each.requires_grad:
                each.copy_(each + torch.randn(each.shape, generator=chance) * 0.05)
    whole.save_pretrained(tmp_path / "adapter")
    size = 64 if "two names" in case else 28
    report = convert(tmp_path / "adapter", out, level="exact")
    assert not report.verdict.failed, report
    with torch.inference_mode():
        theirs = whole.eval().base_model.model(pixels(size)).last_hidden_state
        ours = type(base).from_pretrained(out).eval()(pixels(size)).last_hidden_state
    assert float((theirs - ours).abs().max()) < TOLERANCE * max(1.0, float(theirs.abs().max()))

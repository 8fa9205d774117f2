"""What Transformers and its Trainer write, in the names on disk and in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    Trainer,
    TrainingArguments,
    ViTConfig,
    ViTForImageClassification,
    ViTModel,
)

from dinoport.api import convert
from tests.frameworks.genuine import pixels, proven, shaken

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 28, "patch_size": 14}

MODELS: dict[str, Any] = {
    "vit": lambda: ViTModel(ViTConfig(**SIZES, intermediate_size=64, layer_norm_eps=1e-6), add_pooling_layer=False),
    "dinov2": lambda: Dinov2Model(Dinov2Config(**SIZES, mlp_ratio=2)),
    "registers": lambda: Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**SIZES, mlp_ratio=2)),
    "dinov3": lambda: DINOv3ViTModel(DINOv3ViTConfig(**SIZES, intermediate_size=64, num_register_tokens=2)),
}


@pytest.mark.parametrize("name", MODELS)
def test_names_in_memory(name: str, tmp_path: Path, out: Path) -> None:
    """As `torch.save(model.state_dict())` writes them, which says neither heads nor eps."""
    model = shaken(MODELS[name]())
    torch.save({"model": {f"net.{key}": each for key, each in model.state_dict().items()}}, tmp_path / "best.pth")
    asked = {"num_heads": 4, "layer_norm_eps": getattr(model.config, "layer_norm_eps", 1e-6)}
    proven(tmp_path / "best.pth", out, lambda images: model(images).last_hidden_state, 28, **asked)


class Pictures(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"pixel_values": pixels(28, seed=index)[0], "labels": torch.tensor(index % 3)}


@pytest.fixture
def run(tmp_path: Path) -> tuple[Path, Any]:
    """A folder of the Trainer with two checkpoints in it."""
    config = ViTConfig(**SIZES, intermediate_size=64, layer_norm_eps=1e-6, num_labels=3)
    model = shaken(ViTForImageClassification(config))
    given = TrainingArguments(
        str(tmp_path / "run"), max_steps=2, save_steps=1, per_device_train_batch_size=2, report_to=[], use_cpu=True,
        disable_tqdm=True, learning_rate=0.1,
    )  # fmt: skip
    Trainer(model, given, train_dataset=Pictures()).train()
    return tmp_path / "run", model.eval()


def test_a_checkpoint_of_the_trainer_goes_to_timm(run: tuple[Path, Any], out: Path) -> None:
    import timm

    folder, model = run
    report = convert(folder / "checkpoint-2", out, to="timm")
    assert not report.verdict.failed, report
    with torch.inference_mode():
        found = timm.create_model(f"local-dir:{out}", pretrained=True).eval()(pixels(28))
        assert float((found - model(pixels(28)).logits).abs().max()) < 1e-4

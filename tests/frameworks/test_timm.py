"""What timm writes: folders for the Hub, checkpoints of its training with an average, whole pickled models."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.models import save_for_hf
from timm.utils import CheckpointSaver, ModelEmaV3

from tests.frameworks.genuine import proven, shaken

SMALL = {"img_size": 28, "embed_dim": 32, "depth": 2, "num_heads": 4}

BUILDERS: dict[str, dict[str, Any]] = {
    "vit_small_patch14_dinov2": SMALL,
    "vit_small_patch14_reg4_dinov2": SMALL,
    "vit_small_patch16_224": {**SMALL, "img_size": 32, "num_classes": 0},
    "vit_small_patch16_dinov3_qkvb": {**SMALL, "img_size": 32},
}


def built(name: str) -> Any:
    return shaken(timm.create_model(name, **BUILDERS[name]))


def size_of(name: str) -> int:
    return BUILDERS[name]["img_size"]


def tokens(model: Any) -> Any:
    return lambda images: model.forward_features(images)


@pytest.mark.parametrize("name", BUILDERS)
def test_a_folder_for_the_hub(name: str, tmp_path: Path, out: Path) -> None:
    model = built(name)
    save_for_hf(model, tmp_path / "hub", model_args=BUILDERS[name])
    proven(tmp_path / "hub", out, tokens(model), size_of(name))


@pytest.mark.parametrize("name", BUILDERS)
def test_its_training_evaluates_the_average(name: str, tmp_path: Path, out: Path) -> None:
    model = built(name)
    average = ModelEmaV3(model, decay=0.5)
    shaken(model, seed=1)
    average.update(model)
    given = {name: value for name, value in BUILDERS[name].items() if name != "num_classes"}
    args = argparse.Namespace(model=name, model_kwargs=given, mean=None, std=None, gp=None)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    saver = CheckpointSaver(model, optimizer, args, average, checkpoint_dir=str(tmp_path), max_history=2)
    saver.save_checkpoint(0, metric=1.0)
    report = proven(tmp_path / "last.pth.tar", out, tokens(average.module.eval()), size_of(name))
    assert report.source.branch == "state_dict_ema"


def test_a_pickled_model_says_its_heads_by_its_attributes(tmp_path: Path, out: Path) -> None:
    model = built("vit_small_patch14_dinov2")
    torch.save(model, tmp_path / "whole.pth")
    report = proven(tmp_path / "whole.pth", out, tokens(model), 28)
    heads = next(setting for setting in report.settings if setting.name == "heads")
    assert (heads.value, heads.origin) == ("4", "stored")

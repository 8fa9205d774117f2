"""Files that LightlyTrain writes: its checkpoint holds two copies and pickled modules, its export one of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightly_train
import numpy as np
import pytest
import torch
from PIL import Image

from tests.frameworks.genuine import proven

SETTINGS: dict[str, Any] = {
    "epochs": 1, "batch_size": 2, "num_workers": 0, "accelerator": "cpu", "devices": 1, "precision": "32-true",
    "overwrite": True, "num_nodes": 1,
}  # fmt: skip
"""A run of seconds."""

SMALL = {"image_size": (28, 28), "normalize": {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.25, 0.3)}}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    chance = np.random.default_rng(0)
    for place in range(4):
        Image.fromarray(chance.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(folder / f"{place}.png")
    return folder


@pytest.fixture(scope="module")
def run(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    lightly_train.pretrain(
        out=folder, data=pictures, model="dinov2/_vittest14", method="dino",
        transform_args={**SMALL, "local_view": {"num_views": 1, "view_size": (14, 14)}},
        method_args={"output_dim": 64, "hidden_dim": 32, "bottleneck_dim": 16}, **SETTINGS,
    )  # fmt: skip
    return folder


def teacher_of(run: Path) -> Any:
    """The module that LightlyTrain pickles into its checkpoint: the teacher, with its own code."""
    tree = torch.load(run / "checkpoints" / "last.ckpt", weights_only=False)
    return tree["lightly_train"]["models"]["model"].eval()


def tokens(module: Any) -> Any:
    def run(images: torch.Tensor) -> torch.Tensor:
        found = module.forward_features(images)
        registers = found["x_storage_tokens" if "x_storage_tokens" in found else "x_norm_regtokens"]
        return torch.cat([found["x_norm_clstoken"][:, None], registers, found["x_norm_patchtokens"]], dim=1)

    return run


def test_the_checkpoint_of_a_pretraining(run: Path, out: Path) -> None:
    teacher = teacher_of(run)
    report = proven(run / "checkpoints" / "last.ckpt", out, tokens(teacher), 224)
    assert report.source.branch == "state_dict.teacher_embedding_model.wrapped_model._model"
    settings = {setting.name: (setting.value, setting.origin) for setting in report.settings}
    assert settings["heads"] == (str(teacher.num_heads), "stored")
    assert settings["pixel mean"][1] == "stored"
    assert any("student_embedding_model" in remark for remark in report.remarks)


def test_a_distillation_holds_the_student_alone(pictures: Path, tmp_path: Path, out: Path) -> None:
    lightly_train.pretrain(
        out=tmp_path / "run", data=pictures, model="dinov3/_vittest16", method="distillation",
        method_args={"teacher": "dinov2/_vittest14", "queue_size": 2},
        transform_args={"image_size": (112, 112)}, **SETTINGS,
    )  # fmt: skip
    student = teacher_of(tmp_path / "run")
    report = proven(tmp_path / "run" / "checkpoints" / "last.ckpt", out, tokens(student), 224)
    same = next(remark for remark in report.remarks if remark.startswith("the same tensors also lie under"))
    assert "state_dict.student_embedding_model.wrapped_model._model." in same


def test_what_it_exports_is_the_same_model(run: Path, out: Path) -> None:
    teacher = teacher_of(run)
    source = run / "exported_models" / "exported_last.pt"
    proven(source, out, tokens(teacher), 224, num_heads=teacher.num_heads)

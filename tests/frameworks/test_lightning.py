"""Checkpoints that Lightning writes of a user's own module."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from torch import nn
from transformers import Dinov2Config, Dinov2Model

from tests.frameworks.genuine import TOLERANCE, pixels, proven, shaken

CONFIG = Dinov2Config(
    hidden_size=32, num_hidden_layers=2, num_attention_heads=4, patch_size=14, image_size=28, mlp_ratio=2
)


class Module(lightning.LightningModule):
    """A backbone with a layer on top, as users write them."""

    def __init__(self, num_heads: int = 4, num_classes: int = 3) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.encoder = shaken(Dinov2Model(CONFIG))
        self.head = nn.Linear(32, num_classes)

    def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
        return self.head(self.encoder(batch[0]).last_hidden_state[:, 0]).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.5)


def trained(folder: Path, *callbacks: Any) -> tuple[Path, Module]:
    module = Module()
    kept = ModelCheckpoint(folder, save_last=True)
    trainer = lightning.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        callbacks=[kept, *callbacks],
    )  # fmt: skip
    batches = torch.utils.data.TensorDataset(torch.cat([pixels(28), pixels(28, seed=8)]))
    trainer.fit(module, torch.utils.data.DataLoader(batches, batch_size=2))
    return folder / "last.ckpt", module.eval()


def test_a_user_s_module(tmp_path: Path, out: Path) -> None:
    source, module = trained(tmp_path)
    report = proven(source, out, lambda images: module.encoder(images).last_hidden_state, 28)
    assert (report.source.branch, report.class_name) == ("state_dict.encoder", "Dinov2Model")
    heads = next(setting for setting in report.settings if setting.name == "heads")
    assert (heads.value, heads.reason) == ("4", "num_heads in hyper_parameters of Lightning")


def test_an_average_of_lightning_s_own_is_taken(tmp_path: Path, out: Path) -> None:
    """It lies under `state_dict`, as it is what Lightning validates; the live weights are kept beside it."""
    source, averaged = trained(tmp_path, EMAWeightAveraging(decay=0.5))
    tree = torch.load(source, weights_only=False)
    live = Module().eval()
    live.load_state_dict(tree["current_model_state"])
    averaged.load_state_dict(tree["state_dict"])
    with torch.inference_mode():
        one, two = (each.encoder(pixels(28)).last_hidden_state for each in (live, averaged))
    assert float((one - two).abs().max()) > 100 * TOLERANCE
    report = proven(source, out, lambda images: averaged.encoder(images).last_hidden_state, 28)
    assert report.source.branch == "state_dict.encoder"
    chosen = next(remark for remark in report.remarks if "was chosen" in remark)
    assert "(Lightning)" in chosen
    assert "current_model_state.encoder" in chosen
    asked = {"prefix": "current_model_state.encoder.", "force": True}
    proven(source, out, lambda images: live.encoder(images).last_hidden_state, 28, **asked)

"""A training of DINO as lightly's examples write it: two backbones of timm's in lightly's own modules."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import lightning
import timm
import torch
from lightly.loss import DINOLoss
from lightly.models.modules import DINOProjectionHead, MaskedVisionTransformerTIMM
from lightly.models.utils import deactivate_requires_grad, update_momentum

from tests.frameworks.genuine import pixels, proven, shaken

SIZES = {"img_size": 32, "embed_dim": 32, "depth": 2, "num_heads": 4, "num_classes": 0}


class DINO(lightning.LightningModule):
    """The names of lightly's examples: `teacher_backbone` beside `student_backbone`."""

    def __init__(self) -> None:
        super().__init__()
        self.student_backbone = shaken(MaskedVisionTransformerTIMM(timm.create_model("vit_small_patch16_224", **SIZES)))
        self.teacher_backbone = copy.deepcopy(self.student_backbone)
        self.student_head = DINOProjectionHead(32, 16, 8, 24, freeze_last_layer=1)
        self.teacher_head = DINOProjectionHead(32, 16, 8, 24)
        deactivate_requires_grad(self.teacher_backbone)
        deactivate_requires_grad(self.teacher_head)
        self.criterion = DINOLoss(output_dim=24)

    def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
        views = [batch[0], batch[0].flip(-1)]
        update_momentum(self.student_backbone, self.teacher_backbone, m=0.5)
        teacher = [self.teacher_head(self.teacher_backbone(each)) for each in views]
        student = [self.student_head(self.student_backbone(each)) for each in views]
        return self.criterion(teacher, student, epoch=0)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=5.0)


def tokens(backbone: Any) -> Any:
    return lambda images: backbone.eval().vit.forward_features(images)


def test_the_teacher_of_its_example_is_taken(tmp_path: Path, out: Path) -> None:
    module = DINO()
    batches = torch.utils.data.TensorDataset(torch.cat([pixels(32), pixels(32, seed=8)]))
    trainer = lightning.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False,
    )  # fmt: skip
    trainer.fit(module, torch.utils.data.DataLoader(batches, batch_size=2))
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    with torch.inference_mode():
        both = [tokens(each)(pixels(32)) for each in (module.teacher_backbone, module.student_backbone)]
    assert float((both[0] - both[1]).abs().max()) > 2e-3, "a student can be told from its teacher"
    report = proven(tmp_path / "last.ckpt", out, tokens(module.teacher_backbone), 32, num_heads=4)
    assert report.source.branch == "state_dict.teacher_backbone.vit"
    assert any("state_dict.student_backbone.vit" in remark for remark in report.remarks)

"""torchvision's own ViT with its classifier, and its ResNet-50 as lightly's examples cut it."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from torchvision.models import VisionTransformer, resnet50
from transformers import AutoModel, AutoModelForImageClassification

from dinoport.api import convert
from tests.frameworks.genuine import TOLERANCE, pixels, shaken


def test_a_vit_with_its_classifier(tmp_path: Path, out: Path) -> None:
    sizes = {"image_size": 32, "patch_size": 8, "num_layers": 2, "num_heads": 2, "hidden_dim": 128, "mlp_dim": 256}
    genuine = shaken(VisionTransformer(**sizes, num_classes=5))
    torch.save(genuine.state_dict(), tmp_path / "vit.pth")
    report = convert(tmp_path / "vit.pth", out)
    assert not report.verdict.failed, report
    with torch.inference_mode():
        found = AutoModelForImageClassification.from_pretrained(out).eval()(pixels(32)).logits
        assert float((genuine(pixels(32)) - found).abs().max()) < TOLERANCE


def test_a_resnet_as_a_sequence(tmp_path: Path, out: Path) -> None:
    genuine = nn.Sequential(*list(resnet50().children())[:-1]).eval()
    torch.save({"state_dict": nn.ModuleDict({"backbone": genuine}).state_dict()}, tmp_path / "last.ckpt")
    report = convert(tmp_path / "last.ckpt", out, level="exact")
    assert report.class_name == "ResNetModel"
    with torch.inference_mode():
        expected, found = genuine(pixels(64)), AutoModel.from_pretrained(out).eval()(pixels(64)).pooler_output
        assert float((expected - found).abs().max()) < TOLERANCE * float(expected.abs().max())

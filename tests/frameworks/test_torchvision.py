"""torchvision's own ViT with its classifier, and its ResNet-50 as lightly's examples cut it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models import VisionTransformer, resnet50
from transformers import AutoModel, AutoModelForImageClassification

from dinoport.api import convert
from dinoport.errors import UnknownModelError
from dinoport.networks.resnet.architecture import ResNet
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


def test_the_modules_of_a_resnet_stride_as_the_network_does(out: Path) -> None:
    genuine = resnet50().eval()
    steps = {name: genuine.get_submodule(name.removesuffix(".weight")).stride for name in ResNet().strides}
    assert steps == {name: (step, step) for name, step in ResNet().strides.items()}
    assert not convert(genuine, out, level="exact").verdict.failed


def test_a_resnet_that_dilates_is_refused(out: Path) -> None:
    with pytest.raises(UnknownModelError) as caught:
        convert(resnet50(replace_stride_with_dilation=[False, False, True]).eval(), out, level="exact")
    told = (caught.value.where, caught.value.expected, caught.value.found)
    assert told == ("layer4.0.conv2", "stride (2, 2)", "stride (1, 1)")


@pytest.mark.parametrize("activation", [nn.ReLU, nn.SiLU])
def test_a_vit_with_another_activation_is_refused(activation: type[nn.Module], out: Path) -> None:
    genuine = VisionTransformer(32, 8, 2, 2, 128, 256, num_classes=5)
    for block in genuine.encoder.layers:
        block.mlp[1] = activation()
    with pytest.raises(UnknownModelError) as caught:
        convert(genuine, out, level="exact")
    assert (caught.value.expected, caught.value.found) == ("exact gelu", activation.__name__)

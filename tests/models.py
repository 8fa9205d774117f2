"""Tiny models of every network, for tests: a new network joins here once."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from dinoport.formats.opening import open_checkpoint
from dinoport.networks.convnext.architecture import ConvNeXt
from dinoport.networks.network import Classifier, Features
from dinoport.networks.resnet.architecture import ResNet
from dinoport.networks.rotary_vit.architecture import RotaryViT
from dinoport.networks.vit.architecture import ViT

T = TypeVar("T")

CLS, CLS_MEAN = Features.CLS, Features.CLS_MEAN


def dinov2(**sizes: Any) -> ViT:
    """A ViT with the parts that a DINOv2 has."""
    return ViT(**{"layer_scale": True, "mask_token": True, "float32_table": True, **sizes})


VIT = ViT(width=64, depth=2, heads=1, mlp_hidden=128, patch_size=16, image_size=64)
V2 = dinov2(width=64, depth=2, heads=1, mlp_hidden=128, patch_size=14, image_size=56)
V2_SWIGLU = replace(V2, mlp_hidden=176, feed_forward="swiglu")
V2_BARE = replace(V2, layer_scale=False, qkv_bias=False, proj_bias=False, ffn_bias=False)
V3 = RotaryViT(width=64, depth=2, heads=2, mlp_hidden=128, patch_size=16, registers=4, key_bias_mask=True)
CONVNEXT = ConvNeXt(depths=(1, 2, 1, 1), widths=(8, 16, 24, 32))
RESNET = ResNet()


def classifying(model: Any, classes: int, features: Features = CLS) -> Any:
    """The same model with a classifier."""
    return replace(model, classifier=Classifier(features, classes))


def renamed(tensors: Mapping[str, T], layer: str, name: str) -> dict[str, T]:
    """The same tensors with another name for a layer: for the one that an original does not call `classifier`."""
    own = f"{layer}."
    return {f"{name}.{key.removeprefix(own)}" if key.startswith(own) else key: each for key, each in tensors.items()}


def weights(place: Path) -> dict[str, bytes]:
    """What each tensor of a file or folder holds."""
    with open_checkpoint(place) as checkpoint:
        return {name: tensor.read().tobytes() for name, tensor in checkpoint.tensors.items()}

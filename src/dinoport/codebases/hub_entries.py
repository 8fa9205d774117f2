"""Which entry of the originals' own `hubconf.py` builds a model, and with which arguments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from dinoport.codebases.family import Architecture
from dinoport.errors import SettingError
from dinoport.networks.convnext.architecture import DinoV3ConvNext
from dinoport.networks.resnet.architecture import DinoResNet
from dinoport.networks.rotary_vit.architecture import DinoV3ViT
from dinoport.networks.vit.architecture import DinoViT
from dinoport.networks.vit2.architecture import DinoV2ViT


@dataclass(frozen=True)
class HubEntry:
    """`torch.hub.load(repo, name, **arguments)`, beside `pretrained=False`."""

    repo: str
    name: str
    arguments: Mapping[str, object] = field(default_factory=dict)


DINO = {384: "dino_vits", 768: "dino_vitb"}
"""By width; the patch size follows."""

DINOV2 = {384: "dinov2_vits14", 768: "dinov2_vitb14", 1024: "dinov2_vitl14", 1536: "dinov2_vitg14"}

# Width, depth, heads, MLP width and kind, biases of queries, keys and values, as `dinov3/hub/backbones.py` has them.
DINOV3 = {
    "dinov3_vits16": (384, 12, 6, 1536, "mlp", True),
    "dinov3_vits16plus": (384, 12, 6, 1536, "swiglu", True),
    "dinov3_vitb16": (768, 12, 12, 3072, "mlp", True),
    "dinov3_vitl16": (1024, 24, 16, 4096, "mlp", True),
    "dinov3_vitl16plus": (1024, 24, 16, 4096, "swiglu", True),
    "dinov3_vith16plus": (1280, 32, 20, 5120, "swiglu", True),
    "dinov3_vit7b16": (4096, 40, 32, 8192, "swiglu", False),
}

DINOV3_CONVNEXT = {
    "dinov3_convnext_tiny": (96, (3, 3, 9, 3)),
    "dinov3_convnext_small": (96, (3, 3, 27, 3)),
    "dinov3_convnext_base": (128, (3, 3, 27, 3)),
    "dinov3_convnext_large": (192, (3, 3, 27, 3)),
}


def hub_entry(architecture: Architecture, image_size: int) -> HubEntry:
    """The entry for a model of `image_size`. Raises SettingError where none builds it.

    Sizes that an entry takes as arguments are given to it; whatever it fixes must agree, eps and all.
    """
    found = _entry(architecture, image_size)
    if found is None:
        raise SettingError(
            "--reference: no entry of torch.hub builds this model",
            expected="the sizes and settings of a published model",
            found=str(architecture),
            next_step="leave --reference out: the proof against our own forward pass covers every size",
        )
    return found


def _entry(architecture: Architecture, image_size: int) -> HubEntry | None:
    channels = {} if architecture.channels == 3 else {"in_chans": architecture.channels}
    if isinstance(architecture, DinoViT):
        name = DINO.get(architecture.width)
        fixed = (
            architecture.depth == 12
            and architecture.heads == architecture.width // 64
            and architecture.mlp_hidden == 4 * architecture.width
            and architecture.patch_size in (8, 16)
            and architecture.qkv_bias
            and architecture.layer_norm_eps == 1e-6
        )
        if name is None or not fixed:
            return None
        size = {} if image_size == 224 else {"img_size": [image_size]}
        return HubEntry("facebookresearch/dino", f"{name}{architecture.patch_size}", {**size, **channels})
    if isinstance(architecture, DinoResNet):
        usual_resnet = replace(architecture, classes=None, linear_classes=None) == DinoResNet()
        return HubEntry("facebookresearch/dino", "dino_resnet50") if usual_resnet else None
    if isinstance(architecture, DinoV2ViT):
        return _dinov2(architecture, image_size, channels)
    if isinstance(architecture, DinoV3ConvNext):
        sizes = (architecture.widths[0], architecture.depths)
        usual_convnext = architecture.layer_scale and architecture.layer_norm_eps == 1e-6 and not channels
        names = [name for name, known in DINOV3_CONVNEXT.items() if known == sizes and usual_convnext]
        return HubEntry("facebookresearch/dinov3", names[0]) if names else None
    return _dinov3(architecture)


def _dinov2(architecture: DinoV2ViT, image_size: int, channels: Mapping[str, object]) -> HubEntry | None:
    name = DINOV2.get(architecture.width)
    giant = architecture.width == 1536
    fixed = (
        architecture.depth == {768: 12, 384: 12, 1024: 24, 1536: 40}.get(architecture.width)
        and architecture.heads == architecture.width // 64
        and architecture.feed_forward == ("swiglu" if giant else "mlp")
        and architecture.mlp_hidden == (4096 if giant else 4 * architecture.width)
        and architecture.layer_norm_eps == 1e-6
        and architecture.layer_scale
        and architecture.mask_token
        and architecture.qkv_bias
        and architecture.proj_bias
        and architecture.ffn_bias
    )
    if name is None or not fixed:
        return None
    arguments: dict[str, object] = dict(channels)
    arguments |= {} if image_size == 518 else {"img_size": image_size}
    arguments |= {} if architecture.patch_size == 14 else {"patch_size": architecture.patch_size}
    arguments |= {} if architecture.registers in (0, 4) else {"num_register_tokens": architecture.registers}
    return HubEntry("facebookresearch/dinov2", f"{name}_reg" if architecture.registers else name, arguments)


def _dinov3(architecture: DinoV3ViT) -> HubEntry | None:
    sizes = (
        architecture.width,
        architecture.depth,
        architecture.heads,
        architecture.mlp_hidden,
        architecture.feed_forward,
        architecture.qkv_bias,
    )
    fixed = (
        architecture.patch_size == 16
        and architecture.channels == 3
        and architecture.registers == 4
        and architecture.key_bias_mask == architecture.qkv_bias
        and not architecture.live_key_bias
        and architecture.layer_scale
        and architecture.proj_bias
        and architecture.ffn_bias
        and architecture.layer_norm_eps == 1e-5
        and architecture.rope_theta == 100.0
    )
    names = [name for name, known in DINOV3.items() if known == sizes and fixed]
    return HubEntry("facebookresearch/dinov3", names[0]) if names else None

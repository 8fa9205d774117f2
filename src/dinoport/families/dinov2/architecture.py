"""The Vision Transformer of facebookresearch/dinov2 (`dinov2/models/vision_transformer.py`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dinoport.families.interpolation import SCALE_WITH_OFFSET, Interpolation
from dinoport.tensor import Shape


@dataclass(frozen=True)
class DinoV2ViT:
    """A DINOv2 ViT. Sizes in pixels are of the square image that the position table was made for.

    `classes` counts the rows of a one-layer linear head (`linear_head`) over CLS token and patch mean.
    """

    width: int
    depth: int
    heads: int
    mlp_hidden: int
    patch_size: int
    image_size: int
    channels: int = 3
    feed_forward: Literal["mlp", "swiglu"] = "mlp"
    registers: int = 0
    layer_scale: bool = True
    mask_token: bool = True
    qkv_bias: bool = True
    proj_bias: bool = True
    ffn_bias: bool = True
    layer_norm_eps: float = 1e-6
    interpolation: Interpolation = SCALE_WITH_OFFSET
    classes: int | None = None

    @property
    def grid(self) -> int:
        """Patches along one side of the stored position table."""
        return self.image_size // self.patch_size

    def tensors(self) -> dict[str, Shape]:
        """Every tensor of the original's state dict (blocks not chunked), with its shape."""
        width, hidden = self.width, self.mlp_hidden
        shapes: dict[str, Shape] = {
            "cls_token": (1, 1, width),
            "pos_embed": (1, self.grid**2 + 1, width),
            "patch_embed.proj.weight": (width, self.channels, self.patch_size, self.patch_size),
            "patch_embed.proj.bias": (width,),
        }
        if self.registers:
            shapes["register_tokens"] = (1, self.registers, width)
        if self.mask_token:
            shapes["mask_token"] = (1, width)
        linears: dict[str, tuple[Shape, bool]] = {
            "attn.qkv": ((3 * width, width), self.qkv_bias),
            "attn.proj": ((width, width), self.proj_bias),
        }
        if self.feed_forward == "mlp":
            linears |= {"mlp.fc1": ((hidden, width), self.ffn_bias), "mlp.fc2": ((width, hidden), self.ffn_bias)}
        else:
            linears |= {"mlp.w12": ((2 * hidden, width), self.ffn_bias), "mlp.w3": ((width, hidden), self.ffn_bias)}
        for index in range(self.depth):
            block = f"blocks.{index}"
            for norm in ("norm1", "norm2"):
                shapes |= {f"{block}.{norm}.weight": (width,), f"{block}.{norm}.bias": (width,)}
            for linear, (shape, bias) in linears.items():
                shapes[f"{block}.{linear}.weight"] = shape
                if bias:
                    shapes[f"{block}.{linear}.bias"] = shape[:1]
            if self.layer_scale:
                shapes |= {f"{block}.ls1.gamma": (width,), f"{block}.ls2.gamma": (width,)}
        if self.classes is not None:
            shapes |= {"linear_head.weight": (self.classes, 2 * width), "linear_head.bias": (self.classes,)}
        return shapes | {"norm.weight": (width,), "norm.bias": (width,)}

"""The Vision Transformer of facebookresearch/dinov2 (`dinov2/models/vision_transformer.py`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dinoport.networks.interpolation import SCALE_WITH_OFFSET, Interpolation
from dinoport.networks.shapes import attention, layer_scales, linear, mlp, norm, vit_stem
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
        width = self.width
        shapes = vit_stem(width, self.channels, self.patch_size) | {"pos_embed": (1, self.grid**2 + 1, width)}
        if self.registers:
            shapes["register_tokens"] = (1, self.registers, width)
        if self.mask_token:
            shapes["mask_token"] = (1, width)
        for block in (f"blocks.{index}" for index in range(self.depth)):
            shapes |= attention(block, width, qkv_bias=self.qkv_bias, proj_bias=self.proj_bias)
            shapes |= norm(f"{block}.norm2", width) | self._feed_forward(block)
            shapes |= layer_scales(block, width) if self.layer_scale else {}
        shapes |= norm("norm", width)
        if self.classes is not None:
            shapes |= linear("linear_head", self.classes, 2 * width)
        return shapes

    def _feed_forward(self, block: str) -> dict[str, Shape]:
        width, hidden, bias = self.width, self.mlp_hidden, self.ffn_bias
        if self.feed_forward == "mlp":
            return mlp(block, width, hidden, bias=bias)
        gate = linear(f"{block}.mlp.w12", 2 * hidden, width, bias=bias)
        return gate | linear(f"{block}.mlp.w3", width, hidden, bias=bias)

"""The Vision Transformer of facebookresearch/dinov3 (`dinov3/models/vision_transformer.py`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dinoport.tensor import Shape


@dataclass(frozen=True)
class DinoV3ViT:
    """A DINOv3 ViT: rotary positions, no position table. `image_size` is the input's that it is evaluated with.

    `key_bias_mask` says that there is a `bias_mask`: it switches the keys' bias off, unless `live_key_bias`.
    `rope_rounded` says that the stored periods are `rope_theta`'s rounded to bfloat16.
    """

    width: int
    depth: int
    heads: int
    mlp_hidden: int
    patch_size: int
    channels: int = 3
    feed_forward: Literal["mlp", "swiglu"] = "mlp"
    registers: int = 0
    layer_scale: bool = True
    qkv_bias: bool = True
    key_bias_mask: bool = False
    live_key_bias: bool = False
    proj_bias: bool = True
    ffn_bias: bool = True
    local_cls_norm: bool = False
    layer_norm_eps: float = 1e-5
    rope_theta: float = 100.0
    rope_rounded: bool = False
    image_size: int = 224
    classes: int | None = None

    @property
    def head_dim(self) -> int:
        return self.width // self.heads

    @property
    def key_bias(self) -> bool:
        """Whether keys have a bias that counts."""
        return self.qkv_bias and (self.live_key_bias or not self.key_bias_mask)

    def tensors(self) -> dict[str, Shape]:
        """Every tensor of the original's state dict, buffers included, with its shape."""
        width, hidden = self.width, self.mlp_hidden
        shapes: dict[str, Shape] = {
            "cls_token": (1, 1, width),
            "mask_token": (1, width),
            "patch_embed.proj.weight": (width, self.channels, self.patch_size, self.patch_size),
            "patch_embed.proj.bias": (width,),
            "rope_embed.periods": (self.head_dim // 4,),
        }
        if self.registers:
            shapes["storage_tokens"] = (1, self.registers, width)
        linears: dict[str, tuple[Shape, bool]] = {
            "attn.qkv": ((3 * width, width), self.qkv_bias),
            "attn.proj": ((width, width), self.proj_bias),
        }
        if self.feed_forward == "mlp":
            linears |= {"mlp.fc1": ((hidden, width), self.ffn_bias), "mlp.fc2": ((width, hidden), self.ffn_bias)}
        else:
            linears |= {f"mlp.{gate}": ((hidden, width), self.ffn_bias) for gate in ("w1", "w2")}
            linears |= {"mlp.w3": ((width, hidden), self.ffn_bias)}
        for index in range(self.depth):
            block = f"blocks.{index}"
            for norm in ("norm1", "norm2"):
                shapes |= {f"{block}.{norm}.weight": (width,), f"{block}.{norm}.bias": (width,)}
            for linear, (shape, bias) in linears.items():
                shapes[f"{block}.{linear}.weight"] = shape
                if bias:
                    shapes[f"{block}.{linear}.bias"] = shape[:1]
            if self.qkv_bias and self.key_bias_mask:
                shapes[f"{block}.attn.qkv.bias_mask"] = (3 * width,)
            if self.layer_scale:
                shapes |= {f"{block}.ls1.gamma": (width,), f"{block}.ls2.gamma": (width,)}
        norms = ("norm", "local_cls_norm") if self.local_cls_norm else ("norm",)
        for norm in norms:
            shapes |= {f"{norm}.weight": (width,), f"{norm}.bias": (width,)}
        return shapes

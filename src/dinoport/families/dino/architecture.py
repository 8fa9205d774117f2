"""The Vision Transformer of facebookresearch/dino (`vision_transformer.py`)."""

from __future__ import annotations

from dataclasses import dataclass

from dinoport.families.interpolation import SCALE_WITH_OFFSET, Interpolation
from dinoport.families.probe import Features, Probe
from dinoport.tensor import Shape


@dataclass(frozen=True)
class DinoViT:
    """A DINO ViT. Sizes in pixels are of the square image that the position table was made for.

    `classes` counts the rows of a classifier that is part of the model (`head`); `probe` is one that `eval_linear.py`
    trained on top of it (`linear`).
    """

    width: int
    depth: int
    heads: int
    mlp_hidden: int
    patch_size: int
    image_size: int
    channels: int = 3
    qkv_bias: bool = True
    layer_norm_eps: float = 1e-6
    classes: int | None = None
    probe: Probe | None = None
    interpolation: Interpolation = SCALE_WITH_OFFSET

    @property
    def grid(self) -> int:
        """Patches along one side of the stored position table."""
        return self.image_size // self.patch_size

    def tensors(self) -> dict[str, Shape]:
        """Every tensor of the original's state dict, with its shape."""
        width, hidden = self.width, self.mlp_hidden
        shapes: dict[str, Shape] = {
            "cls_token": (1, 1, width),
            "pos_embed": (1, self.grid**2 + 1, width),
            "patch_embed.proj.weight": (width, self.channels, self.patch_size, self.patch_size),
            "patch_embed.proj.bias": (width,),
        }
        for index in range(self.depth):
            block = f"blocks.{index}"
            shapes |= {
                f"{block}.norm1.weight": (width,),
                f"{block}.norm1.bias": (width,),
                f"{block}.attn.qkv.weight": (3 * width, width),
                f"{block}.attn.qkv.bias": (3 * width,),
                f"{block}.attn.proj.weight": (width, width),
                f"{block}.attn.proj.bias": (width,),
                f"{block}.norm2.weight": (width,),
                f"{block}.norm2.bias": (width,),
                f"{block}.mlp.fc1.weight": (hidden, width),
                f"{block}.mlp.fc1.bias": (hidden,),
                f"{block}.mlp.fc2.weight": (width, hidden),
                f"{block}.mlp.fc2.bias": (width,),
            }
            if not self.qkv_bias:
                del shapes[f"{block}.attn.qkv.bias"]
        shapes |= {"norm.weight": (width,), "norm.bias": (width,)}
        if self.classes is not None:
            shapes |= {"head.weight": (self.classes, width), "head.bias": (self.classes,)}
        if self.probe is not None:
            columns = width if self.probe.features is Features.CLS else 2 * width
            shapes |= {"linear.weight": (self.probe.classes, columns), "linear.bias": (self.probe.classes,)}
        return shapes

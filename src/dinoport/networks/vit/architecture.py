"""The Vision Transformer of facebookresearch/dino (`vision_transformer.py`)."""

from __future__ import annotations

from dataclasses import dataclass

from dinoport.codebases.probe import Features, Probe
from dinoport.networks.interpolation import SCALE_WITH_OFFSET, Interpolation
from dinoport.networks.shapes import attention, linear, mlp, norm, vit_stem
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
        width = self.width
        shapes = vit_stem(width, self.channels, self.patch_size) | {"pos_embed": (1, self.grid**2 + 1, width)}
        for block in (f"blocks.{index}" for index in range(self.depth)):
            shapes |= attention(block, width, qkv_bias=self.qkv_bias)
            shapes |= norm(f"{block}.norm2", width) | mlp(block, width, self.mlp_hidden)
        shapes |= norm("norm", width)
        if self.classes is not None:
            shapes |= linear("head", self.classes, width)
        if self.probe is not None:
            columns = width if self.probe.features is Features.CLS else 2 * width
            shapes |= linear("linear", self.probe.classes, columns)
        return shapes

"""The plain Vision Transformer: of facebookresearch/dino and dinov2, and of whatever computes the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from dinoport.networks.interpolation import SCALE_WITH_OFFSET, Interpolation
from dinoport.networks.network import Classifier, Features, Network
from dinoport.networks.shapes import attention, layer_scales, linear, mlp, norm, vit_stem
from dinoport.tensor import Shape

POSITIONS = "pos_embed"

TWO_FEATURES = (Features.CLS_MEAN, Features.CLS_MEAN_INTERLEAVED)
"""Of which a classifier has a column for each channel of either."""


@dataclass(frozen=True)
class Decoder:
    """What an MAE has behind its encoder: a narrower ViT that draws hidden patches, with one row of pixels for each.

    `mask_ratio` is the share of patches that are hidden, `normed_loss` says that training compared normalised pixels.
    """

    width: int
    depth: int
    heads: int
    mlp_hidden: int
    mask_ratio: float = 0.75
    normed_loss: bool = False

    def tensors(self, encoder: ViT) -> dict[str, Shape]:
        """Every tensor with its shape, for the encoder that stands before it."""
        shapes = linear("decoder_embed", self.width, encoder.width)
        shapes |= {"mask_token": (1, 1, self.width), "decoder_pos_embed": (1, encoder.grid**2 + 1, self.width)}
        for block in (f"decoder_blocks.{index}" for index in range(self.depth)):
            shapes |= attention(block, self.width, qkv_bias=encoder.qkv_bias, proj_bias=True)
            shapes |= norm(f"{block}.norm2", self.width) | mlp(block, self.width, self.mlp_hidden, bias=True)
        pixels = encoder.patch_size**2 * encoder.channels
        return shapes | norm("decoder_norm", self.width) | linear("decoder_pred", pixels, self.width)


@dataclass(frozen=True)
class ViT:
    """A ViT with a table of positions, pre-norm blocks and a final norm.

    Sizes in pixels are of the square image that the table was made for. `mask_token` is a tensor that only training
    uses. Without a `cls_token` the table has rows for patches alone; with a `distillation_token` it has one more, which
    stands behind the CLS token. With a `pooled_norm` there is no final norm, and the mean of the patches has one.
    With a `decoder` it is a whole MAE, which hides patches, and takes one size of picture alone.
    `float32_table` says that the table is resampled in float32 whatever the model's dtype, and that a picture has
    to be whole patches: so it is in facebookresearch/dinov2.
    """

    network: ClassVar[Network] = Network("vit", "ViT", "dinoport.networks.vit.forward")

    width: int
    depth: int
    heads: int
    mlp_hidden: int
    patch_size: int
    image_size: int
    channels: int = 3
    feed_forward: Literal["mlp", "swiglu"] = "mlp"
    registers: int = 0
    layer_scale: bool = False
    mask_token: bool = False
    cls_token: bool = True
    distillation_token: bool = False
    pooled_norm: bool = False
    qkv_bias: bool = True
    proj_bias: bool = True
    ffn_bias: bool = True
    layer_norm_eps: float = 1e-6
    interpolation: Interpolation = SCALE_WITH_OFFSET
    float32_table: bool = False
    classifier: Classifier | None = None
    decoder: Decoder | None = None
    positions: ClassVar[str] = POSITIONS

    @property
    def takes_one_size(self) -> bool:
        """Whether a picture of another size has no place: a decoder's table is for one."""
        return self.decoder is not None

    @property
    def unused(self) -> tuple[str, ...]:
        """Tensors of training alone: no output depends on them."""
        return () if self.decoder else ("mask_token",)

    @property
    def grid(self) -> int:
        """Patches along one side of the stored position table."""
        return self.image_size // self.patch_size

    @property
    def cell(self) -> int:
        return self.patch_size

    @property
    def prefix_tokens(self) -> int:
        return self.first_rows + self.registers

    @property
    def first_rows(self) -> int:
        """Rows of the position table before those of patches."""
        return int(self.cls_token) + int(self.distillation_token)

    @property
    def is_plain(self) -> bool:
        """Whether it has nothing that the first ViT has not, but for a missing bias of queries, keys and values."""
        parts = self.registers or self.layer_scale or self.mask_token or self.feed_forward != "mlp"
        parts = parts or self.distillation_token or self.pooled_norm or not self.cls_token or self.decoder is not None
        return not parts and self.proj_bias and self.ffn_bias

    @property
    def strides(self) -> dict[str, int]:
        return {"patch_embed.proj.weight": self.patch_size}

    def tensors(self) -> dict[str, Shape]:
        """Every tensor with its shape, blocks not chunked."""
        width = self.width
        shapes = vit_stem(width, self.channels, self.patch_size, cls_token=self.cls_token)
        shapes[POSITIONS] = (1, self.grid**2 + self.first_rows, width)
        if self.distillation_token:
            shapes["dist_token"] = (1, 1, width)
        if self.registers:
            shapes["register_tokens"] = (1, self.registers, width)
        if self.mask_token:
            shapes["mask_token"] = (1, width)
        for block in (f"blocks.{index}" for index in range(self.depth)):
            shapes |= attention(block, width, qkv_bias=self.qkv_bias, proj_bias=self.proj_bias)
            shapes |= norm(f"{block}.norm2", width) | self._feed_forward(block)
            shapes |= layer_scales(block, width) if self.layer_scale else {}
        shapes |= norm("fc_norm" if self.pooled_norm else "norm", width)
        if self.classifier is not None:
            columns = 2 * width if self.classifier.features in TWO_FEATURES else width
            shapes |= linear("classifier", self.classifier.classes, columns)
            if self.classifier.features is Features.CLS_AND_DISTILLATION:
                shapes |= linear("classifier_dist", self.classifier.classes, columns)
        return shapes | (self.decoder.tensors(self) if self.decoder else {})

    def _feed_forward(self, block: str) -> dict[str, Shape]:
        width, hidden, bias = self.width, self.mlp_hidden, self.ffn_bias
        if self.feed_forward == "mlp":
            return mlp(block, width, hidden, bias=bias)
        gate = linear(f"{block}.mlp.w12", 2 * hidden, width, bias=bias)
        return gate | linear(f"{block}.mlp.w3", width, hidden, bias=bias)

"""The Vision Transformer with rotary positions of facebookresearch/dinov3 (`dinov3/models/vision_transformer.py`)."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from dinoport.networks.network import Classifier, Features, Network
from dinoport.networks.shapes import attention, layer_scales, linear, mlp, norm, vit_stem
from dinoport.tensor import Shape

PERIODS = "rope_embed.periods"


@dataclass(frozen=True)
class RotaryViT:
    """A ViT with rotary positions and no position table. `image_size` is the input's that it is evaluated with.

    `key_bias_mask` says that there is a `bias_mask`: it switches the keys' bias off, unless `live_key_bias`.
    `rope_rounded` says that the stored periods are `rope_theta`'s rounded to bfloat16.
    """

    network: ClassVar[Network] = Network(
        "rotary_vit",
        "ViT with rotary positions",
        "dinoport.networks.rotary_vit.forward",
        rotation="dinoport.networks.rotary_vit.rotation",
    )

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
    classifier: Classifier | None = None
    positions: ClassVar[None] = None
    unused: ClassVar[tuple[str, ...]] = ("mask_token", "local_cls_norm.weight", "local_cls_norm.bias")
    """Tensors of training alone: no output depends on them."""
    decides: ClassVar[tuple[str, ...]] = ("key_bias",)
    """What a codebase may have no place for where it is off, and so has to be the same on two sides."""

    @property
    def cell(self) -> int:
        return self.patch_size

    @property
    def prefix_tokens(self) -> int:
        return 1 + self.registers

    @property
    def head_dim(self) -> int:
        return self.width // self.heads

    @property
    def key_bias(self) -> bool:
        """Whether keys have a bias that counts."""
        return self.qkv_bias and (self.live_key_bias or not self.key_bias_mask)

    @property
    def strides(self) -> dict[str, int]:
        return {"patch_embed.proj.weight": self.patch_size}

    def tensors(self) -> dict[str, Shape]:
        width = self.width
        shapes = vit_stem(width, self.channels, self.patch_size)
        shapes |= {"mask_token": (1, width), PERIODS: (self.head_dim // 4,)}
        if self.registers:
            shapes["storage_tokens"] = (1, self.registers, width)
        for block in (f"blocks.{index}" for index in range(self.depth)):
            shapes |= attention(block, width, qkv_bias=self.qkv_bias, proj_bias=self.proj_bias)
            if self.qkv_bias and self.key_bias_mask:
                shapes[f"{block}.attn.qkv.bias_mask"] = (3 * width,)
            shapes |= norm(f"{block}.norm2", width) | self._feed_forward(block)
            shapes |= layer_scales(block, width) if self.layer_scale else {}
        shapes |= norm("norm", width) | (norm("local_cls_norm", width) if self.local_cls_norm else {})
        if self.classifier is None:
            return shapes
        columns = width if self.classifier.features is Features.CLS else 2 * width
        return shapes | linear("classifier", self.classifier.classes, columns)

    def _feed_forward(self, block: str) -> dict[str, Shape]:
        width, hidden, bias = self.width, self.mlp_hidden, self.ffn_bias
        if self.feed_forward == "mlp":
            return mlp(block, width, hidden, bias=bias)
        gates = linear(f"{block}.mlp.w1", hidden, width, bias=bias) | linear(
            f"{block}.mlp.w2", hidden, width, bias=bias
        )
        return gates | linear(f"{block}.mlp.w3", width, hidden, bias=bias)

"""The forward pass of facebookresearch/dinov2's ViT (`dinov2/models/vision_transformer.py`), under its tensor names.

Written anew; imported only to verify.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from dinoport.networks.layers import (
    State,
    as_tokens,
    cls_and_mean,
    layer_norm,
    layer_scale,
    linear,
    merge_heads,
    mlp,
    patch_map,
    silu,
    split_heads,
)
from dinoport.networks.observing import EMBEDDING, Observer, ignore
from dinoport.networks.torch_interpolation import interpolate_table
from dinoport.networks.vit2.architecture import DinoV2ViT


def forward(
    state: State, architecture: DinoV2ViT, pixels: torch.Tensor, observe: Observer | None = None
) -> dict[str, torch.Tensor]:
    """`tokens` (batch, 1 + registers + patches, width), after the final norm, and `logits` (batch, classes).

    Tokens are CLS, registers, patches row by row. `state` holds the original names without prefixes and chunk
    numbers; pixels and tensors are of one dtype, and so is the result. Logits come from `linear_head` if the
    architecture has classes. Raises ValueError where the patch size does not divide the picture, as upstream does.
    """
    observe = observe or ignore
    tokens = _embed(state, architecture, pixels)
    observe(EMBEDDING, tokens)
    for index in range(architecture.depth):
        tokens = _block(state, architecture, f"blocks.{index}", tokens)
        observe(f"blocks.{index}", tokens)
    tokens = layer_norm(state, "norm", tokens, architecture.layer_norm_eps)
    outputs = {"tokens": tokens}
    if architecture.classes is not None and "linear_head.weight" in state:
        outputs["logits"] = linear_logits(state, architecture, tokens)
    return outputs


def linear_logits(state: State, architecture: DinoV2ViT, tokens: torch.Tensor) -> torch.Tensor:
    """The logits (batch, classes) of a one-layer classifier: CLS token, then patch mean, after the final norm.

    Source: `_LinearClassifierWrapper` in `dinov2/hub/classifiers.py` with `layers=1`.
    """
    features = cls_and_mean(tokens, patches_from=1 + architecture.registers)
    return linear(state, "linear_head", torch.cat(features, dim=1))


def _embed(state: State, architecture: DinoV2ViT, pixels: torch.Tensor) -> torch.Tensor:
    batch, _, height, width = pixels.shape
    if height % architecture.patch_size or width % architecture.patch_size:
        raise ValueError(f"a picture of {height}×{width} pixels is not whole patches of {architecture.patch_size}")
    patches = patch_map(state, pixels, architecture.patch_size)
    cls = state["cls_token"].expand(batch, -1, -1)
    tokens = torch.cat([cls, as_tokens(patches)], dim=1) + _positions(state, architecture, patches)
    if not architecture.registers:
        return tokens
    registers = state["register_tokens"].expand(batch, -1, -1)
    return torch.cat([tokens[:, :1], registers, tokens[:, 1:]], dim=1)


def _positions(state: State, architecture: DinoV2ViT, patches: torch.Tensor) -> torch.Tensor:
    table = state["pos_embed"]
    rows, columns = patches.shape[-2:]
    if rows * columns == table.shape[1] - 1 and rows == columns:
        return table
    # Upstream resamples in float32 whatever the model's dtype, and so does Transformers.
    return interpolate_table(table.float(), rows, columns, architecture.interpolation).to(patches.dtype)


def _block(state: State, architecture: DinoV2ViT, name: str, tokens: torch.Tensor) -> torch.Tensor:
    eps = architecture.layer_norm_eps
    attended = _attention(state, architecture.heads, f"{name}.attn", layer_norm(state, f"{name}.norm1", tokens, eps))
    tokens = tokens + layer_scale(state, f"{name}.ls1", attended)
    feed_forward = mlp if architecture.feed_forward == "mlp" else _swiglu
    mixed = feed_forward(state, f"{name}.mlp", layer_norm(state, f"{name}.norm2", tokens, eps))
    return tokens + layer_scale(state, f"{name}.ls2", mixed)


def _attention(state: State, heads: int, name: str, inputs: torch.Tensor) -> torch.Tensor:
    queries, keys, values = split_heads(linear(state, f"{name}.qkv", inputs), heads)
    attended = functional.scaled_dot_product_attention(queries, keys, values)
    return linear(state, f"{name}.proj", merge_heads(attended))


def _swiglu(state: State, name: str, inputs: torch.Tensor) -> torch.Tensor:
    """The first half of `w12` is the gate (`dinov2/layers/swiglu_ffn.py`)."""
    gate, value = linear(state, f"{name}.w12", inputs).chunk(2, dim=-1)
    return linear(state, f"{name}.w3", silu(gate) * value)

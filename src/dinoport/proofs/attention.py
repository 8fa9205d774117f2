"""How much the CLS token attends to every token in the last block: of an original, and of a Transformers model.

What DINO's papers show, and what `visualize_attention.py` of facebookresearch/dino draws.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from dinoport.networks.observing import EMBEDDING
from dinoport.networks.rotary_vit.architecture import DinoV3ViT

KEEPING = "dinoport_keeps_attention"
"""The name under which Transformers calls our attention function."""


@contextmanager
def kept_attention(model: Any) -> Iterator[list[Any]]:
    """Yield a list to which a forward pass adds, block by block, the CLS token's attention: (batch, heads, tokens).

    The queries and keys are the model's own, after rotation where there is one. `output_attentions` would hold all
    tokens' attention of all blocks, which are gigabytes at larger sizes. Empty for a model without attention.
    """
    import torch
    from transformers import AttentionInterface

    rows: list[Any] = []

    def attend(
        module: Any,
        query: Any,
        key: Any,
        value: Any,
        attention_mask: Any = None,
        scaling: float | None = None,
        **others: Any,
    ) -> tuple[Any, None]:
        scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
        rows.append((query[:, :, :1] @ key.transpose(-2, -1) * scaling).softmax(dim=-1)[:, :, 0])
        attended = torch.nn.functional.scaled_dot_product_attention(query, key, value, scale=scaling)
        return attended.transpose(1, 2).contiguous(), None

    before = model.config._attn_implementation
    if model.config.model_type in ("resnet", "dinov3_convnext"):
        yield rows
        return
    AttentionInterface.register(KEEPING, attend)
    model.set_attn_implementation(KEEPING)
    try:
        yield rows
    finally:
        model.set_attn_implementation(before)


def attention_of_original(
    state: Mapping[str, Any], architecture: Any, blocks: Mapping[str, Any], rotation: Any = None
) -> Any:
    """The same of an original, (batch, heads, tokens), from what its forward pass shows of its `blocks`.

    `rotation` are DINOv3's sines and cosines. None for a model without attention.
    """
    from dinoport.networks.layers import layer_norm, linear, split_heads
    from dinoport.networks.rotary_vit.forward import queries_keys_values

    last = getattr(architecture, "depth", 0) - 1
    if last < 0:
        return None
    name, heads = f"blocks.{last}", architecture.heads
    entering = blocks[f"blocks.{last - 1}" if last else EMBEDDING]
    normed = layer_norm(state, f"{name}.norm1", entering, architecture.layer_norm_eps)
    if isinstance(architecture, DinoV3ViT):
        queries, keys, _ = queries_keys_values(state, heads, f"{name}.attn", normed, rotation)
    else:
        queries, keys, _ = split_heads(linear(state, f"{name}.attn.qkv", normed), heads)
    return (queries[:, :, :1] @ keys.transpose(-2, -1) * queries.shape[-1] ** -0.5).softmax(dim=-1)[:, :, 0]

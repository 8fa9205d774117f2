"""The layers that the references share, as functions of a state dict under original names.

Imported only to verify. Tokens are (batch, tokens, width) throughout, pictures (batch, channels, height, width).
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeAlias

import torch
from torch.nn import functional

from dinoport.networks.network import Features
from dinoport.networks.observing import EMBEDDING

State: TypeAlias = Mapping[str, torch.Tensor]
Activation: TypeAlias = Callable[[torch.Tensor], torch.Tensor]

Projection: TypeAlias = Callable[[str, torch.Tensor], tuple[torch.Tensor, torch.Tensor, torch.Tensor]]
"""Queries, keys and values of an attention layer by its name, each (batch, heads, tokens, head dimension)."""

_other_activation: ContextVar[Activation | None] = ContextVar("other_activation", default=None)


def linear(state: State, name: str, inputs: torch.Tensor) -> torch.Tensor:
    """`name.weight`, and `name.bias` where there is one."""
    return functional.linear(inputs, state[f"{name}.weight"], state.get(f"{name}.bias"))


def layer_norm(state: State, name: str, inputs: torch.Tensor, eps: float) -> torch.Tensor:
    weight = state[f"{name}.weight"]
    return functional.layer_norm(inputs, weight.shape, weight, state[f"{name}.bias"], eps)


def patch_map(state: State, pixels: torch.Tensor, patch_size: int) -> torch.Tensor:
    """Patches as (batch, width, rows, columns). Pixels beyond the last whole patch are left out."""
    weight, bias = state["patch_embed.proj.weight"], state["patch_embed.proj.bias"]
    return functional.conv2d(pixels, weight, bias, stride=patch_size)


def as_tokens(feature_map: torch.Tensor) -> torch.Tensor:
    """(batch, width, rows, columns) as tokens, row by row."""
    return feature_map.flatten(2).transpose(1, 2)


def split_heads(qkv: torch.Tensor, heads: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Queries, keys and values, each (batch, heads, tokens, head dimension), of a joint projection's output."""
    batch, tokens, joint = qkv.shape
    queries, keys, values = qkv.reshape(batch, tokens, 3, heads, joint // 3 // heads).permute(2, 0, 3, 1, 4)
    return queries, keys, values


def merge_heads(attended: torch.Tensor) -> torch.Tensor:
    """(batch, heads, tokens, head dimension) back to tokens."""
    return attended.transpose(1, 2).flatten(2)


@contextmanager
def activation_replaced(other: Activation) -> Iterator[None]:
    """Compute with another activation than the original's: what a diagnosis tries."""
    token = _other_activation.set(other)
    try:
        yield
    finally:
        _other_activation.reset(token)


def gelu(inputs: torch.Tensor) -> torch.Tensor:
    return (_other_activation.get() or functional.gelu)(inputs)


def silu(inputs: torch.Tensor) -> torch.Tensor:
    return (_other_activation.get() or functional.silu)(inputs)


def mlp(state: State, name: str, inputs: torch.Tensor) -> torch.Tensor:
    """Two linear layers with the exact GELU between them."""
    return linear(state, f"{name}.fc2", gelu(linear(state, f"{name}.fc1", inputs)))


def swiglu(state: State, name: str, inputs: torch.Tensor) -> torch.Tensor:
    """The gate is `w1` (`dinov3/layers/ffn_layers.py`), or the first half of `w12` (`dinov2/layers/swiglu_ffn.py`)."""
    if f"{name}.w12.weight" in state:
        gate, value = linear(state, f"{name}.w12", inputs).chunk(2, dim=-1)
    else:
        gate, value = (linear(state, f"{name}.{layer}", inputs) for layer in ("w1", "w2"))
    return linear(state, f"{name}.w3", silu(gate) * value)


def layer_scale(state: State, name: str, inputs: torch.Tensor) -> torch.Tensor:
    """`name.gamma` times the inputs; without one the originals have an identity in its place."""
    gamma = state.get(f"{name}.gamma")
    return inputs if gamma is None else inputs * gamma


def vit_block(state: State, architecture: Any, name: str, tokens: torch.Tensor, project: Projection) -> torch.Tensor:
    """A ViT's block, with norms before attention and before the feed-forward layers."""
    eps = architecture.layer_norm_eps
    normed = layer_norm(state, f"{name}.norm1", tokens, eps)
    attended = merge_heads(functional.scaled_dot_product_attention(*project(f"{name}.attn", normed)))
    tokens = tokens + layer_scale(state, f"{name}.ls1", linear(state, f"{name}.attn.proj", attended))
    feed_forward = mlp if architecture.feed_forward == "mlp" else swiglu
    mixed = feed_forward(state, f"{name}.mlp", layer_norm(state, f"{name}.norm2", tokens, eps))
    return tokens + layer_scale(state, f"{name}.ls2", mixed)


def cls_attention(
    state: State, architecture: Any, blocks: Mapping[str, torch.Tensor], project: Projection
) -> torch.Tensor:
    """How much the first token attends to every token in the last block of a ViT, (batch, heads, tokens)."""
    name = f"blocks.{architecture.depth - 1}"
    entering = blocks[f"blocks.{architecture.depth - 2}" if architecture.depth > 1 else EMBEDDING]
    normed = layer_norm(state, f"{name}.norm1", entering, architecture.layer_norm_eps)
    queries, keys, _ = project(f"{name}.attn", normed)
    scores: torch.Tensor = queries[:, :, :1] @ keys.transpose(-2, -1) * queries.shape[-1] ** -0.5
    return scores.softmax(dim=-1)[:, :, 0]


def logits_of(state: State, architecture: Any, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
    """`logits` (batch, classes) of a ViT's classifier, from tokens after the final norm; nothing without one.

    `eval_linear.py` of facebookresearch/dino stacks CLS token and patch mean on a new last axis and flattens, so that
    the two alternate channel by channel; `dinov2/hub/classifiers.py` and dinov3's put one after the other.
    """
    classifier = architecture.classifier
    if classifier is None or "classifier.weight" not in state:
        return {}
    if classifier.features is Features.CLS_AND_DISTILLATION:
        both = linear(state, "classifier", tokens[:, 0]) + linear(state, "classifier_dist", tokens[:, 1])
        return {"logits": both / 2}
    cls, mean = tokens[:, 0], tokens[:, architecture.prefix_tokens :].mean(dim=1)
    features = {
        Features.CLS: lambda: cls,
        Features.NORMED_MEAN: lambda: cls,  # the mean comes in as the only token
        Features.CLS_MEAN: lambda: torch.cat([cls, mean], dim=-1),
        Features.CLS_MEAN_INTERLEAVED: lambda: torch.stack([cls, mean], dim=-1).flatten(1),
    }
    return {"logits": linear(state, "classifier", features[classifier.features]())}

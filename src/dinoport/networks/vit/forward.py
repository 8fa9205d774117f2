"""The forward pass of facebookresearch/dino's ViT (`vision_transformer.py`), written anew under its tensor names.

Imported only to verify.
"""

from __future__ import annotations

import torch

from dinoport.codebases.probe import Features, Probe
from dinoport.networks.layers import (
    State,
    as_tokens,
    cls_and_mean,
    layer_norm,
    linear,
    merge_heads,
    mlp,
    patch_map,
    split_heads,
)
from dinoport.networks.observing import EMBEDDING, Observer, ignore
from dinoport.networks.torch_interpolation import interpolate_table
from dinoport.networks.vit.architecture import DinoViT


def forward(
    state: State, architecture: DinoViT, pixels: torch.Tensor, observe: Observer | None = None
) -> dict[str, torch.Tensor]:
    """`tokens` (batch, 1 + patches, width), CLS first, all after the final norm, and `logits` (batch, classes).

    `state` holds the original names without prefixes; pixels and tensors are of one dtype, and so is the result.
    Logits come from the model's own classifier, else from the probe; without either they are left out.
    """
    observe = observe or ignore
    tokens = _embed(state, architecture, pixels)
    observe(EMBEDDING, tokens)
    for index in range(architecture.depth):
        tokens = _block(state, architecture, f"blocks.{index}", tokens)
        observe(f"blocks.{index}", tokens)
    tokens = layer_norm(state, "norm", tokens, architecture.layer_norm_eps)
    outputs = {"tokens": tokens}
    if architecture.classes is not None and "head.weight" in state:
        outputs["logits"] = linear(state, "head", tokens[:, 0])
    elif architecture.probe is not None and "linear.weight" in state:
        outputs["logits"] = linear_logits(state, architecture.probe, tokens)
    return outputs


def linear_logits(state: State, probe: Probe, tokens: torch.Tensor) -> torch.Tensor:
    """The logits (batch, classes) of a classifier that `eval_linear.py` trained, from tokens after the final norm.

    With `--avgpool_patchtokens` it stacks CLS token and patch mean on a new last axis and flattens, so that the two
    alternate channel by channel.
    """
    cls, mean = cls_and_mean(tokens, patches_from=1)
    if probe.features is Features.CLS:
        features = cls
    elif probe.features is Features.CLS_MEAN_INTERLEAVED:
        features = torch.stack([cls, mean], dim=-1).flatten(1)
    else:
        features = torch.cat([cls, mean], dim=-1)
    return linear(state, "linear", features)


def _embed(state: State, architecture: DinoViT, pixels: torch.Tensor) -> torch.Tensor:
    patches = patch_map(state, pixels, architecture.patch_size)
    cls = state["cls_token"].expand(len(pixels), -1, -1)
    return torch.cat([cls, as_tokens(patches)], dim=1) + _positions(state, architecture, pixels, patches)


def _positions(state: State, architecture: DinoViT, pixels: torch.Tensor, patches: torch.Tensor) -> torch.Tensor:
    table = state["pos_embed"]
    height, width = pixels.shape[-2:]
    rows, columns = patches.shape[-2:]
    # Pixels, not patches, decide whether the picture is square: 224×230 is resampled, if only by the 0.1.
    if rows * columns == table.shape[1] - 1 and height == width:
        return table
    return interpolate_table(table, rows, columns, architecture.interpolation)


def _block(state: State, architecture: DinoViT, name: str, tokens: torch.Tensor) -> torch.Tensor:
    eps = architecture.layer_norm_eps
    tokens = tokens + _attention(
        state, architecture.heads, f"{name}.attn", layer_norm(state, f"{name}.norm1", tokens, eps)
    )
    return tokens + mlp(state, f"{name}.mlp", layer_norm(state, f"{name}.norm2", tokens, eps))


def _attention(state: State, heads: int, name: str, inputs: torch.Tensor) -> torch.Tensor:
    queries, keys, values = split_heads(linear(state, f"{name}.qkv", inputs), heads)
    # Spelled out as upstream spells it: the fused kernel rounds differently in float32.
    weights = (queries @ keys.transpose(-2, -1) * queries.shape[-1] ** -0.5).softmax(dim=-1)
    return linear(state, f"{name}.proj", merge_heads(weights @ values))

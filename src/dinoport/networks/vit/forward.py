"""The forward pass of the plain ViT, written anew under upstream's tensor names.

Sources: `vision_transformer.py` of facebookresearch/dino and `dinov2/models/vision_transformer.py`. Imported only to
verify.
"""

from collections.abc import Mapping
from functools import partial

import torch

from dinoport.networks.layers import (
    State,
    as_tokens,
    cls_attention,
    layer_norm,
    linear,
    logits_of,
    patch_map,
    split_heads,
    vit_block,
)
from dinoport.networks.observing import EMBEDDING, Observer, ignore
from dinoport.networks.torch_interpolation import interpolate_table
from dinoport.networks.vit.architecture import Decoder, ViT
from dinoport.networks.vit.masking import order, seen


def forward(
    state: State,
    architecture: ViT,
    pixels: torch.Tensor,
    observe: Observer = ignore,
    *,
    positions: torch.Tensor | None = None,
) -> dict[str, torch.Tensor]:
    """`tokens` (batch, 1 + registers + patches, width), after the final norm, and `logits` (batch, classes).

    Tokens are CLS, distillation token, registers, patches row by row; one that the model lacks is left out. Where the
    mean of the patches is normed in place of tokens, it is `pooled`, (batch, width), and tokens are not normed. A whole
    MAE gives tokens of the patches that it sees, and `drawn`, (batch, patches, pixels of a patch). `state`
    holds canonical names; pixels and tensors are of one dtype, and so is the result. Logits are left out without a
    classifier. `positions`, a table of this picture's size, is used in place of the resampled one. Raises ValueError
    where a model that takes whole patches alone gets a picture of another size.
    """
    tokens = _embed(state, architecture, pixels, positions)
    if architecture.decoder:
        shown = seen(architecture.grid**2, architecture.decoder.mask_ratio)
        tokens = torch.cat([tokens[:, :1], tokens[:, 1:][:, shown]], dim=1)
    observe(EMBEDDING, tokens)
    project = partial(_queries_keys_values, state, architecture.heads)
    for index in range(architecture.depth):
        tokens = vit_block(state, architecture, f"blocks.{index}", tokens, project)
        observe(f"blocks.{index}", tokens)
    if architecture.pooled_norm:
        mean = tokens[:, architecture.prefix_tokens :].mean(dim=1)
        pooled = layer_norm(state, "fc_norm", mean, architecture.layer_norm_eps)
        return {"tokens": tokens, "pooled": pooled, **logits_of(state, architecture, pooled[:, None])}
    tokens = layer_norm(state, "norm", tokens, architecture.layer_norm_eps)
    drawn = {"drawn": _decoded(state, architecture, architecture.decoder, tokens)} if architecture.decoder else {}
    return {"tokens": tokens, **logits_of(state, architecture, tokens), **drawn}


def _decoded(state: State, architecture: ViT, decoder: Decoder, tokens: torch.Tensor) -> torch.Tensor:
    """What an MAE draws for every patch (`models_mae.py` of facebookresearch/mae)."""
    patches = architecture.grid**2
    known = linear(state, "decoder_embed", tokens)
    hidden = state["mask_token"].expand(len(known), patches + 1 - known.shape[1], -1)
    drawn = torch.cat([known[:, 1:], hidden], dim=1)[:, torch.tensor(order(patches)).argsort()]
    found = torch.cat([known[:, :1], drawn], dim=1) + state["decoder_pos_embed"]
    project = partial(_queries_keys_values, state, decoder.heads)
    for index in range(decoder.depth):
        found = vit_block(state, architecture, f"decoder_blocks.{index}", found, project)
    found = layer_norm(state, "decoder_norm", found, architecture.layer_norm_eps)
    return linear(state, "decoder_pred", found)[:, 1:]


def positions_within(
    state: State, architecture: ViT, pixels: torch.Tensor, embedding: torch.Tensor
) -> torch.Tensor | None:
    """The position table that another's `embedding` of the pixels was made with; None where it has another shape."""
    patches = patch_map(state, pixels, architecture.patch_size)
    table = torch.zeros(1, 1 + patches.shape[-2] * patches.shape[-1], architecture.width, dtype=pixels.dtype)
    bare = _embed(state, architecture, pixels, table)
    if embedding.shape != bare.shape:
        return None
    beyond = (embedding - bare)[:1]
    return torch.cat([beyond[:, :1], beyond[:, architecture.prefix_tokens :]], dim=1)


def last_attention(
    state: State,
    architecture: ViT,
    blocks: Mapping[str, torch.Tensor],
    *,
    positions: torch.Tensor | None = None,
) -> torch.Tensor:
    """How much the CLS token attends to every token in the last block: (batch, heads, tokens)."""
    return cls_attention(state, architecture, blocks, partial(_queries_keys_values, state, architecture.heads))


def _embed(
    state: State, architecture: ViT, pixels: torch.Tensor, positions: torch.Tensor | None = None
) -> torch.Tensor:
    batch, _, height, width = pixels.shape
    if architecture.float32_table and (height % architecture.patch_size or width % architecture.patch_size):
        raise ValueError(f"a picture of {height}×{width} pixels is not whole patches of {architecture.patch_size}")
    patches = patch_map(state, pixels, architecture.patch_size)
    first = [state[name].expand(batch, -1, -1) for name in ("cls_token", "dist_token") if name in state]
    if positions is None:
        positions = _positions(state, architecture, patches, is_square=height == width)
    tokens = torch.cat([*first, as_tokens(patches)], dim=1) + positions
    if not architecture.registers:
        return tokens
    registers = state["register_tokens"].expand(batch, -1, -1)
    rows = architecture.first_rows
    return torch.cat([tokens[:, :rows], registers, tokens[:, rows:]], dim=1)


def _positions(state: State, architecture: ViT, patches: torch.Tensor, *, is_square: bool) -> torch.Tensor:
    table = state[architecture.positions]
    rows, columns = patches.shape[-2:]
    # Pixels, not patches, decide whether the picture is square: 224×230 is resampled, if only by the 0.1.
    first = architecture.first_rows
    if rows * columns == table.shape[1] - first and is_square:
        return table
    dtype = torch.float32 if architecture.float32_table else table.dtype
    return interpolate_table(table.to(dtype), rows, columns, architecture.interpolation, first).to(patches.dtype)


def _queries_keys_values(
    state: State, heads: int, name: str, inputs: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return split_heads(linear(state, f"{name}.qkv", inputs), heads)

"""The forward pass of facebookresearch/dinov3's ConvNeXt (`dinov3/models/convnext.py`), under its tensor names.

Written anew; imported only to verify.
"""

import torch
from torch.nn import functional

from dinoport.networks.convnext.architecture import ConvNeXt
from dinoport.networks.layers import State, as_tokens, gelu, layer_norm, linear
from dinoport.networks.observing import EMBEDDING, Observer, ignore


def forward(
    state: State, architecture: ConvNeXt, pixels: torch.Tensor, observe: Observer = ignore
) -> dict[str, torch.Tensor]:
    """`tokens` (batch, 1 + rows·columns, width): the mean of the last map, then the map row by row, all normed.

    `state` holds the original names without prefixes; pixels and tensors are of one dtype, and so is the result.
    """
    features = pixels
    for stage, depth in enumerate(architecture.depths):
        features = _downsample(state, architecture, stage, features)
        observe(f"downsample_layers.{stage}" if stage else EMBEDDING, features)
        for index in range(depth):
            features = _block(state, architecture, f"stages.{stage}.{index}", features)
            observe(f"stages.{stage}.{index}", features)
    tokens = torch.cat([features.mean(dim=(2, 3)).unsqueeze(1), as_tokens(features)], dim=1)
    return {"tokens": layer_norm(state, "norm", tokens, architecture.layer_norm_eps)}


def last_attention(state: State, architecture: ConvNeXt, blocks: object) -> None:
    """A network of convolutions has no attention."""


def _downsample(state: State, architecture: ConvNeXt, stage: int, features: torch.Tensor) -> torch.Tensor:
    """The stem convolves, then norms; the later ones norm first."""
    name, eps = f"downsample_layers.{stage}", architecture.layer_norm_eps
    if stage == 0:
        return _norm_channels(state, f"{name}.1", _convolve(state, f"{name}.0", features, stride=4), eps)
    return _convolve(state, f"{name}.1", _norm_channels(state, f"{name}.0", features, eps), stride=2)


def _block(state: State, architecture: ConvNeXt, name: str, features: torch.Tensor) -> torch.Tensor:
    width = features.shape[1]
    weight, bias = state[f"{name}.dwconv.weight"], state[f"{name}.dwconv.bias"]
    mixed = functional.conv2d(features, weight, bias, padding=3, groups=width).permute(0, 2, 3, 1)
    mixed = layer_norm(state, f"{name}.norm", mixed, architecture.layer_norm_eps)
    mixed = linear(state, f"{name}.pwconv2", gelu(linear(state, f"{name}.pwconv1", mixed)))
    if architecture.layer_scale:
        mixed = mixed * state[f"{name}.gamma"]
    return features + mixed.permute(0, 3, 1, 2)


def _convolve(state: State, name: str, features: torch.Tensor, stride: int) -> torch.Tensor:
    return functional.conv2d(features, state[f"{name}.weight"], state[f"{name}.bias"], stride=stride)


def _norm_channels(state: State, name: str, features: torch.Tensor, eps: float) -> torch.Tensor:
    """LayerNorm over the channels, spelled out as upstream does: the fused kernel rounds differently in float32."""
    centred = features - features.mean(dim=1, keepdim=True)
    normed = centred / torch.sqrt(centred.square().mean(dim=1, keepdim=True) + eps)
    return state[f"{name}.weight"][:, None, None] * normed + state[f"{name}.bias"][:, None, None]

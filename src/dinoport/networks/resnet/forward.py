"""The forward pass of torchvision's ResNet-50 (`torchvision/models/resnet.py`), which facebookresearch/dino trains.

Written anew under its tensor names; imported only to verify.
"""

import torch
from torch.nn import functional

from dinoport.networks.layers import State, linear
from dinoport.networks.observing import EMBEDDING, Observer, ignore
from dinoport.networks.resnet.architecture import ResNet


def forward(
    state: State, architecture: ResNet, pixels: torch.Tensor, observe: Observer = ignore
) -> dict[str, torch.Tensor]:
    """`feature_map` (batch, channels, rows, columns), `pooled` (batch, channels) and `logits` (batch, classes).

    `state` holds the original names without prefixes; pixels and tensors are of one dtype, and so is the result.
    Logits are left out without a classifier.
    """
    eps = architecture.batch_norm_eps
    features = functional.conv2d(pixels, state["conv1.weight"], stride=2, padding=3)
    features = functional.relu(_batch_norm(state, "bn1", features, eps))
    features = functional.max_pool2d(features, kernel_size=3, stride=2, padding=1)
    observe(EMBEDDING, features)
    for stage, depth in enumerate(architecture.depths, start=1):
        for index in range(depth):
            name = f"layer{stage}.{index}"
            stride = 2 if stage > 1 and index == 0 else 1
            strides = (1, stride) if architecture.stride_in_3x3 else (stride, 1)
            features = _bottleneck(state, name, features, strides, eps)
            observe(name, features)
    pooled = features.mean(dim=(2, 3))
    outputs = {"feature_map": features, "pooled": pooled}
    if architecture.classifier and "classifier.weight" in state:
        outputs["logits"] = linear(state, "classifier", pooled)
    return outputs


def last_attention(state: State, architecture: ResNet, blocks: object) -> None:
    """A network of convolutions has no attention."""


def _bottleneck(state: State, name: str, inputs: torch.Tensor, strides: tuple[int, int], eps: float) -> torch.Tensor:
    """1×1, 3×3, 1×1; of the first two's `strides`, torchvision's is the 3×3's (its variant of ResNet, "v1.5")."""
    features = functional.conv2d(inputs, state[f"{name}.conv1.weight"], stride=strides[0])
    features = functional.relu(_batch_norm(state, f"{name}.bn1", features, eps))
    features = functional.conv2d(features, state[f"{name}.conv2.weight"], stride=strides[1], padding=1)
    features = functional.relu(_batch_norm(state, f"{name}.bn2", features, eps))
    features = functional.conv2d(features, state[f"{name}.conv3.weight"])
    features = _batch_norm(state, f"{name}.bn3", features, eps)
    shortcut = inputs
    if f"{name}.downsample.0.weight" in state:
        shortcut = functional.conv2d(inputs, state[f"{name}.downsample.0.weight"], stride=max(strides))
        shortcut = _batch_norm(state, f"{name}.downsample.1", shortcut, eps)
    return functional.relu(features + shortcut)


def _batch_norm(state: State, name: str, features: torch.Tensor, eps: float) -> torch.Tensor:
    mean, variance = state[f"{name}.running_mean"], state[f"{name}.running_var"]
    return functional.batch_norm(
        features, mean, variance, state[f"{name}.weight"], state[f"{name}.bias"], training=False, eps=eps
    )

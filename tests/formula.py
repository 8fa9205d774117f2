"""Weights and inputs that are rebuilt from a name and a shape alone, and the hash that pins them.

The goldens in `fixtures/goldens` were computed by the genuine code from exactly these tensors; the rule is theirs.
"""

import hashlib
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Shape = tuple[int, ...]

NORMS_WITHOUT_THE_WORD = (
    "downsample_layers.0.1",
    "downsample_layers.1.0",
    "downsample_layers.2.0",
    "downsample_layers.3.0",
    "downsample.1",
)
"""Modules of ConvNeXt and ResNet that normalise, though their names don't say so."""

TOKENS = ("cls_token", "mask_token", "register_tokens", "storage_tokens", "pos_embed")


def noise(name: str, shape: Shape) -> Array:
    """Standard normal float32 values; the name is the seed."""
    rng = np.random.default_rng(zlib.crc32(name.encode("utf-8")))
    return rng.standard_normal(size=shape, dtype=np.float32)


def pixel_values(height: int, width: int, batch: int = 2) -> Array:
    """The input of every golden, (batch, 3, height, width), neither scaled nor normalised."""
    return noise("pixel_values", (batch, 3, height, width))


def tensor(name: str, shape: Shape) -> Array:
    """The parameter or BatchNorm buffer of this name, without prefixes; all arithmetic is float32."""
    one, tenth, half = np.float32(1), np.float32(0.1), np.float32(0.5)
    leaf = name.rsplit(".", 1)[-1]
    if leaf == "num_batches_tracked":
        return np.array(1234, dtype=np.int64)
    values = noise(name, shape)
    if leaf == "running_var":
        return one + tenth * np.abs(values)
    if leaf == "gamma" or (leaf == "weight" and _normalises(name)):
        return one + tenth * values
    if leaf in ("bias", "running_mean"):
        return tenth * values
    if leaf in TOKENS:
        return half * values
    return values * np.float32(1.0 / np.sqrt(int(np.prod(shape[1:], dtype=np.int64))))


def periods(count: int, base: float = 100.0) -> Array:
    """DINOv3's `rope_embed.periods`: base ^ (2i / (head dimension / 2)) for i up to head dimension / 4, the `count`."""
    return (base ** (np.arange(count) / count)).astype(np.float32)


def bias_mask(length: int) -> Array:
    """DINOv3's `qkv.bias_mask`: the middle third, the keys', is switched off."""
    return np.repeat(np.array([1, 0, 1], dtype=np.float32), length // 3)


def state_dict(shapes: Mapping[str, Shape]) -> dict[str, Array]:
    """Every tensor of a state dict. A prefix `backbone.` is not part of a tensor's name.

    A ConvNeXt's `norms.3` is its `norm` under a second name, and has its values.
    """
    state = {}
    for name, shape in shapes.items():
        if name.endswith("rope_embed.periods"):
            state[name] = periods(shape[0])
        elif name.endswith(".bias_mask"):
            state[name] = bias_mask(shape[0])
        else:
            state[name] = tensor(name.removeprefix("backbone.").replace("norms.3.", "norm."), shape)
    return state


def state_sha256(state: Mapping[str, Array]) -> str:
    """The hash that the goldens' manifest gives for a state dict."""
    digest = hashlib.sha256()
    for name in sorted(state):
        values = state[name]
        digest.update(name.encode() + values.dtype.name.encode() + repr(values.shape).encode())
        digest.update(np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def _normalises(name: str) -> bool:
    module = name.rsplit(".", 1)[0]
    last = module.rsplit(".", 1)[-1]
    return (
        "norm" in last or last.startswith("bn") or any(f".{module}".endswith(f".{n}") for n in NORMS_WITHOUT_THE_WORD)
    )

"""The usual mistakes of a conversion, each as the original would compute if it had been made.

A mistake is tried on the original's side: if the original, computed with it, equals the folder, then the folder has
it. Imported only after a proof has failed.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import permutations
from typing import TypeAlias

import torch
from torch.nn import functional

from dinoport.networks.layers import Activation, State
from dinoport.networks.network import Features
from dinoport.proofs.diagnosis.misordered import block_order, other_positions, other_registers, swapped_blocks
from dinoport.proofs.diagnosis.trial import Trial, everywhere_and

EPSILONS = (1e-12, 1e-8, 1e-6, 1e-5, 1e-3)
MAX_HEADS = 64

ACTIVATIONS: dict[str, Activation] = {
    "exact gelu": functional.gelu,
    "gelu approximated by tanh": lambda inputs: functional.gelu(inputs, approximate="tanh"),
    "silu": functional.silu,
    "relu": functional.relu,
    "quick gelu": lambda inputs: inputs * torch.sigmoid(1.702 * inputs),
}

SWAPPED_MODULES = (("norm1", "norm2"), ("ls1", "ls2"), ("mlp.w1", "mlp.w2"), ("bn1", "bn2"), ("bn3", "downsample.1"))

QKV = ("queries", "keys", "values")

Mistake: TypeAlias = Callable[[Trial, str], Iterator[Trial]]
"""Yields what may have gone wrong; the second argument is the name of the first block that differs."""


def trials(base: Trial, block: str, others: Mapping[str, State]) -> Iterator[Trial]:
    """Everything to try on top of `base`, the likeliest first. `others` are the other copies of the model."""
    for label, state in others.items():
        if base.state.keys() <= state.keys():
            yield base.having(f"the folder holds the weights of {label}", state={n: state[n] for n in base.state})
    for mistake in MISTAKES:
        yield from mistake(base, block)


def other_heads(base: Trial, block: str) -> Iterator[Trial]:
    own = getattr(base.architecture, "heads", None)
    if own is None:
        return
    width = base.architecture.width
    for heads in range(1, MAX_HEADS + 1):
        if heads != own and width % heads == 0:
            words = f"the number of heads: the folder computes with {heads}, the original with {own}"
            yield base.computed_as(words, of_setting=True, heads=heads)


def other_eps(base: Trial, block: str) -> Iterator[Trial]:
    for name in ("layer_norm_eps", "batch_norm_eps"):
        own = getattr(base.architecture, name, None)
        for eps in EPSILONS if own is not None else ():
            if eps != own:
                words = f"eps: the folder computes with {eps:g}, the original with {own:g}"
                yield base.computed_as(words, of_setting=True, **{name: eps})


def other_activation(base: Trial, block: str) -> Iterator[Trial]:
    own = "silu" if getattr(base.architecture, "feed_forward", "mlp") == "swiglu" else "exact gelu"
    for name, activation in ACTIVATIONS.items():
        if name != own:
            words = f"the activation: the folder computes {name}, the original {own}"
            yield base.having(words, activation=activation, of_setting=True)


def swapped_qkv(base: Trial, block: str) -> Iterator[Trial]:
    """Every other order of queries, keys and values, in all blocks and in the first that differs."""
    joint = [name for name in base.state if ".qkv." in name]
    for order in permutations(range(3)):
        if order == (0, 1, 2) or not joint:
            continue
        moved = [QKV[place] for place, part in enumerate(order) if place != part]
        words = " and ".join(moved) + " are swapped" if len(moved) == 2 else f"{', '.join(QKV[o] for o in order)}"
        words += "" if len(moved) == 2 else " are where queries, keys, values belong"
        for where, names in everywhere_and(block, joint):
            yield base.changing(f"{words} {where}", **{n: _in_order(base.state[n], order) for n in names})
        weights = [name for name in joint if name.endswith(".weight")]
        if len(weights) < len(joint):
            swapped = {name: _in_order(base.state[name], order) for name in weights}
            yield base.changing(f"the weights of {words} in every block, their biases are not", **swapped)
    heads = getattr(base.architecture, "heads", 1)
    by_head = {name: _by_head(base.state[name], heads) for name in joint}
    yield base.changing("the rows of queries, keys and values are taken to be ordered by head", **by_head)


def swapped_modules(base: Trial, block: str) -> Iterator[Trial]:
    """Two modules of a block whose tensors have one shape, in each other's place."""
    for first, second in SWAPPED_MODULES:
        pairs = {
            name: other
            for name in base.state
            if f".{first}." in name and (other := name.replace(f".{first}.", f".{second}.")) in base.state
            if base.state[name].shape == base.state[other].shape
        }
        for where, names in everywhere_and(block, list(pairs)):
            swapped = {name: base.state[pairs[name]] for name in names}
            yield base.changing(
                f"{first} and {second} are swapped {where}", **swapped, **{pairs[n]: base.state[n] for n in names}
            )
    joint = [name for name in base.state if ".mlp.w12." in name]
    for where, names in everywhere_and(block, joint):
        halves = {name: torch.cat(base.state[name].chunk(2)[::-1]) for name in names}
        yield base.changing(f"the gate and the value of mlp.w12 are swapped {where}", **halves)


def swapped_parameters(base: Trial, block: str) -> Iterator[Trial]:
    """A BatchNorm's running mean where its bias belongs."""
    pairs = {
        name: other
        for name in base.state
        if name.endswith(".running_mean") and (other := f"{name.removesuffix('running_mean')}bias") in base.state
    }
    if pairs:
        swapped = {**{n: base.state[o] for n, o in pairs.items()}, **{o: base.state[n] for n, o in pairs.items()}}
        yield base.changing("running_mean and bias of every BatchNorm are swapped", **swapped)


def other_stride(base: Trial, block: str) -> Iterator[Trial]:
    if hasattr(base.architecture, "stride_in_3x3"):
        words = "the stride of a bottleneck: the folder has it in the first 1×1 convolution, the original in the 3×3"
        yield base.computed_as(words, stride_in_3x3=not base.architecture.stride_in_3x3)


def left_out(base: Trial, block: str) -> Iterator[Trial]:
    """Tensors that the folder does without."""
    for words, endings in (
        ("the layer scales are left out", (".ls1.gamma", ".ls2.gamma", ".gamma")),
        ("the mask on the keys' bias is left out", (".bias_mask",)),
        ("the biases of queries, keys and values are left out", (".qkv.bias",)),
    ):
        names = [name for name in base.state if name.endswith(endings)]
        if names:
            neutral = {n: torch.zeros_like(base.state[n]) for n in names if n.endswith(".qkv.bias")}
            neutral |= {n: torch.ones_like(base.state[n]) for n in names if n not in neutral}
            yield base.changing(words, **neutral)
    joint = [name for name in base.state if name.endswith(".qkv.bias")]
    if joint:
        keyless = {name: base.state[name].clone() for name in joint}
        for bias in keyless.values():
            bias.chunk(3)[1].zero_()
        yield base.changing("the biases of the keys are left out", **keyless)


def other_features(base: Trial, block: str) -> Iterator[Trial]:
    own = base.architecture.classifier
    both = (Features.CLS_MEAN, Features.CLS_MEAN_INTERLEAVED)
    for features in both if own and own.features in both else ():
        if own and features is not own.features:
            words = f"the classifier takes {features.value}, the original's {own.features.value}"
            yield base.computed_as(words, of_setting=True, classifier=own._replace(features=features))


def turned_tensors(base: Trial, block: str) -> Iterator[Trial]:
    for name in ("patch_embed.proj.weight", "conv1.weight", "downsample_layers.0.0.weight"):
        if name in base.state:
            yield base.changing("the colours are BGR where the original takes RGB", **{name: base.state[name].flip(1)})
    square = [name for name in base.state if name.endswith(".attn.proj.weight")]
    for where, names in everywhere_and(block, square):
        yield base.changing(f"attn.proj is transposed {where}", **{name: base.state[name].T for name in names})


MISTAKES: tuple[Mistake, ...] = (
    other_heads, other_eps, other_activation, swapped_qkv, swapped_modules, swapped_parameters, other_stride,
    left_out, block_order, swapped_blocks, other_positions, other_registers, other_features, turned_tensors,
)  # fmt: skip


def _in_order(joint: torch.Tensor, order: tuple[int, ...]) -> torch.Tensor:
    parts = joint.chunk(3)
    return torch.cat([parts[part] for part in order])


def _by_head(joint: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows as (heads, 3, dimension) where the original has (3, heads, dimension)."""
    return joint.reshape(heads, 3, -1, *joint.shape[1:]).transpose(0, 1).flatten(0, 2)

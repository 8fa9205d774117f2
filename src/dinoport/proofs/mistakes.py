"""The usual mistakes of a conversion, each as the original would compute if it had been made.

A mistake is tried on the original's side: if the original, computed with it, equals the folder, then the folder has
it. Imported only after a proof has failed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from itertools import permutations
from typing import Any, TypeAlias

import torch
from torch.nn import functional

from dinoport.families.family import Architecture
from dinoport.families.interpolation import INTERPOLATIONS
from dinoport.families.probe import Features, Probe
from dinoport.families.torch_layers import Activation, State

EPSILONS = (1e-12, 1e-8, 1e-6, 1e-5, 1e-3)
MAX_HEADS = 64

ACTIVATIONS: dict[str, Activation] = {
    "exact gelu": functional.gelu,
    "gelu approximated by tanh": lambda inputs: functional.gelu(inputs, approximate="tanh"),
    "silu": functional.silu,
    "relu": functional.relu,
    "quick gelu": lambda inputs: inputs * torch.sigmoid(1.702 * inputs),
}

SWAPPED_MODULES = (("norm1", "norm2"), ("ls1", "ls2"), ("mlp.w1", "mlp.w2"), ("bn1", "bn2"))

QKV = ("queries", "keys", "values")


@dataclass(frozen=True)
class Trial:
    """The original with one mistake (and those that were found before it). `words` say what the folder has."""

    state: State
    architecture: Architecture
    words: str = ""
    activation: Activation | None = None

    def having(self, words: str, **changes: Any) -> Trial:
        return replace(self, words=words, **changes)

    def changing(self, words: str, **tensors: torch.Tensor) -> Trial:
        return replace(self, words=words, state={**self.state, **tensors})


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
    width = base.architecture.width  # type: ignore[union-attr]
    for heads in range(1, MAX_HEADS + 1):
        if heads != own and width % heads == 0:
            words = f"the number of heads: the folder computes with {heads}, the original with {own}"
            yield base.having(words, architecture=_architecture(base, heads=heads))


def other_eps(base: Trial, block: str) -> Iterator[Trial]:
    for name in ("layer_norm_eps", "batch_norm_eps"):
        own = getattr(base.architecture, name, None)
        for eps in EPSILONS if own is not None else ():
            if eps != own:
                words = f"eps: the folder computes with {eps:g}, the original with {own:g}"
                yield base.having(words, architecture=_architecture(base, **{name: eps}))


def other_activation(base: Trial, block: str) -> Iterator[Trial]:
    own = "silu" if getattr(base.architecture, "feed_forward", "mlp") == "swiglu" else "exact gelu"
    for name, activation in ACTIVATIONS.items():
        if name != own:
            words = f"the activation: the folder computes {name}, the original {own}"
            yield base.having(words, activation=activation)


def swapped_qkv(base: Trial, block: str) -> Iterator[Trial]:
    """Every other order of queries, keys and values, in all blocks and in the first that differs."""
    joint = [name for name in base.state if ".qkv." in name]
    for order in permutations(range(3)):
        if order == (0, 1, 2) or not joint:
            continue
        moved = [QKV[place] for place, part in enumerate(order) if place != part]
        words = " and ".join(moved) + " are swapped" if len(moved) == 2 else f"{', '.join(QKV[o] for o in order)}"
        words += "" if len(moved) == 2 else " are where queries, keys, values belong"
        for where, names in _everywhere_and(block, joint):
            yield base.changing(f"{words} {where}", **{n: _in_order(base.state[n], order) for n in names})
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
        for where, names in _everywhere_and(block, list(pairs)):
            swapped = {name: base.state[pairs[name]] for name in names}
            yield base.changing(
                f"{first} and {second} are swapped {where}", **swapped, **{pairs[n]: base.state[n] for n in names}
            )
    joint = [name for name in base.state if ".mlp.w12." in name]
    for where, names in _everywhere_and(block, joint):
        halves = {name: torch.cat(base.state[name].chunk(2)[::-1]) for name in names}
        yield base.changing(f"the gate and the value of mlp.w12 are swapped {where}", **halves)


def block_order(base: Trial, block: str) -> Iterator[Trial]:
    depth = getattr(base.architecture, "depth", 0)
    for words, order in (("alphabetical", sorted(range(depth), key=str)), ("reversed", [*range(depth)][::-1])):
        if order != [*range(depth)]:
            renamed = {
                name: base.state[f"blocks.{order[int(name.split('.')[1])]}.{name.split('.', 2)[2]}"]
                for name in base.state
                if name.startswith("blocks.")
            }
            yield base.changing(f"the blocks are in {words} order", **renamed)


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


def other_positions(base: Trial, block: str) -> Iterator[Trial]:
    table = base.state.get("pos_embed")
    if table is not None:
        yield base.changing("the position table has the CLS token last", pos_embed=table.roll(1, dims=1))
        side = round((table.shape[1] - 1) ** 0.5)
        turned = table[:, 1:].reshape(1, side, side, -1).transpose(1, 2).flatten(1, 2)
        yield base.changing(
            "rows and columns of the position table are swapped", pos_embed=torch.cat([table[:, :1], turned], dim=1)
        )
    own = getattr(base.architecture, "interpolation", None)
    for rule in INTERPOLATIONS.values() if own else ():
        if rule != own:
            words = f"the position table is resampled {rule}, by the original {own}"
            yield base.having(words, architecture=_architecture(base, interpolation=rule))


def other_features(base: Trial, block: str) -> Iterator[Trial]:
    probe = getattr(base.architecture, "probe", None)
    if not isinstance(probe, Probe):
        return
    for features in Features:
        if features is not probe.features and (features is Features.CLS) == (probe.features is Features.CLS):
            words = f"the classifier takes {features.value}, the original's {probe.features.value}"
            yield base.having(words, architecture=_architecture(base, probe=replace(probe, features=features)))


def turned_tensors(base: Trial, block: str) -> Iterator[Trial]:
    for name in ("patch_embed.proj.weight", "conv1.weight", "downsample_layers.0.0.weight"):
        if name in base.state:
            yield base.changing("the colours are BGR where the original takes RGB", **{name: base.state[name].flip(1)})
    square = [name for name in base.state if name.endswith(".attn.proj.weight")]
    for where, names in _everywhere_and(block, square):
        yield base.changing(f"attn.proj is transposed {where}", **{name: base.state[name].T for name in names})


MISTAKES: tuple[Mistake, ...] = (
    other_heads,
    other_eps,
    other_activation,
    swapped_qkv,
    swapped_modules,
    left_out,
    block_order,
    other_positions,
    other_features,
    turned_tensors,
)


def _architecture(base: Trial, **changes: Any) -> Architecture:
    known = {field.name for field in fields(base.architecture)}
    return replace(base.architecture, **{name: value for name, value in changes.items() if name in known})


def _everywhere_and(block: str, names: list[str]) -> Iterator[tuple[str, list[str]]]:
    """All names, and those of one block where it is not the only one."""
    if not names:
        return
    yield "in every block", names
    here = [name for name in names if name.startswith(f"{block}.")]
    if here and len(here) < len(names):
        yield f"in {block}", here


def _in_order(joint: torch.Tensor, order: tuple[int, ...]) -> torch.Tensor:
    parts = joint.chunk(3)
    return torch.cat([parts[part] for part in order])


def _by_head(joint: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows as (heads, 3, dimension) where the original has (3, heads, dimension)."""
    return joint.reshape(heads, 3, -1, *joint.shape[1:]).transpose(0, 1).flatten(0, 2)

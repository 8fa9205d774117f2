"""Biases that a model lacks and timm's classes have: zeros, which the original does not have, as the folder says."""

from collections.abc import Iterable, Mapping
from typing import Any

from dinoport.mapping.constants import zeros
from dinoport.mapping.rule import Rule, copy, make, without_bias
from dinoport.tensor import Shape

NO_BIAS = "the original has no such bias, and timm no way to leave it out: zeros change nothing"

PARTS = {"proj_bias": ".attn.proj.", "ffn_bias": ".mlp."}
"""Where in a name each of them lies, by what the folder's record calls it."""


def lacking(without: object) -> list[str]:
    """The parts of names whose biases a folder's record says that the original has not."""
    return [part for name, part in PARTS.items() if isinstance(without, list) and name in without]


def lacked(vit: Any) -> list[str]:
    """The same of a model."""
    return [part for name, part in PARTS.items() if not getattr(vit, name)]


def biases(vit: Any, first: Mapping[str, int]) -> dict[str, Shape]:
    """The biases that timm has in blocks of such a ViT, with so many features behind the `first` layers of each MLP."""
    features = {"attn.proj": vit.width, **first, "mlp.fc2": vit.width}
    return {f"blocks.{i}.{layer}.bias": (count,) for i in range(vit.depth) for layer, count in features.items()}


def whole_table(
    own: Iterable[Rule], shapes: Mapping[str, Shape], bare: Iterable[str], *, classifies: bool
) -> tuple[Rule, ...]:
    """A backbone's `own` table with that of a classifier, and zeros for each bias in a part that is `bare` of them."""
    parts = tuple(bare)
    made = (
        make(name, zeros(*shape), because=NO_BIAS)
        for name, shape in shapes.items()
        if name.endswith(".bias") and any(part in name for part in parts)
    )
    head = (copy("classifier.{p}", "head.{p}"),) if classifies else ()
    return (*without_bias(own, parts), *head, *made)

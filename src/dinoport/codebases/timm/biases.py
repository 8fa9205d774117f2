"""Biases that a model lacks and timm's classes have: zeros, which the original does not have, as the folder says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from dinoport.mapping.constants import zeros
from dinoport.mapping.rule import Rule, make
from dinoport.tensor import Shape

NO_BIAS = "the original has no such bias, and timm no way to leave it out: zeros change nothing"

PARTS = {"proj_bias": ".attn.proj.", "ffn_bias": ".mlp."}
"""Where in a name each of them lies, by what the folder's record calls it."""


def lacking(without: object) -> list[str]:
    """The parts of names whose biases a folder's record says that the original has not."""
    return [part for name, part in PARTS.items() if isinstance(without, list) and name in without]


def made(shapes: Mapping[str, Shape], parts: Iterable[str]) -> Iterator[Rule]:
    """A rule for each bias among these that lies in one of the parts."""
    for name, shape in shapes.items():
        if name.endswith(".bias") and any(part in name for part in parts):
            yield make(name, zeros(*shape), because=NO_BIAS)

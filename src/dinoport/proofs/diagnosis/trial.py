"""The original with a mistake: what a diagnosis computes beside the folder."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, TypeAlias

import torch

from dinoport.networks.layers import Activation, State

TokenOrder: TypeAlias = Callable[[torch.Tensor], torch.Tensor]
"""Tokens of (batch, tokens, width) in another order."""

_FIRST_OF_STAGE = re.compile(r"(layer\d+|stages\.\d+)\.0\.")


@dataclass(frozen=True)
class Trial:
    """The original with one mistake (and those that were found before it). `words` say what the folder has.

    `order` is that of the tokens which come out. `of_setting` says that the last mistake is a value of a config, which
    the weights do not tell.
    """

    state: State
    architecture: Any
    words: str = ""
    activation: Activation | None = None
    order: TokenOrder | None = None
    of_setting: bool = False

    def having(self, words: str, **changes: Any) -> Trial:
        return replace(self, words=words, **{"of_setting": False, **changes})

    def changing(self, words: str, **tensors: torch.Tensor) -> Trial:
        return self.having(words, state={**self.state, **tensors})

    def computed_as(self, words: str, *, of_setting: bool = False, **changes: Any) -> Trial:
        """With another value of the architecture's fields, those that it has."""
        known = {field.name for field in fields(self.architecture)}
        other = replace(self.architecture, **{name: value for name, value in changes.items() if name in known})
        return self.having(words, architecture=other, of_setting=of_setting)


def everywhere_and(block: str, names: list[str]) -> Iterator[tuple[str, list[str]]]:
    """All names, those of one block, and those of the first block of every stage, which alone changes the width."""
    if not names:
        return
    yield "in every block", names
    here = [name for name in names if name.startswith(f"{block}.")]
    if here and len(here) < len(names):
        yield f"in {block}", here
    firsts = [name for name in names if _FIRST_OF_STAGE.match(name)]
    if 0 < len(firsts) < len(names):
        yield "in the first block of every stage", firsts

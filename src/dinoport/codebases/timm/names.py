"""What a naming of timm's offers: its table for one network, and the codebase whose models are read by it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from dinoport.codebases.codebase import Evidence, HubEntry, Reading
from dinoport.codebases.relative import Relative
from dinoport.mapping.rule import Rule
from dinoport.model import Family, Wishes
from dinoport.networks.network import Architecture
from dinoport.tensor import Shape, TensorRef


def as_they_are(tensors: Mapping[str, TensorRef]) -> tuple[Mapping[str, TensorRef], tuple[str, ...]]:
    return tensors, ()


@dataclass(frozen=True)
class Names:
    """`code` is whose models these are; `rules` and `arranged` are the table's, whoever that is."""

    FAMILY: Family
    code: Any
    rules: Callable[[Mapping[str, Shape], Wishes], tuple[Rule, ...]]
    arranged: Callable[..., tuple[Mapping[str, TensorRef], tuple[str, ...]]] = as_they_are

    def of(self, code: Any) -> Names:
        """The same names for the models of another codebase, which computes with this network too."""
        own = code.under(self.FAMILY.name) if isinstance(code, Relative) else code
        return replace(self, FAMILY=own.FAMILY, code=own)

    def read(self, evidence: Evidence) -> Reading:
        reading: Reading = self.code.read(evidence)
        return reading

    def hub_entry(self, architecture: Architecture, image_size: int) -> HubEntry | None:
        found: HubEntry | None = self.code.hub_entry(architecture, image_size)
        return found

"""Another codebase's names for a network: its table, and whose models are read by it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from dinoport.codebases.codebase import Arranged, Evidence, Reading, as_they_are
from dinoport.codebases.relative import Relative
from dinoport.mapping.rule import Rule
from dinoport.model import Family, Stated, Wishes
from dinoport.tensor import Shape

Table = Callable[[Mapping[str, Shape], Wishes], tuple[Rule, ...]]


@dataclass(frozen=True)
class Names:
    """`code` is whose models these are, `table` leads to the names, by the shapes where it depends on the model.

    `arranged` gives files of several layouts one. `stated` is what these names say where nobody else does. `classifier`
    is their own name of that layer, where they have one, `drops` are what they have beside a backbone.
    """

    code: Any
    table: tuple[Rule, ...] | Table
    arranged: Arranged = as_they_are
    stated: Callable[[Evidence], Mapping[str, Stated]] = lambda evidence: {}
    classifier: str | None = None
    drops: tuple[Rule, ...] = ()

    @property
    def FAMILY(self) -> Family:  # noqa: N802  # what the module of any other codebase calls it
        own = self.original
        return own if self.classifier is None else replace(own, classifiers=(self.classifier,))

    @property
    def original(self) -> Family:
        """The family with its own codebase's names of a classifier."""
        own: Family = self.code.FAMILY
        return replace(own, drops=(*own.drops, *self.drops)) if self.drops else own

    def of(self, code: Any) -> Names:
        """The same names for the models of another codebase, which computes with this network too."""
        return replace(self, code=code.under(self.FAMILY.name) if isinstance(code, Relative) else code)

    def rules(self, shapes: Mapping[str, Shape], wishes: Wishes) -> tuple[Rule, ...]:
        return self.table(shapes, wishes) if callable(self.table) else self.table

    def read(self, evidence: Evidence) -> Reading:
        """As the original's own, with what these names say."""
        wishes = evidence.wishes.filled(self.stated(evidence))
        reading: Reading = self.code.read(replace(evidence, wishes=wishes))
        return reading

"""torchvision's ResNet-50 as a sequence of its children, without the last one: so lightly's examples cut it off."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from dinoport.codebases.codebase import Evidence, Reading
from dinoport.codebases.dino import resnet as dino
from dinoport.mapping.rule import Rule, copy
from dinoport.model import Family

# fmt: off
TABLE: tuple[Rule, ...] = (
    copy("conv1.{p}",                   "0.{p}"),
    copy("bn1.{p}",                     "1.{p}"),
    *(rule for stage, place in enumerate(range(4, 8), start=1) for rule in (
        copy(f"layer{stage}.{{i}}.conv{{n}}.{{p}}",       f"{place}.{{i}}.conv{{n}}.{{p}}"),
        copy(f"layer{stage}.{{i}}.bn{{n}}.{{p}}",         f"{place}.{{i}}.bn{{n}}.{{p}}"),
        copy(f"layer{stage}.{{i}}.downsample.{{n}}.{{p}}", f"{place}.{{i}}.downsample.{{n}}.{{p}}"),
    )),
)
# fmt: on


@dataclass(frozen=True)
class Names:
    """The names of a sequence, in place of a module's."""

    FAMILY: Family = dino.FAMILY
    code: Any = dino
    RULES: tuple[Rule, ...] = TABLE

    def of(self, code: Any) -> Names:
        """The same names for the models of another codebase, which computes with this network too."""
        return replace(self, FAMILY=code.FAMILY, code=code)

    def read(self, evidence: Evidence) -> Reading:
        reading: Reading = self.code.read(evidence)
        return reading


SEQUENTIAL = Names()

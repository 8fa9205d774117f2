"""torchvision's ResNet-50 as a sequence of its children, without the last one: so lightly's examples cut it off."""

from __future__ import annotations

from dinoport.codebases.dino import resnet as dino
from dinoport.codebases.names import Names
from dinoport.mapping.rule import Rule, copy

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

SEQUENTIAL = Names(dino, TABLE)

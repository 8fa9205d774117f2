"""timm's older names for layer scale, which DeiT III and iBOT have kept: `gamma_1`, `gamma_2`."""

from __future__ import annotations

from collections.abc import Mapping

from dinoport.codebases.codebase import canonical_rules
from dinoport.mapping.rule import Rule, copy
from dinoport.tensor import Shape


def scaled(shapes: Mapping[str, Shape], classifier: str | None = None) -> tuple[Rule, ...]:
    """The table of canonical names, with layer scales under their older names."""
    others = [name for name in shapes if not name.endswith((".gamma_1", ".gamma_2"))]
    return (
        *canonical_rules(others, classifier),
        copy("blocks.{i}.ls1.gamma", "blocks.{i}.gamma_1"),
        copy("blocks.{i}.ls2.gamma", "blocks.{i}.gamma_2"),
    )

"""timm's older names for layer scale, which DeiT III and iBOT have kept: `gamma_1`, `gamma_2`."""

import re
from collections.abc import Mapping

from dinoport.codebases.codebase import canonical_rules
from dinoport.mapping.rule import Rule, copy
from dinoport.tensor import Shape, TensorRef

SCALES = (".gamma_1", ".gamma_2", ".ls1.gamma", ".ls2.gamma")


TIMM = re.compile(r"\.ls([12])\.gamma$")


def own_scales(tensors: Mapping[str, TensorRef], models: str) -> tuple[Mapping[str, TensorRef], tuple[str, ...]]:
    """The tensors with layer scales under their older names, where they have the names that timm gives them since."""
    own = {TIMM.sub(r".gamma_\1", name): tensor for name, tensor in tensors.items()}
    renamed = own.keys() != tensors.keys()
    return own, (f"layer scales under timm's names (ls1.gamma); {models} calls them gamma_1",) if renamed else ()


def scaled(names: Mapping[str, Shape], classifier: str | None) -> tuple[Rule, ...]:
    """The table for these names, canonical or own, with layer scales under their older names where there are some."""
    others = [name for name in names if not name.endswith(SCALES) and not name.startswith("classifier.")]
    scales = [copy(f"blocks.{{i}}.ls{n}.gamma", f"blocks.{{i}}.gamma_{n}") for n in (1, 2)]
    return (*canonical_rules(others, classifier), *(scales if len(others) < len(names) else ()))

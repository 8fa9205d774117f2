"""Poolers: the layer on top of the CLS token that a class of Transformers has, and no original."""

from collections.abc import Mapping, Sequence

import numpy as np

from dinoport.codebases.transformers.class_fields import FIELDS, OUTPUTS
from dinoport.codebases.transformers.forms import class_name_of
from dinoport.mapping.constants import identity, zeros
from dinoport.mapping.rule import Rule, drop, make
from dinoport.tensor import TensorRef

IDENTITY_POOLER = "an identity pooler: AutoModel finds no key missing, and pooler_output is the CLS token"
OWN_POOLER = "Transformers' pooler, a layer on top of the CLS token: no part of the backbone"


def has_pooler(class_name: str) -> bool:
    """Whether a class has a pooler that can be left out: what its config says of one moves outputs."""
    said = FIELDS[class_name].get("pooler_act")
    return said is not None and said.role == OUTPUTS


def is_pooler(name: str) -> bool:
    """Whether a tensor of a folder is a part of its pooler."""
    return name.startswith("pooler.")


def pooler_rules(width: int) -> tuple[Rule, ...]:
    return (
        make("pooler.dense.weight", identity(width), because=IDENTITY_POOLER),
        make("pooler.dense.bias", zeros(width), because=IDENTITY_POOLER),
    )


def without_own_pooler(
    config: Mapping[str, object], tensors: Mapping[str, TensorRef], rules: Sequence[Rule]
) -> tuple[tuple[Rule, ...], tuple[Rule, ...]]:
    """The table of a folder, and what of it is left aside: a pooler that computes something of its own."""
    poolers = [rule for rule in rules if rule.source is None and any(map(is_pooler, rule.names))]
    if not (has_pooler(class_name_of(config)) and _is_trained(config, tensors, poolers)):
        return tuple(rules), ()
    drops = (drop(name, because=OWN_POOLER) for rule in poolers for name in rule.names)
    return tuple(rule for rule in rules if rule not in poolers), tuple(drops)


def _is_trained(config: Mapping[str, object], tensors: Mapping[str, TensorRef], poolers: Sequence[Rule]) -> bool:
    """Whether a pooler computes something of its own: it is not the identity that a conversion makes."""
    declared = {name: rule.constant for rule in poolers for name in rule.names}
    held = {name: tensors[name] for name in declared if name in tensors}
    if not held or config.get("pooler_act") != "linear":
        return bool(held)
    made = {name: constant.tensor(name, held[name].dtype) for name, constant in declared.items() if constant}
    return any(
        made[name].shape != tensor.shape or not np.array_equal(made[name].read(), tensor.read())
        for name, tensor in held.items()
    )

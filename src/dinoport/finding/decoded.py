"""A place of a checkpoint under canonical names, without what stands beside its backbone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from dinoport.codebases.refusal import refusal
from dinoport.finding.choosing import Found
from dinoport.finding.places import layers_beside
from dinoport.finding.statistics import STATISTICS, is_buffer
from dinoport.finding.unwrap import StateDict
from dinoport.formats.checkpoint import Checkpoint
from dinoport.formats.values import view_of
from dinoport.mapping.claims import claims_of_source
from dinoport.mapping.decoding import Decoding, decode
from dinoport.mapping.plan import Dropped
from dinoport.model import Family, Wishes
from dinoport.tensor import Shape, TensorRef

if TYPE_CHECKING:
    from dinoport.codebases.relative import Whole
    from dinoport.codebases.timm.config import TimmConfig


class Decoded(NamedTuple):
    """`shapes` are by the family's own names, `outside` those of what lies under another prefix.

    `wholes` are the classes that hold more than the features, by name.
    """

    decoding: Decoding
    shapes: Mapping[str, Shape]
    outside: Mapping[str, Shape]
    wholes: Mapping[str, Whole]
    remarks: tuple[str, ...]


def decoded(
    checkpoint: Checkpoint,
    found: Found,
    wishes: Wishes,
    class_name: str | None,
    other_head: str | None,
    timm: TimmConfig | None,
) -> Decoded:
    """Decode what was found. Raises PlanError for tensors that no rule knows.

    `other_head` says why the classifier there does not belong to the family.
    """
    naming, state = found.naming, found.state
    family = naming.code.FAMILY
    tensors, beside = without_beside(state, family, other_head)
    arranged, of_layout = naming.arranged(tensors)
    shapes = {name: tensor.shape for name, tensor in arranged.items()}
    wholes: Mapping[str, Whole] = getattr(naming.code, "wholes", {})
    whole = wholes.get(class_name or "")
    drops = [
        rule
        for rule in family.drops
        if not (timm and timm.classifier and claims_of_source("head.weight", [rule]))
        and not (whole and rule.source and rule.source.template.startswith(whole.names))
    ]
    layers = layers_beside(naming, shapes, wishes) if not whole else set()
    beside += [Dropped(each.name, each.dtype, each.shape, LAYER_BESIDE) for each in arranged.values()
               if each.name in layers]  # fmt: skip
    arranged = {name: tensor for name, tensor in arranged.items() if name not in layers}
    shapes = {name: shape for name, shape in shapes.items() if name not in layers}
    decoding = decode(arranged, naming.rules(shapes, wishes), drops)
    made = naming.made_before(decoding.beside)
    kept = {name: each for name, each in decoding.beside.items() if name not in made}
    aside = [each._replace(reason=MADE_BEFORE, returns=True) if each.name in made else each for each in decoding.aside]
    decoding = replace(decoding, aside=(*aside, *beside), beside={**kept, **dict(_states(checkpoint, family))})
    if decoding.problems:
        raise refusal(checkpoint.where, family, state.label, decoding.problems)
    outside = {each.name: each.shape for each in beside if each.reason == BESIDE}
    return Decoded(decoding, shapes, outside, wholes, tuple(of_layout))


def _states(checkpoint: Checkpoint, family: Family) -> Iterator[tuple[str, TensorRef]]:
    """What a run's file keeps beside its models, and training on can take up."""
    for keys in family.states:
        node = checkpoint.tree
        for key in keys.split("."):
            node = node.get(key) if isinstance(node, dict) else None
        if isinstance(node, TensorRef):
            yield keys, node.renamed(keys)


MADE_BEFORE = "added by a conversion, because training cannot start without it; not part of the original"


LAYER_BESIDE = "a layer outside the backbone: what it looks at is not known"


BESIDE = "outside the backbone, under another prefix"


def without_beside(
    state: StateDict, family: Family, other_head: str | None
) -> tuple[dict[str, TensorRef], list[Dropped]]:
    """A state dict without what stands beside its backbone, and that. What training is known to keep there stays.

    `other_head` says why its classifier does not belong to the family.
    """
    layers, own = (
        {f"{layer}.{leaf}" for layer in heads for leaf in ("weight", "bias")}
        for heads in (family.classifiers, family.beside)
    )
    outside = state.beside | (layers if state.is_inner or other_head else set())
    outside -= own if state.lead == ("backbone",) else set()
    names = [name for name in state.tensors if name in outside and not claims_of_source(name, family.drops)]
    kept = [name for name, each in state.tensors.items() if is_buffer(name, each) and name not in names]
    names += kept
    tensors = {name: tensor for name, tensor in state.tensors.items() if name not in names}
    reasons = dict.fromkeys(layers, other_head or LAYER_BESIDE) | dict.fromkeys(kept, STATISTICS)
    beside = [(state.tensors[name], reasons.get(name, BESIDE)) for name in names]
    # A start for training has one tensor under the names of several configs: nothing is lost with the other names.
    held = {view for each in state.tensors.values() if (view := view_of(each))} if state.outside else set()
    beside += [(each, BESIDE) for each in state.outside.values() if view_of(each) not in held]
    return tensors, [Dropped(each.name, each.dtype, each.shape, reason) for each, reason in beside]

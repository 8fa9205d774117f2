"""What a model is read from: a place of a checkpoint under canonical names, without what stands beside its backbone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from dinoport.codebases.codebase import Evidence, Naming, Reading
from dinoport.codebases.refusal import refusal
from dinoport.finding.choosing import Found
from dinoport.finding.heads import Head
from dinoport.finding.places import layers_beside
from dinoport.finding.statements import STATISTICS, is_buffer
from dinoport.finding.unwrap import StateDict
from dinoport.formats.checkpoint import Checkpoint
from dinoport.formats.values import view_of
from dinoport.mapping.claims import Problem, claims_of_source
from dinoport.mapping.decoding import Decoding, decode
from dinoport.mapping.plan import Dropped
from dinoport.mapping.rule import copy
from dinoport.model import Family, Setting, Wishes, layers_called
from dinoport.tensor import Shape, TensorRef

if TYPE_CHECKING:
    from dinoport.codebases.relative import Whole
    from dinoport.codebases.timm.config import TimmConfig

MADE_BEFORE = "added by a conversion, because training cannot start without it; not part of the original"

LAYER_BESIDE = "a layer outside the backbone: what it looks at is not known"

BESIDE = "outside the backbone, under another prefix"


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
    tensors, beside, outside = without_beside(state, family, other_head)
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
    beside += [_dropped(each, LAYER_BESIDE) for each in arranged.values() if each.name in layers]
    arranged = {name: tensor for name, tensor in arranged.items() if name not in layers}
    shapes = {name: shape for name, shape in shapes.items() if name not in layers}
    decoding = decode(arranged, naming.rules(shapes, wishes), drops)
    made = naming.made_before(decoding.beside)
    kept = {name: each for name, each in decoding.beside.items() if name not in made}
    aside = [
        each._replace(reason=MADE_BEFORE, returns=True, anew="") if each.name in made else each
        for each in decoding.aside
    ]
    aside += [*state.aside, *beside, *(_dropped(each, BESIDE) for each in outside)]
    decoding = replace(decoding, aside=tuple(aside), beside={**kept, **dict(_states(checkpoint, family))})
    if decoding.problems:
        raise refusal(checkpoint.where, family, state.label, decoding.problems)
    return Decoded(decoding, shapes, {each.name: each.shape for each in outside}, wholes, tuple(of_layout))


def _states(checkpoint: Checkpoint, family: Family) -> Iterator[tuple[str, TensorRef]]:
    """What a run's file keeps beside its models, and training on can take up."""
    for keys in family.states:
        node = checkpoint.tree
        for key in keys.split("."):
            node = node.get(key) if isinstance(node, dict) else None
        if isinstance(node, TensorRef):
            yield keys, node.renamed(keys)


def without_beside(
    state: StateDict, family: Family, other_head: str | None
) -> tuple[dict[str, TensorRef], list[Dropped], list[TensorRef]]:
    """A state dict without what stands beside its backbone, that, and what lies under another prefix.

    What training is known to keep there stays. `other_head` says why its classifier does not belong to the family.
    """
    layers, own = map(layers_called, (family.classifiers, family.beside))
    outside = state.beside | (layers if state.is_inner or other_head else set())
    outside -= own if state.lead == ("backbone",) else set()
    names = {name for name in outside if name in state.tensors and not claims_of_source(name, family.drops)}
    buffers = {name for name, each in state.tensors.items() if is_buffer(name, each) and name not in names}
    reasons = dict.fromkeys(names & layers, other_head or LAYER_BESIDE) | dict.fromkeys(buffers, STATISTICS)
    tensors = {name: tensor for name, tensor in state.tensors.items() if name not in names | buffers}
    beside = [_dropped(each, reasons[name]) for name, each in state.tensors.items() if name in reasons]
    # A start for training has one tensor under the names of several configs: nothing is lost with the other names.
    held = {view for each in state.tensors.values() if (view := view_of(each))} if state.outside else set()
    elsewhere = [each for each in state.outside.values() if view_of(each) not in held]
    return tensors, beside, [*(each for name, each in state.tensors.items() if name in names - layers), *elsewhere]


def without_unused(found: Found) -> Found:
    """A model without what lies among its tensors and its own code never uses, where its codebase tells that."""
    tell: Callable[[Mapping[str, TensorRef]], Mapping[str, Setting[str]]] | None
    tell = getattr(found.naming.code, "unused", None)
    state = found.state
    unused = tell(state.tensors) if tell else {}
    if not unused:
        return found
    tensors = {name: tensor for name, tensor in state.tensors.items() if name not in unused}
    aside = tuple(_dropped(state.tensors[name], doubt.reason) for name, doubt in unused.items())
    return found._replace(
        state=replace(state, tensors=tensors, doubts=(*state.doubts, *unused.values()), aside=(*state.aside, *aside))
    )


def _dropped(tensor: TensorRef, reason: str) -> Dropped:
    return Dropped(tensor.name, tensor.dtype, tensor.shape, reason)


def read(naming: Naming, evidence: Evidence) -> Reading:
    """The settings of a model. What lies besides its tensors is taken as a whole or not at all.

    A config or arguments that the tensors contradict in one value are another model's, or were changed: no other value
    of them is taken, and what they say otherwise than what is assumed then is doubted.
    """
    reading: Reading = naming.code.read(evidence)
    if not reading.doubts:
        return reading
    own: Reading = naming.code.read(replace(evidence, config=None, arguments={}))
    speaker = evidence.config.name if evidence.config else "the checkpoint's args" if evidence.arguments else ""
    untaken = (f"the rest of {speaker} was not taken: it describes another model",) if speaker else ()
    said = {each.name: each.value for each in reading.settings}
    settings = tuple(
        replace(each, doubted=each.doubted or said.get(each.name, each.value) != each.value) for each in own.settings
    )
    return own._replace(settings=settings, remarks=(*reading.doubts, *untaken, *own.remarks))


def with_head(evidence: Evidence, decoding: Decoding, head: Head) -> tuple[Evidence, Decoding]:
    """A backbone with a linear layer as its classifier."""
    layer = {f"classifier.{leaf}": tensor.renamed(f"classifier.{leaf}") for leaf, tensor in head.tensors.items()}
    own = decode(layer, (copy("classifier.{p}", "classifier.{p}"),))
    whole = replace(decoding, steps={**decoding.steps, **own.steps})
    return replace(evidence, tensors=whole.tensors, head=head.layer), whole


def under_own_names(problems: Sequence[Problem], classifier: str | None) -> list[Problem]:
    own = {f"classifier.{leaf}": f"{classifier}.{leaf}" for leaf in ("weight", "bias")}
    return [problem._replace(name=own.get(problem.name, problem.name)) for problem in problems]

"""What lies in a file: each place that holds a known model, and by its first names what every other part is."""

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

from dinoport.codebases.catalogue import family_by_names
from dinoport.codebases.frameworks import Said
from dinoport.codebases.stranger_refusals import stranger_of
from dinoport.codebases.transformers.forms import is_known_class
from dinoport.errors import DinoportError
from dinoport.finding.adapters import without_adapters
from dinoport.finding.bare_names import bare
from dinoport.finding.completeness import SKIPPED
from dinoport.finding.places import by_preference, each_place, naming_of, naming_there
from dinoport.finding.unwrap import StateDict, state_dicts
from dinoport.formats.checkpoint import Checkpoint
from dinoport.formats.torch.stand_ins import Opaque, reached
from dinoport.mapping.computation import leaves
from dinoport.request import Request
from dinoport.tensor import TensorRef

HEAD, TRAINING = "a head", "a head of training"

OF_TRAINING = frozenset({"last_layer", "prototypes", "projection_head"})
"""Layers that only a projection head of self-distillation has."""

KINDS = (
    (r"(pixel|image)_?(mean|std)", "the statistics of pixels"),
    (r"\w*_token", "a token of training"),
    (r"callbacks|loops|\w*metrics?|n_averaged|updates|(global_)?step|epoch", "the state of a training"),
    (r"optimizer.*|lr_scheduler\w*|scheduler|amp\w*|fp16_scaler", "the state of an optimizer"),
    (r".*(dino|ibot|projection|student|teacher)_?(projection_)?head.*|.*projector.*|prototypes.*|projection.*",
     TRAINING),
    (r".*(queue|center|loss|criterion).*", "the state of a loss"),
    (r".*(text|language|llm|lm_head|tokenizer).*", "a tower of text"),
    (r".*(depth|dpt).*", "a decoder for depth"),
    (r".*(mask|class_embed|bbox|segment|upscale|query|queries|detect).*", "a head for masks or boxes"),
    (r".*(decoder|decode_head|neck|fpn|upsample).*", "a decoder"),
    (r".*(classifier|head|fc|linear|probe).*", HEAD),
    (r".*(siglip|clip|sam|resnet|fused_featurizer).*", "another network"),
)  # fmt: skip
"""What a part is called by its first names, the closer look first. It says what a part is for, and takes nothing."""

NOT_KNOWN = "not known"

MAX_LOOKED_AT = 500
"""Tensors of a part by which another model is told: its blocks have the same names."""


@dataclass(frozen=True)
class Part:
    """A part of a file. `prefix` is what `--prefix` takes, `model` whether a known model lies there.

    Of a model, `names` says whose its names are where its own codebase has others, `command` takes it, `needs` says
    what to put into the command first, and `refusal` why none takes it.
    """

    prefix: str
    what: str
    count: int
    size_bytes: int
    model: bool = False
    names: str | None = None
    command: str | None = None
    needs: tuple[str, ...] = ()
    refusal: str | None = None


def parts_of(checkpoint: Checkpoint) -> tuple[Part, ...]:
    """Every place that holds a known model, then every other part of the file. No tensor is read."""
    if is_known_class(checkpoint.config or {}):
        return ()
    states = state_dicts(checkpoint)
    plain = [_merged(checkpoint.where, state) for state in states]
    known = [state for state in plain if naming_of(state) is not None]
    found = _apart(each_place(plain, known))
    models = [_model(state) for state in found]
    copies = {copy: (model, state) for model, state in zip(models, found, strict=True) for copy in state.copies}
    alike = (each for each in known if f"{each.prefix}." in copies)
    taken = {id(tensor.values) for state in (*found, *alike) for tensor in _own(state)}
    above = _above([*(model.prefix for model in models), *copies])
    rest: dict[str, list[TensorRef]] = {}
    homes = {each.path for each in known} | {place.path for place in found}
    others = [
        state for state in states if not any(f"{home}.".startswith(f"{state.path}.".lstrip(".")) for home in homes)
    ]
    strangers = [part for state in others for part in _strangers(state)]
    gone = {part.prefix for part in strangers}
    for state in states:
        for name, tensor in state.tensors.items() if state.path not in gone else ():
            whole = f"{state.path}.{state.originals.get(name, name)}".lstrip(".")
            if id(tensor.values) not in taken and not whole.startswith(tuple(copies)):
                rest.setdefault(_part_of(whole, state.path, above), []).append(tensor)
    rest |= _skipped(checkpoint.tree, {id(each.values) for state in states for each in state.tensors.values()})
    same = (
        Part(copy, f"the same tensors as {model.prefix or 'the file itself'}", model.count, model.size_bytes)
        for copy, (model, _) in copies.items()
    )
    return (*models, *same, *strangers, *(_part(name, tensors) for name, tensors in rest.items()))


def _apart(every: Sequence[StateDict]) -> list[StateDict]:
    """The places that are whole, then each other one that shares no tensor with those before it."""
    found = by_preference(every)
    taken = {id(tensor.values) for state in found for tensor in _own(state)}
    for place in every:
        own = {id(tensor.values) for tensor in _own(place)}
        if not own & taken:
            found.append(place)
            taken |= own
    return found


def _merged(where: str, state: StateDict) -> StateDict:
    """A state dict without its adapters, however strong they are; as it is where they are not merged here."""
    try:
        return without_adapters(where, state, Request(lora_alpha=1.0), Said())
    except DinoportError:
        return state


def _above(prefixes: Sequence[str]) -> frozenset[str]:
    """Everything that a model lies below."""
    parts = [prefix.rstrip(".").split(".") for prefix in prefixes]
    return frozenset(".".join(each[:count]) for each in parts for count in range(1, len(each)))


def _part_of(name: str, path: str, above: frozenset[str]) -> str:
    """The part that a tensor belongs to: the first below what a model lies in too."""
    parts = name.split(".")
    count = path.count(".") + 2 if path else 1
    while count < len(parts) and ".".join(parts[:count]) in above:
        count += 1
    return ".".join(parts[:count])


def _model(state: StateDict) -> Part:
    naming = naming_there(state)
    prefix = f"{state.prefix}.".lstrip(".")
    own = _own(state)
    size_bytes = sum(tensor.size_bytes for tensor in own)
    names = None if naming.family else naming.codebase
    return Part(prefix, str(family_by_names(naming)), len(own), size_bytes, model=True, names=names)


def _own(state: StateDict) -> list[TensorRef]:
    """The tensors of a model without what stood under another prefix; low-rank parts for what is merged of them."""
    own = [tensor for name, tensor in state.tensors.items() if name not in state.beside]
    return [leaf for tensor in own for leaf in leaves(tensor)]


def _part(name: str, tensors: Sequence[TensorRef]) -> Part:
    size_bytes = sum(tensor.size_bytes for tensor in tensors)
    told = stranger_of({tensor.name: tensor.shape for tensor in tensors[:MAX_LOOKED_AT]})
    what = told[0].title if told else next(filter(None, map(_kind, reversed(name.split(".")))), NOT_KNOWN)
    if what == HEAD and any(part in tensor.name.split(".") for tensor in tensors for part in OF_TRAINING):
        what = TRAINING
    return Part(name, what, len(tensors), size_bytes)


def _strangers(state: StateDict) -> Iterator[Part]:
    """A state dict without a known model that is another's as a whole, by its name."""
    if told := stranger_of(state.shapes):
        size_bytes = sum(tensor.size_bytes for tensor in state.tensors.values())
        yield Part(state.path, told[0].title, len(state.tensors), size_bytes)


def _kind(part: str) -> str | None:
    return next((what for kind, what in KINDS if re.fullmatch(kind, part.lower())), None)


def _skipped(tree: object, listed: Set[int]) -> dict[str, list[TensorRef]]:
    """What a training keeps beside its models, and no model is looked for in; `listed` are values of the others."""
    found: dict[str, list[TensorRef]] = {}
    pending: list[tuple[tuple[str, ...], object]] = [((), tree)]
    seen = {id(tree)}
    while pending:
        path, node = pending.pop()
        for name, child in node.items() if isinstance(node, Mapping) else ():
            if not isinstance(name, str) or id(child) in seen:
                continue
            parts = name.split(".")
            if isinstance(child, TensorRef) and bare(path, name)[0] is None:
                count = next(place for place, part in enumerate(parts, 1) if part in SKIPPED)
                found.setdefault(".".join((*path, *parts[:count])), []).append(child)
            elif name in SKIPPED or isinstance(child, list | tuple | Opaque):
                tensors = [each for each in reached([child], set())
                           if isinstance(each, TensorRef) and id(each.values) not in listed]  # fmt: skip
                found |= {".".join((*path, name)): tensors} if tensors else {}
            elif isinstance(child, Mapping):
                seen.add(id(child))
                pending.append(((*path, name), child))
    return found

"""Where in a state dict a model lies: any prefix below which a codebase's names begin, whatever framework wrote it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from dinoport.codebases import catalogue
from dinoport.codebases.codebase import Evidence, Naming, Reading
from dinoport.codebases.frameworks import convention
from dinoport.errors import DinoportError, PlanError, SettingError
from dinoport.finding.unwrap import ANCHORS, INNER, StateDict
from dinoport.formats.values import byte_ranges
from dinoport.mapping.claims import Problem
from dinoport.mapping.decoding import decode
from dinoport.model import Wishes
from dinoport.tensor import TensorRef

ROLES = (
    ("teacher", 0),
    ("target_encoder", 0),
    ("averaged", 1),
    ("student", 4),
    ("anchor", 4),
    ("momentum", 3),
)
"""What a part of a prefix says of a copy, and its rank; one that says nothing has 2. DINO, iBOT and LightlyTrain export
the teacher, timm evaluates the average, solo-learn and MoCo the backbone beside its momentum copy."""

WORDS = {"ema": 1, "swa": 1}
"""The same of short words, which others have in them: `semantic`."""

UNNAMED = 2

NOT_PART = "is not part of this model"

RANKS = {
    0: "the teacher or target, which DINO, iBOT and I-JEPA evaluate",
    1: "the average of the run, which timm evaluates",
    2: "the copy without a role, which solo-learn and MoCo evaluate",
    3: "the only copy that is not a student's",
    4: "the preferred one of those here",
}


def places(states: Iterable[StateDict], known: Sequence[StateDict] = ()) -> list[StateDict]:
    """Every place below which the names of a known codebase begin, the preferred first; copies of one are one.

    `known` are state dicts whose own names are known. A place that is incomplete gives way to one that is not. The
    order in the file decides nothing: places of one rank are in the order of their prefixes.
    """
    below = [(each, list(_below(each))) for each in states if not any(each is other for other in known)]
    elsewhere = {name: tensor.renamed(name) for each, own in below if not own for name, tensor in _as_named(each)}
    beside = [place for each in known for place in _below(each)]
    inner = [replace(place, outside={**elsewhere, **place.outside}) for _, own in below for place in own] + beside
    kept: list[StateDict] = []
    for place in sorted([*known, *inner], key=_order):
        first = next((index for index, other in enumerate(kept) if _is_one(place, other)), None)
        if first is None:
            kept.append(place)
        else:
            kept[first] = replace(kept[first], copies=(*kept[first].copies, f"{full_prefix(place)}."))
    if len(kept) < 2:
        return kept
    kept = [place for place in kept if is_complete(place)] or kept
    prefixes = [full_prefix(place) for place in kept]
    whose = {own: convention(own, [other for other in prefixes if other != own]) for own in prefixes}
    kept.sort(key=lambda place: whose[full_prefix(place)] is None)
    alone = len(kept) == 1 or _order(kept[0])[:2] != _order(kept[1])[:2]
    return [replace(place, why=whose[full_prefix(place)] or (RANKS[rank(place)] if alone else "")) for place in kept]


def is_complete(place: StateDict) -> bool:
    """Whether a place holds a whole network: every tensor fits its table, and none is missing."""
    return problems_of(place) == ()


def problems_of(place: StateDict) -> tuple[tuple[str, str], ...] | None:
    """What keeps a place from being a whole network, by name; None where its sizes cannot even be read."""
    naming = naming_of_names(place.tensors)
    if naming is None:
        return None
    try:
        try:
            found = _problems(place, naming, Wishes(num_heads=1))
        except SettingError:  # a rotary ViT tells its heads itself
            found = _problems(place, naming, Wishes())
    except SettingError:
        return ()
    except PlanError as error:
        return tuple(("", problem) for problem in error.problems) or None
    except DinoportError:
        return None
    return tuple((each.name, each.what) for each in found)


def _problems(place: StateDict, naming: Naming, wishes: Wishes) -> Sequence[Problem]:
    family = naming.code.FAMILY
    found = decode(place.tensors, naming.rules(place.shapes, wishes), family.drops)
    layers = {f"{layer}.{leaf}" for layer in family.classifiers for leaf in ("weight", "bias")}
    if own := [each for each in found.problems if each.name not in place.beside and each.name not in layers]:
        return own
    evidence = Evidence(place.label, found.tensors, wishes=wishes, declared=frozenset(found.declared))
    reading: Reading = naming.code.read(evidence)
    more = found.tensors.keys() - reading.architecture.tensors().keys()
    named = [name for name in more if not name.startswith("classifier") and name not in {*place.beside, *layers}]
    return [*reading.problems, *(Problem(name, NOT_PART) for name in sorted(named))]


def _order(place: StateDict) -> tuple[int, bool, str]:
    return rank(place), place.is_inner, place.path


def _as_named(state: StateDict) -> Iterator[tuple[str, TensorRef]]:
    """The tensors of a state dict under the names that the file has."""
    return ((state.originals.get(name, name), each) for name, each in state.tensors.items())


def rank(place: StateDict) -> int:
    """How much a place is preferred, by what its prefix says: 0 is best."""
    said = place.path.lower()
    ranks = [rank for word, rank in ROLES if word in said]
    return min([*ranks, *(WORDS[word] for word in re.split(r"[._\d]+", said) if word in WORDS)], default=UNNAMED)


def full_prefix(state: StateDict) -> str:
    """Keys of the file and parts of its names in front of a model, joined by dots."""
    if not state.originals:
        return state.path
    lead = ".".join(state.lead)
    return state.path if lead and state.path.endswith(lead) else ".".join(filter(None, (state.path, lead)))


def naming_of_names(tensors: Mapping[str, TensorRef]) -> Naming | None:
    """Whose names these are; None where nobody's that is known."""
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    return next((naming for naming in catalogue.NAMINGS if naming.recognises(shapes)), None)


def _below(state: StateDict) -> Iterator[StateDict]:
    """The places in one state dict, deeper than its bare names."""
    prefixes = {name[: -len(anchor)] for name in state.tensors for anchor in ANCHORS if name.endswith(f".{anchor}")}
    prefixes = {_outside(prefix, state.tensors) for prefix in prefixes}
    for prefix in sorted(prefixes):
        own = {name[len(prefix) :]: each for name, each in state.tensors.items() if name.startswith(prefix)}
        naming = naming_of_names(own)
        if naming is None:
            continue
        tensors = {name: tensor.renamed(name) for name, tensor in own.items()}
        originals = {name: state.originals.get(prefix + name, prefix + name) for name in tensors}
        path = ".".join(filter(None, (state.path, _full_prefix(prefix, originals).rstrip("."))))
        notes = (*state.notes, f"prefix {prefix!r} stripped from {len(tensors)} names")
        layer = naming.classifier_beside(prefix, state.tensors.keys(), whole=not state.path)
        head = {leaf: state.tensors[layer + leaf] for leaf in ("weight", "bias")} if layer else {}
        used = {tensor.name for tensor in head.values()}
        outside = [name for name in state.tensors if not name.startswith(prefix) and name not in used]
        rest = {name: state.tensors[name] for name in outside}
        yield StateDict(
            "", path, tensors, notes, originals, is_inner=True, outside=rest, head=head, remarks=state.remarks
        )


def _outside(prefix: str, names: Mapping[str, TensorRef]) -> str:
    """A prefix without the part that Transformers puts before the layers of a class alone, and not before its norm."""
    outer = prefix.removesuffix(f"{INNER}.")
    return outer if f"{outer}layer_norm.weight" in names and f"{prefix}layer_norm.weight" not in names else prefix


def _full_prefix(prefix: str, originals: Mapping[str, str]) -> str:
    """A prefix as the file's own names have it: with the wrappers that were taken off in front."""
    name = next((name for name in ANCHORS if name in originals), next(iter(originals)))
    original = originals[name]
    return original[: -len(name)] if original.endswith(name) else prefix


def _is_one(place: StateDict, other: StateDict) -> bool:
    """Whether two places hold the very same bytes of a file."""
    if place.tensors.keys() != other.tensors.keys():
        return False
    pairs = ((tensor, other.tensors[name]) for name, tensor in place.tensors.items())
    return all(_bytes(one) == _bytes(two) != [] for one, two in pairs)


def _bytes(tensor: TensorRef) -> list[tuple[int, int, int]]:
    return [(id(source), start, stop) for source, start, stop in byte_ranges(tensor.values)]


def is_equal(place: StateDict, other: StateDict) -> bool:
    """Whether two places hold the same values, bit for bit. They are read up to where they differ."""
    if place.tensors.keys() != other.tensors.keys():
        return False
    pairs = [(tensor, other.tensors[name]) for name, tensor in place.tensors.items()]
    return all((one.shape, one.dtype) == (two.shape, two.dtype) for one, two in pairs) and all(
        first.tobytes() == second.tobytes()
        for one, two in pairs
        for first, second in zip(one.blocks(), two.blocks(), strict=True)
    )

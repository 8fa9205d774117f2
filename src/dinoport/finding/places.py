"""Where in a state dict a model lies: any prefix below which a codebase's names begin, whatever framework wrote it."""

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from dinoport.codebases import catalogue
from dinoport.codebases.codebase import Evidence, Naming, Reading
from dinoport.codebases.frameworks import convention
from dinoport.codebases.refusal import NOT_PART
from dinoport.errors import DinoportError, PlanError, SettingError, UnknownModelError
from dinoport.finding.bare_names import ANCHORS, HEADS, without_inner
from dinoport.finding.unwrap import StateDict, without_chunks
from dinoport.formats.values import is_one
from dinoport.mapping.claims import Problem, claims_of_source, claims_of_target
from dinoport.mapping.decoding import decode
from dinoport.model import Wishes, layers_called
from dinoport.shown.text import counted
from dinoport.tensor import Shape, TensorRef

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

RANKS = {
    0: "the teacher or target, which DINO, iBOT and I-JEPA evaluate",
    1: "the average of the run, which timm evaluates",
    2: "the copy without a role, which solo-learn and MoCo evaluate",
    3: "the only copy that is not a student's",
    4: "which comes first among the copies here",
}


def places(states: Iterable[StateDict], known: Sequence[StateDict] = ()) -> list[StateDict]:
    """Each place that holds a known model, the preferred first; those that are whole, if any is."""
    return by_preference(each_place(states, known))


def each_place(states: Iterable[StateDict], known: Sequence[StateDict] = ()) -> list[StateDict]:
    """Every place below which the names of a known codebase begin, in order; copies of one are one.

    `known` are state dicts whose own names are known. The order in the file decides nothing: places of one rank are in
    the order of their prefixes.
    """
    below = [(each, list(_below(each))) for each in states if not any(each is other for other in known)]
    others = [each for each, own in below if not own]
    named = ((each.originals.get(name, name), tensor) for each in others for name, tensor in each.tensors.items())
    elsewhere = {name: tensor.renamed(name) for name, tensor in named}
    beside = [place for each in known for place in _below(each)]
    inner = [replace(place, outside={**elsewhere, **place.outside}) for _, own in below for place in own] + beside
    kept: list[StateDict] = []
    for place in sorted([*known, *inner], key=lambda place: (rank(place), place.is_inner, place.prefix)):
        first = next((index for index, other in enumerate(kept) if _is_one_place(place, other)), None)
        if first is None:
            kept.append(place)
        else:
            kept[first] = replace(kept[first], copies=(*kept[first].copies, f"{place.prefix}."))
    return kept


def by_preference(found: Sequence[StateDict], signs: frozenset[str] = frozenset()) -> list[StateDict]:
    """Those that are complete, if any is, else those of which sizes can be read, the preferred first.

    `signs` are the frameworks that the file tells.
    """
    if len(found) < 2:
        return list(found)
    kept = [place for place in found if is_complete(place)] or [*filter(_is_readable, found)] or list(found)
    prefixes = [place.prefix for place in kept]
    whose = {own: convention(own, [other for other in prefixes if other != own], signs) for own in prefixes}
    kept.sort(key=lambda place: whose[place.prefix] is None)
    alone = not any(is_as_good(kept[0], other) for other in kept[1:])
    return [replace(place, why=whose[place.prefix] or (RANKS[rank(place)] if alone else "")) for place in kept]


def is_as_good(place: StateDict, other: StateDict) -> bool:
    """Whether nothing but a framework's convention says which of two places is meant."""
    return rank(place) == rank(other) and (place.is_inner == other.is_inner or place.path == other.path)


def hurt_copies(
    found: Iterable[StateDict], chosen: StateDict, signs: frozenset[str]
) -> Iterator[tuple[StateDict, bool]]:
    """Places that are nearly the chosen model once more, but incomplete; whether each would be preferred to it."""
    for place in found:
        alike = sum(place.shapes.get(name) == shape for name, shape in chosen.shapes.items())
        if place.prefix == chosen.prefix or alike < MOST * len(chosen.shapes) or is_complete(place):
            continue
        said = convention(place.prefix, [chosen.prefix], signs)
        theirs = convention(chosen.prefix, [place.prefix], signs)
        yield place, bool(said or (rank(place) < rank(chosen) and not theirs))


MOST = 0.8
"""Of the names and shapes of a model that a damaged copy of it has."""


def is_complete(place: StateDict) -> bool:
    """Whether a place holds a whole network: every tensor fits its table, and none is missing."""
    return problems_of(place) == ()


def _is_readable(place: StateDict) -> bool:
    """Whether a place is a model at all: names that lie apart may tell one together, and are none."""
    problems = problems_of(place)
    return problems is not None and all(name for name, _ in problems)


def problems_of(place: StateDict) -> tuple[tuple[str, str], ...] | None:
    """What keeps a place from being a whole network, by name; None where its sizes cannot even be read."""
    naming = naming_of(place)
    if naming is None:
        return None
    try:
        try:
            found = _problems(place, naming, Wishes(num_heads=1))
        except SettingError:  # a rotary ViT tells its heads itself
            found = _problems(place, naming, Wishes())
    except (SettingError, UnknownModelError):  # asked for where it is taken, or whole and such as no class computes
        return ()
    except PlanError as error:
        return tuple(("", problem) for problem in error.problems) or None
    except DinoportError:
        return None
    return tuple((each.name, each.what) for each in found)


def _problems(place: StateDict, naming: Naming, wishes: Wishes) -> Sequence[Problem]:
    family = naming.code.FAMILY
    layers = layers_called(family.classifiers)
    aside = layers_beside(naming, place.shapes, wishes) | (layers if place.is_inner else set())
    place = replace(place, tensors={name: each for name, each in place.tensors.items() if name not in aside})
    found = decode(place.tensors, naming.rules(place.shapes, wishes), family.drops)
    if own := [each for each in found.problems if each.name not in place.beside and each.name not in layers]:
        return own
    evidence = Evidence(place.label, found.tensors, wishes=wishes, declared=frozenset(found.declared))
    reading: Reading = naming.code.read(evidence)
    more = found.tensors.keys() - reading.architecture.tensors().keys()
    named = [name for name in more if not name.startswith("classifier") and name not in {*place.beside, *layers}]
    return [*reading.problems, *(Problem(name, NOT_PART) for name in sorted(named))]


def layers_beside(naming: Naming, shapes: Mapping[str, Shape], wishes: Wishes) -> set[str]:
    """The names of a user's own classifier, which no table has: no feature passes it."""
    family = naming.code.FAMILY
    known = layers_called(("classifier", *family.classifiers))
    names = {name for name in shapes if name.partition(".")[0] in HEADS and name not in known}
    names = {name for name in names if not claims_of_source(name, family.drops)}
    rules = naming.rules({name: shape for name, shape in shapes.items() if name not in names}, wishes) if names else ()
    return {name for name in names if not claims_of_target(name, rules)}


def rank(place: StateDict) -> int:
    """How much a place is preferred, by what its prefix says: 0 is best."""
    said = place.prefix.lower()
    ranks = [rank for word, rank in ROLES if word in said]
    return min([*ranks, *(WORDS[word] for word in re.split(r"[._\d]+", said) if word in WORDS)], default=UNNAMED)


def naming_of_names(tensors: Mapping[str, TensorRef]) -> Naming | None:
    """Whose names these are; None where nobody's that is known."""
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    return next((naming for naming in catalogue.NAMINGS if naming.recognises(shapes)), None)


def naming_of(state: StateDict) -> Naming | None:
    """Whose the names of a state dict are; of all of them, else of those that stood under one prefix with most."""
    if (naming := naming_of_names(state.tensors)) or not state.beside:
        return naming
    return naming_of_names({name: tensor for name, tensor in state.tensors.items() if name not in state.beside})


def naming_there(place: StateDict) -> Naming:
    """Whose the names of a place are that was found by them."""
    naming = naming_of(place)
    if naming is None:
        raise ValueError(f"a place without known names: {place.path}")
    return naming


LAST = "\U0010ffff"
"""What sorts behind whatever a name has below a prefix."""


def _below(state: StateDict) -> Iterator[StateDict]:
    """The places in one state dict, deeper than its bare names."""
    prefixes = {name[: -len(anchor)] for name in state.tensors for anchor in ANCHORS if name.endswith(f".{anchor}")}
    leads = {without_inner(tuple(prefix.split(".")[:-1]), state.tensors) for prefix in prefixes}
    prefixes = {"".join(f"{part}." for part in lead) for lead in leads}
    ordered = sorted(state.tensors) if prefixes else []
    place_of = {name: place for place, name in enumerate(state.tensors)}
    for prefix in sorted(prefixes):
        begin, end = (bisect_left(ordered, prefix + last) for last in ("", LAST))
        names = sorted(ordered[begin:end], key=place_of.__getitem__)
        bare = [name[len(prefix) :] for name in names]
        flat, chunked = without_chunks(bare)
        bare, chunked = (flat, chunked) if len(set(flat)) == len(flat) else (bare, "")
        own = {short: state.tensors[name] for short, name in zip(bare, names, strict=True)}
        naming = naming_of_names(own)
        if naming is None:
            continue
        tensors = {name: tensor.renamed(name) for name, tensor in own.items()}
        originals = {short: state.originals.get(name, name) for short, name in zip(bare, names, strict=True)}
        stripped = f"prefix {prefix!r} stripped from {counted(len(tensors), 'name')}"
        notes = (*state.notes, stripped, *filter(None, (chunked,)))
        layer = naming.classifier_beside(prefix, state.tensors.keys(), whole=not state.path)
        head = {leaf: state.tensors[layer + leaf] for leaf in ("weight", "bias")} if layer else {}
        used = {tensor.name for tensor in head.values()}
        outside = [name for name in state.tensors if not name.startswith(prefix) and name not in used]
        rest = {name: state.tensors[name] for name in outside}
        inner = StateDict("", state.path, tensors, notes, originals, is_inner=True, outside=rest, head=head)
        yield replace(inner, remarks=state.remarks, doubts=state.doubts)


def _is_one_place(place: StateDict, other: StateDict) -> bool:
    """Whether two places hold the very same bytes of a file."""
    if place.tensors.keys() != other.tensors.keys():
        return False
    return all(is_one(tensor, other.tensors[name]) for name, tensor in place.tensors.items())


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

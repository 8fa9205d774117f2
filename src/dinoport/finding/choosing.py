"""Which of a checkpoint's state dicts is converted, and by whose names it is read."""

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from dinoport.codebases import catalogue
from dinoport.codebases.codebase import Naming
from dinoport.codebases.stranger_refusals import refuse_changed, refuse_stranger, stranger_of
from dinoport.codebases.stranger_signs import is_other_resnet
from dinoport.errors import DinoportError, SettingError, UnknownModelError
from dinoport.finding.bare_names import BY_SHAPES, anchor_of
from dinoport.finding.faults import faults, incomplete, refuse_without_one
from dinoport.finding.places import (
    RANKS,
    by_preference,
    each_place,
    hurt_copies,
    is_as_good,
    is_equal,
    naming_of,
    naming_there,
    places,
    rank,
)
from dinoport.finding.unwrap import StateDict, state_dicts
from dinoport.formats.opening import open_checkpoint
from dinoport.formats.run_folder import MAX_LISTED, SeveralError
from dinoport.mapping.folding import fold_names
from dinoport.shown.calls import FOLDER, Blank, call, runnable
from dinoport.shown.text import counted, listed


class Found(NamedTuple):
    """The state dict that will be converted, how its tensors are named, and the others of the file."""

    naming: Naming
    state: StateDict
    others: tuple[StateDict, ...]


def choose(
    where: str,
    candidates: Sequence[StateDict],
    key: str | None,
    prefix: str | None = None,
    naming: Naming | None = None,
    signs: frozenset[str] = frozenset(),
) -> Found:
    """Choose the state dict to convert: the one under `key` or `prefix`, else the preferred one whose names are known.

    `naming` is whose names they are, where a config says so, `signs` are the frameworks that the file tells. Places
    below a prefix are looked at too; the framework's own convention decides. Raises SettingError for a key or a prefix
    that the file does not have, and where several places are alike preferred; UnknownModelError where no names are
    known.
    """
    if prefix is not None:
        _refuse_changed(where, candidates)
        return _under(where, candidates, prefix)
    chosen = [state for state in candidates if key in (state.branch, state.path)] if key else list(candidates)
    if not chosen:
        raise _no_key(where, candidates, key or "")
    _refuse_changed(where, chosen)
    known: list[StateDict] = []
    for state in chosen:
        is_beside = state.is_inner and is_other_resnet(state.shapes) is not None
        is_known = naming_of(state) is not None and not is_beside
        if is_known and not known:
            refuse_stranger(where, state.label, state.shapes, named=naming is not None)
        if naming is not None:
            return Found(naming, state, tuple(other for other in candidates if other is not state))
        known += [state] if is_known else []
    if known and known[0].branch and not known[0].is_inner:
        preferred = next(
            (state for state in chosen if state.branch == "teacher" and known[0].why == BY_SHAPES), chosen[0]
        )
        if not any(preferred is state for state in known) and _may_be_meant(preferred, known[0]):
            inner = places([preferred])
            if not inner:
                raise _of_unknown_names(where, preferred, known[0])
            return _found(inner[0], [other for other in candidates if other is not preferred])
        return _found(known[0], [other for other in candidates if other is not known[0]])
    if known and _is_average(chosen[0], known) and not places(chosen[:1]):
        raise _of_unknown_names(where, chosen[0], known[0])
    if every := each_place(chosen, known):
        return _preferred(where, by_preference(every, signs), every, signs)
    for state in chosen:
        refuse_stranger(where, state.label, state.shapes, heads=not any(map(anchor_of, state.tensors)))
    refuse_without_one(where, chosen)
    names = list(chosen[0].tensors)
    families = [str(naming.code.FAMILY) for naming in catalogue.NAMINGS if naming.family]
    raise UnknownModelError(
        f"{where} is not a model of the DINO family",
        where=chosen[0].label,
        expected="; ".join(families),
        found=f"{counted(len(names), 'tensor')}: {listed(fold_names(names), 8)}",
        cause="another model, a head without its backbone, or names that another codebase changed",
        next_step=_advice(where, names),
    )


def _refuse_changed(where: str, states: Sequence[StateDict]) -> None:
    """Raise UnknownModelError for a model that computes otherwise with a backbone whose names are known."""
    for state in states:
        outside = {name: each.shape for name, each in state.outside.items()}
        refuse_changed(where, state.label, {**state.shapes, **outside})


def _is_average(first: StateDict, known: Sequence[StateDict]) -> bool:
    """Whether a copy that goes before a run's live model has names that are not known: no other stands for it."""
    is_known = any(first is state for state in known)
    return not is_known and not known[0].branch and _may_be_meant(first, known[0]) and not stranger_of(first.shapes)


def _may_be_meant(preferred: StateDict, known: StateDict) -> bool:
    """Whether a copy of a training run is large enough to be a model."""
    return bool(preferred.branch) and len(preferred.tensors) * 2 >= len(known.tensors)


def _of_unknown_names(where: str, preferred: StateDict, known: StateDict) -> UnknownModelError:
    """What is said of a preferred copy whose names are not known: another one never stands for it in silence."""
    key = known.path or known.branch
    own, other = known.label, f"checkpoint_key={key!r}"
    if not key:
        own, other = "live model", f"prefix={_as_asked(known)!r}"
    return UnknownModelError(
        f"{where} has its {own} under names that are known, but not its {preferred.label}",
        where=preferred.label,
        expected=f"names such as {', '.join(fold_names(list(known.tensors))[:3])}",
        found=", ".join(fold_names(list(preferred.tensors))[:3]),
        cause=f"{preferred.label} is another model, or its names were changed",
        next_step=f"to take the other one: add `{other}`",
    )


def _preferred(where: str, found: Sequence[StateDict], every: Sequence[StateDict], signs: frozenset[str]) -> Found:
    """The first of several places; those that hold its values once more are copies of it.

    Raises SettingError where another is as good, PlanError where a better one of `every` place is incomplete.
    """
    first, *others = found
    hurt = list(hurt_copies(every, first, signs))
    if better := next((place for place, is_better in hurt if is_better), None):
        other = f"to take the copy that is whole: add `prefix={_as_asked(first)!r}`"
        raise incomplete(where, *faults(better), other)
    lacks = [(place, lines[0]) for place, _ in hurt if (lines := faults(place)[1])]
    remarks = [f"{_as_asked(place)} is not whole: {line}" for place, line in lacks]
    first = replace(first, remarks=(*first.remarks, *remarks))
    alike = [each for each in others if not first.why and is_as_good(each, first)]
    same = [each for each in alike if is_equal(first, each)]
    if len(same) < len(alike):
        raise SettingError(
            f"{where} holds several models, and nothing says which one is meant",
            expected="`prefix` with one of them",
            found=", ".join(_as_asked(place) for place in found),
            next_step=f"add `prefix={_as_asked(first)!r}`",
        )
    copies = (*first.copies, *map(_as_asked, same))
    why = first.why or RANKS[rank(first)]
    return _found(
        replace(first, copies=copies, why=why), [each for each in others if not any(each is one for one in same)]
    )


def _found(state: StateDict, others: Sequence[StateDict]) -> Found:
    return Found(naming_there(state), state, tuple(others))


def _under(where: str, candidates: Sequence[StateDict], prefix: str) -> Found:
    """The place that the user names, as the file's keys and parts of names joined by dots."""
    known = [state for state in candidates if naming_of(state) is not None]
    every = {_as_asked(place): place for place in (*known, *each_place(candidates))}
    found = {_as_asked(place): place for place in (*known, *places(candidates))}
    copies = {copy: place for place in every.values() for copy in place.copies}
    asked = f"{prefix.strip('.')}."
    place = every.get(asked, copies.get(asked))
    if place is None:
        close = [f"`prefix={name!r}`" for name in _like(prefix, found)]
        raise SettingError(
            f"{where} holds no known model under the prefix {prefix!r}",
            expected=", ".join(repr(name) for name in found) or "a file that holds one",
            found=f"`prefix={prefix!r}`",
            did_you_mean=" or ".join(close) or None,
            next_step=call("inspect", where),
        )
    return _found(replace(place, why="as asked"), [each for each in found.values() if each.prefix != place.prefix])


def _no_key(where: str, candidates: Sequence[StateDict], key: str) -> SettingError:
    """A word on a key that the file does not have, and on the models whose prefix has it: `student_backbone.`."""
    keys = [repr(state.label) for state in candidates if state.branch or state.path]
    known = [state for state in candidates if naming_of(state) is not None]
    asked = [_as_asked(place) for place in (*known, *each_place(candidates))]
    called = [prefix for prefix in asked if key in re.split(r"[._]", prefix)]
    step = f"{'give one of these, or ' if keys else ''}leave `checkpoint_key` out"
    return SettingError(
        f"{where} has nothing under the key {key!r}",
        expected=f"one of {', '.join(keys)}" if keys else "no key: the file is a bare state dict",
        found=f"`checkpoint_key={key}`",
        next_step=f"give `prefix={called[0]!r}` in the place of `checkpoint_key`" if called else step,
    )


def _as_asked(place: StateDict) -> str:
    """The prefix that asks for a place: a dot alone for bare names."""
    return f"{place.prefix}."


def _like(prefix: str, places: Iterable[str]) -> list[str]:
    """The places that begin as a prefix says, else those that are nearest to it in as many parts as it has."""
    if within := [name for name in places if name.startswith(f"{prefix.rstrip('.')}.")]:
        return within
    from difflib import get_close_matches

    parts = prefix.rstrip(".").count(".") + 1
    begun = {name: ".".join(name.split(".")[:parts]) for name in places}
    close = get_close_matches(prefix.rstrip("."), sorted(set(begun.values())), n=1, cutoff=0.5)
    return [name for name in begun if begun[name] in close] or get_close_matches(prefix, begun, n=1, cutoff=0.5)


def _advice(where: str, names: Sequence[str]) -> str:
    """What to do with a file of these tensors, whose names are not known."""
    if "embeddings.cls_token" in names:
        folder = where.rpartition("/")[0] or "."
        command = runnable("convert", folder, FOLDER, to="original")
        return f"give the folder, with its config.json: {command}"
    if of_head := head_call(where, names):
        which = (
            "one of these heads to its backbone, by its NAME" if len(names) > 2 else "it as the head of its backbone"
        )
        return f"give {which}: {of_head}"
    return call("inspect", where)


def head_call(where: str, names: Sequence[str]) -> str | None:
    """The call that takes a file of these tensors as a head; None where they are not one, nor several."""
    from dinoport.codebases.dinov2.linear import features_of

    if len(names) == 2 and {name.rpartition(".")[2] for name in names} == {"weight", "bias"}:
        return runnable("convert", Blank("BACKBONE"), FOLDER, head=where)
    if names and all(features_of(name.rpartition(".")[0]) for name in names):
        return runnable("convert", Blank("BACKBONE"), FOLDER, head=where, head_name=Blank("NAME"))
    return None


def with_heads_apart(error: SeveralError) -> SeveralError:
    """The same error, which knows classifiers without their backbone from models."""
    heads: dict[Path, str] = {}
    for path in error.paths[:MAX_LISTED]:
        with suppress(DinoportError), open_checkpoint(path) as checkpoint:
            call = head_call(str(path), list(state_dicts(checkpoint)[0].tensors))
            heads |= {path: call} if call else {}
    if heads:
        error.set_apart(heads)
    return error

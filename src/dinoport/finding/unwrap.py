"""From what a file holds to the state dicts in it: which branches there are, and which prefixes their names wear.

Nothing is guessed silently: each candidate says where it was found and what was stripped from its names.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from typing import Any
from weakref import WeakKeyDictionary

from dinoport.errors import CheckpointError
from dinoport.files.names import is_name, short_text
from dinoport.finding.bare_names import (
    ANCHORS,
    INNER,
    LAYERS,
    NamedTensor,
    bare,
    by_usual_names,
    parted,
    preference,
    told_apart,
)
from dinoport.finding.completeness import SKIPPED, describe, refuse_amounts, refuse_unread, unnamed, unsound
from dinoport.formats.checkpoint import Checkpoint
from dinoport.formats.distributed.signs import sharded_names
from dinoport.formats.torch.modules import module_state_dict
from dinoport.formats.torch.stand_ins import Opaque
from dinoport.formats.values import StoredValues, is_one
from dinoport.mapping.plan import Dropped
from dinoport.model import Setting
from dinoport.shown.text import counted
from dinoport.tensor import Shape, TensorRef

MAX_DEPTH = 16
"""Dicts in dicts: genuine checkpoints have three at most; deeper ones are made to exhaust something."""

MAX_MODELS = 64
"""Of a list."""

BLOCK_CHUNK = re.compile(r"^blocks\.(\d+)\.(\d+)\.")
"""DINOv2 groups its blocks for FSDP (`block_chunks`); the second number counts them through all groups."""

CHUNKS_FLATTENED = "block chunks flattened"
"""How a note of it begins."""


@dataclass(frozen=True)
class StateDict:
    """One model's tensors under bare names.

    `branch` is one of BRANCHES or empty; `path` are the keys of the file that lead to its dict; `notes` say what was
    stripped; `why` is the reason to prefer this one to all others; `is_inner` says that it lies inside another
    framework's model, whose layers on top are not the backbone's own; `outside` is what else that holds, and `head` the
    classifier beside the backbone of a class that is known to have it there, as `weight` and `bias`. `copies` are other
    prefixes under which the very same tensors lie. `remarks` are for the report, `doubts` for the verdict: what was
    taken for so, and no tensor tells. `aside` is what lay among the tensors and is not the model's.
    """

    branch: str
    path: str
    tensors: Mapping[str, TensorRef]
    notes: tuple[str, ...] = ()
    originals: Mapping[str, str] = field(default_factory=dict)
    why: str = ""
    is_inner: bool = False
    outside: Mapping[str, TensorRef] = field(default_factory=dict)
    head: Mapping[str, TensorRef] = field(default_factory=dict)
    copies: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    doubts: tuple[Setting[str], ...] = ()
    aside: tuple[Dropped, ...] = ()

    @property
    def label(self) -> str:
        own = self.prefix if self.is_inner else self.branch or self.path
        return own or "the file's own state dict"

    @property
    def prefix(self) -> str:
        """Keys of the file and parts of its names in front of the model, joined by dots: what `--prefix` takes."""
        return ".".join(filter(None, (self.path, *self.lead)))

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        return {name: tensor.shape for name, tensor in self.tensors.items()}

    @cached_property
    def beside(self) -> frozenset[str]:
        """The names that stood under another prefix than most: beside the backbone, and not in it."""
        usual = self.lead
        return frozenset(
            name
            for name, original in self.originals.items()
            if (lead := _lead(name, original)) != usual and not (lead == (*usual, INNER) and LAYERS.match(name))
        )

    @cached_property
    def lead(self) -> tuple[str, ...]:
        """What stood in front of most names."""
        anchored = [name for name in ANCHORS if name in self.originals][:1]
        leads = Counter(_lead(name, self.originals[name]) for name in anchored or self.originals)
        return leads.most_common(1)[0][0] if leads else ()


def _lead(name: str, original: str) -> tuple[str, ...]:
    """What stood in front of a bare name."""
    parts, own = original.split("."), name.split(".")
    begins = [index for index, part in enumerate(parts) if part == own[0] and len(parts) - index >= len(own)]
    return tuple(parts[: begins[-1]]) if begins else ()


_UNWRAPPED: WeakKeyDictionary[Checkpoint, tuple[StateDict, ...]] = WeakKeyDictionary()
"""What was found in the checkpoints that are open: a file is planned once for each model in it."""


def state_dicts(checkpoint: Checkpoint) -> tuple[StateDict, ...]:
    """Every state dict in a checkpoint, preferred branches first.

    Raises CheckpointError where there is none, where two names become one once their prefixes are gone, and for the
    file of one rank of several.
    """
    if checkpoint not in _UNWRAPPED:
        _UNWRAPPED[checkpoint] = tuple(_state_dicts(checkpoint))
    return _UNWRAPPED[checkpoint]


def _state_dicts(checkpoint: Checkpoint) -> list[StateDict]:
    if sharded := list(sharded_names(checkpoint.tree)):
        from dinoport.formats.distributed.rank_files import rank_file_error

        raise rank_file_error(checkpoint, sharded)
    groups: dict[tuple[str, str], list[NamedTensor]] = {}
    spelled: dict[str, str] = {}
    for path, tensors in _tensor_dicts(checkpoint):
        usual, spelled[".".join(path)] = by_usual_names(tensors)
        for full_name, tensor in usual.items():
            branch, name, removed = bare(path, full_name)
            if branch is not None:
                groups.setdefault((branch, ".".join(path)), []).append(NamedTensor(full_name, name, removed, tensor))
    for named in groups.values():
        refuse_amounts(checkpoint, [each.tensor for each in named])
    for each in chain.from_iterable(groups.values()):
        if isinstance(each.tensor.values, StoredValues):
            each.tensor.values.storage.refuse_doubt()
    found = [state for key, names in groups.items() for state in _models(checkpoint.where, *key, names)]
    if checkpoint.in_pieces:
        from dinoport.finding.pieces import shaped

        found = [replace(each, tensors=shaped(checkpoint.where, each.tensors, checkpoint.run)) for each in found]
    found = [replace(each, notes=(*filter(None, (spelled[each.path],)), *each.notes)) for each in found]
    if not found:
        raise CheckpointError(
            f"{checkpoint.where} holds no tensors that could be a model's",
            expected="a state dict: names and their tensors, bare or inside a training checkpoint",
            found=describe(checkpoint.tree),
            cause=unnamed(checkpoint.tree),
            next_step="save model.state_dict() with torch.save, and give that file",
        )
    return _ranked(checkpoint, found)


def _tensor_dicts(checkpoint: Checkpoint) -> Iterator[tuple[tuple[str, ...], dict[str, TensorRef]]]:
    """Walk the nested dicts of a checkpoint, each once, without recursion."""
    where = checkpoint.where
    pending: list[tuple[tuple[str, ...], object]] = [((), checkpoint.tree)]
    seen = {id(checkpoint.tree)}
    while pending:
        path, node = pending.pop()
        if len(path) > MAX_DEPTH:
            raise CheckpointError(
                f"{where} nests its dicts more than {MAX_DEPTH} deep",
                expected="a state dict, at most three dicts deep",
                found=".".join(path[:4]) + " …",
                cause="the file was not written by a training code",
                next_step="save the innermost state dict on its own",
            )
        children: Mapping[Any, object] = (
            _module(where, node) if isinstance(node, Opaque) else node if isinstance(node, dict) else _listed(node)
        )
        tensors: dict[str, TensorRef] = {}
        nested: list[tuple[tuple[str, ...], object]] = []
        refuse_unread(where, children)
        for name, child in children.items():
            if not isinstance(name, str) or not isinstance(child, (TensorRef, dict, Opaque, list, tuple)):
                continue
            if not is_name(name):
                raise unsound(where, f"an impossible name: {short_text(name)}")
            if isinstance(child, TensorRef):
                tensors[name] = child
            elif name not in SKIPPED and id(child) not in seen:
                seen.add(id(child))
                nested.append(((*path, name), child))
        if tensors:
            yield path, tensors
        pending += reversed(nested)


def _listed(node: object) -> Mapping[str, object]:
    """The dicts and modules in a list, by their places: models that were saved together."""
    found = node[:MAX_MODELS] if isinstance(node, list | tuple) else ()
    return {str(place): each for place, each in enumerate(found) if isinstance(each, dict | Opaque)}


def _module(where: str, node: Opaque) -> Mapping[str, TensorRef]:
    try:
        return module_state_dict(node)
    except ValueError as error:
        raise unsound(where, str(error)) from error


def _models(where: str, branch: str, path: str, names: Sequence[NamedTensor]) -> Iterator[StateDict]:
    """The models of one dict: one, but for two that have one name for each tensor once their wrappers are gone."""
    for lead, own in parted(names):
        state = _state_dict(where, branch, path, own)
        if lead is None:
            yield state
            continue
        inside = {each.full_name for each in own}
        outside = {each.full_name: each.tensor.renamed(each.full_name) for each in names}
        outside = {name: tensor for name, tensor in outside.items() if name not in inside}
        yield replace(state, is_inner=True, outside=outside)


def _state_dict(where: str, branch: str, path: str, names: Sequence[NamedTensor]) -> StateDict:
    """One model's tensors. Raises CheckpointError where two names have become one."""
    removed = Counter((named.removed, named.full_name == named.removed + named.name) for named in names)
    notes = [_stripped(parts, count, leading=leading) for (parts, leading), count in removed.items() if parts]
    own, note = without_chunks([named.name for named in names])
    if chunked := bool(note):
        names = [named._replace(name=name) for named, name in zip(names, own, strict=True)]
        notes.append(note)
    tensors: dict[str, TensorRef] = {}
    originals: dict[str, str] = {}
    for named in names if chunked else told_apart(names):
        known = tensors.get(named.name)
        if known is not None and is_one(known, named.tensor):  # a start for training has the names of several configs
            continue
        if known is not None:
            raise CheckpointError(
                f"two tensors of {where} become one once their prefixes are stripped",
                expected="one tensor for each name of the model",
                found=f"{originals[named.name]!r} and {named.full_name!r}, both {named.name!r}",
                cause="two models or a wrapped and an unwrapped copy were merged into one state dict",
                next_step="save the model that you mean on its own, or remove the other copy's entries",
            )
        tensors[named.name] = named.tensor.renamed(named.name)
        originals[named.name] = named.full_name
    return StateDict(branch, path, tensors, tuple(notes), originals)


def _stripped(removed: str, count: int, *, leading: bool) -> str:
    """What names wore: a prefix, or parts that do not stand together at their beginning."""
    if leading:
        return f"prefix {removed!r} stripped from {counted(count, 'name')}"
    parts = dict.fromkeys(removed.rstrip(".").split("."))
    return f"{', '.join(map(repr, parts))} left out of {counted(count, 'name')}"


def without_chunks(names: list[str]) -> tuple[list[str], str]:
    """The names of a ViT whose blocks are grouped, without the groups, and a note of it; the same where none are.

    Convolutional networks number stages and blocks in the same way.
    """
    if not any(BLOCK_CHUNK.match(name) and ".attn.qkv." in name for name in names):
        return names, ""
    flat = [BLOCK_CHUNK.sub(r"blocks.\2.", name) for name in names]
    changed = sum(before != after for before, after in zip(names, flat, strict=True))
    became = "blocks.{chunk}.{block} became blocks.{block}"
    return flat, f"{CHUNKS_FLATTENED} in {counted(changed, 'name')}: {became}"


def _ranked(checkpoint: Checkpoint, found: list[StateDict]) -> list[StateDict]:
    """Preferred branches first, of one branch the largest; the first one knows why."""
    largest = {state.branch: state.tensors for state in sorted(found, key=lambda state: len(state.tensors))}
    told = checkpoint.run.flag("distillation.enabled") if checkpoint.run else None
    order, why = preference(largest, told)

    def rank(state: StateDict) -> tuple[int, int]:
        return order.index(state.branch) if state.branch in order else len(order), -len(state.tensors)

    first, *others = sorted(found, key=rank)
    return [replace(first, why=why), *others]

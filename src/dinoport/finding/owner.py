"""Whose the model is that was found: what the whole file shows of it, and which of its copies that codebase means."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePath

from dinoport.codebases.attribution import Told, is_untold, tell
from dinoport.codebases.catalogue import RELATIVES, UNTOLD, naming_named
from dinoport.codebases.clues import Clues
from dinoport.codebases.codebase import Naming
from dinoport.codebases.record import family_by_report, record_of
from dinoport.finding.choosing import Found
from dinoport.finding.places import naming_of
from dinoport.finding.statements import claim_of, training_arguments
from dinoport.finding.unwrap import StateDict
from dinoport.formats.checkpoint import Checkpoint
from dinoport.mapping.decoding import decode
from dinoport.model import Wishes
from dinoport.request import Request


def whose(
    checkpoint: Checkpoint, found: Found, request: Request, published: str | None, recorded: str | None
) -> tuple[Found, Told]:
    """Who names the model that was found, and the copy that its own code evaluates, where none is asked for.

    `published` is the family of the published model that the file is beyond doubt, `recorded` the one that a folder
    says. Raises SettingError where the user's word does not fit.
    """
    clues = clues_of(checkpoint, found.state, published, recorded)
    if not found.naming.family and found.naming.code.FAMILY.name in {*RELATIVES, *UNTOLD}:
        told = _under_other_names(checkpoint.where, found.naming, clues, request.codebase)
        return found._replace(naming=told.naming), told
    told = tell(checkpoint.where, found.naming, clues, request.codebase)
    if request.checkpoint_key is None and request.prefix is None and told.relative:
        found = _preferred(found, told.relative.copies, told.relative.why)
    return found._replace(naming=told.naming), told


def _under_other_names(where: str, naming: Naming, clues: Clues, asked: str | None) -> Told:
    """Whose a model under the names of another codebase is: told by what its canonical tensors show."""
    rules = naming.rules(clues.shapes, Wishes(num_heads=1))  # no clue depends on it, and any width has one
    canonical = decode(clues.tensors, rules, naming.code.FAMILY.drops).tensors
    own = naming_named(naming.code.FAMILY.name)
    told = tell(where, own, replace(clues, tensors=canonical), asked)
    if told.naming is own:
        return told._replace(naming=naming)
    return told._replace(naming=replace(naming, given=naming.code.of(told.naming.code)))


def clues_of(checkpoint: Checkpoint, state: StateDict, published: str | None, recorded: str | None) -> Clues:
    tree = checkpoint.tree if isinstance(checkpoint.tree, dict) else {}
    arch, own = tree.get("arch"), record_of(checkpoint.config or {}).get("family")
    return Clues(
        tensors=state.tensors,
        place=state.prefix,
        keys=frozenset(key for key in tree if isinstance(key, str)),
        arguments={**training_arguments(checkpoint), **({"arch": arch} if isinstance(arch, str) else {})},
        file_name=PurePath(checkpoint.where).name,
        published=published,
        recorded=own if isinstance(own, str) else recorded,
        architecture=_architecture(checkpoint.config or {}),
        untold=is_untold(checkpoint.vouched),
        written=lambda: family_by_report(checkpoint.vouched),
        claim=claim_of(checkpoint),
    )


def _architecture(config: Mapping[str, object]) -> str:
    """What timm's config.json calls the model, and which of its weights: `vit_small_patch16_224.dino`."""
    name, details = config.get("architecture"), config.get("pretrained_cfg")
    tag = details.get("tag") if isinstance(details, Mapping) else None
    if not isinstance(name, str):
        return ""
    return f"{name}.{tag}" if isinstance(tag, str) and tag and "." not in name else name


def _preferred(found: Found, copies: tuple[str, ...], why: str) -> Found:
    """The first of these copies that the file holds; what was found where it holds none."""
    states = (found.state, *found.others)
    for copy in copies:
        for state in states:
            keys = (state.branch, *(where.rpartition(".")[2] for where in (state.path, state.prefix)))
            if copy in keys and naming_of(state) is not None:
                others = tuple(other for other in states if other is not state)
                return found._replace(state=replace(state, why=why), others=others)
    return found

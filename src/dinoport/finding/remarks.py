"""What a report says of the way to a model: its names, its copies, and what was not read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from dinoport.codebases.codebase import Naming
from dinoport.finding.choosing import Found
from dinoport.finding.completeness import SKIPPED
from dinoport.finding.places import naming_of
from dinoport.formats.checkpoint import Checkpoint
from dinoport.formats.torch.stand_ins import walked
from dinoport.formats.transformers_folder import REPORT
from dinoport.mapping.decoding import Decoding
from dinoport.request import Request, option_of
from dinoport.tensor import TensorRef

if TYPE_CHECKING:
    from dinoport.codebases.relative import Whole


def of_names(naming: Naming, decoding: Decoding) -> list[str]:
    declared = {name: why for name, why in decoding.declared.items() if "." not in name}
    kept = [f"the file holds no {name}; taken as {why}" for name, why in declared.items()]
    return kept if naming.family else [f"read through the names of {naming.codebase}", *kept]


def of_wholes(wholes: Mapping[str, Whole], decoding: Decoding, request: Request) -> Iterator[str]:
    """Which classes hold what features do not pass, where the file has that."""
    for name, whole in wholes.items():
        if request.to == "transformers" and any(each.startswith(whole.names) for each in decoding.beside):
            yield f"{name} would hold {whole.words} ({option_of('class_name')})"


def of_branches(found: Found, key: str | None) -> list[str]:
    least = len(found.state.tensors) / 2  # what is smaller is a head, or a counter
    others = [state for state in found.others if len(state.tensors) >= least]
    by_key = bool(found.state.branch) and not any(state.is_inner for state in others)
    names = [state.label if by_key else state.prefix or "." for state in others
             if by_key or naming_of(state)]  # fmt: skip
    same = [f"the same tensors also lie under {', '.join(found.state.copies)}"] if found.state.copies else []
    if not names:
        return same
    chosen = "as asked" if key else found.state.why or "the first that a family recognises"
    option = "`checkpoint_key`" if by_key else "`prefix`"
    own = found.state.label if by_key else found.state.prefix or found.state.label
    return [f"{own} was chosen, {chosen}; also in the file: {', '.join(names)} ({option})", *same]


def of_unnamed(checkpoint: Checkpoint, found: Found) -> list[str]:
    """Lists of as many tensors as the model has: an average that was kept without names may be what is meant."""
    least = len(found.state.tensors) / 2
    return [
        f"{path} holds {len(node)} tensors without names, perhaps an average of the model: not taken"
        for path, node in walked(checkpoint.tree, DEPTH)
        if isinstance(node, list) and sum(isinstance(each, TensorRef) for each in node) >= least
        and SKIPPED.isdisjoint(path.split("."))
    ]  # fmt: skip


DEPTH = 3


def of_the_run(checkpoint: Checkpoint) -> list[str]:
    """What lies beside the file and was not read, or is not of it."""
    run = checkpoint.run
    another = checkpoint.written is not None and not checkpoint.vouched
    of_another = [f"{REPORT} beside it is of another file of that name and size: nothing is taken from it"]
    unhashed = [f"{REPORT} beside it is taken for this file's by name and size: a conversion compares the hash too"]
    unread = [f"{run.where} was not read: {run.problem}"] if run and run.problem else []
    return [*unread, *(of_another * another), *(unhashed * (checkpoint.looked_at and checkpoint.written is not None))]

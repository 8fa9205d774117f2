"""Files that each rank of several wrote under FSDP: every tensor is in pieces, one after the other by rank.

`dinov2/fsdp/__init__.py` saves the local state dicts: a piece of each parameter, flat and possibly empty, under its own
name, and beside them the units that FSDP made of these. Units are padded between tensors, so the pieces are taken.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

from dinoport.errors import CheckpointError
from dinoport.files.byte_sources import ByteSource
from dinoport.files.folders import FilePool, LocalFolder
from dinoport.files.names import short_text
from dinoport.formats.checkpoint import Checkpoint
from dinoport.formats.distributed.signs import process_of, sharded_names
from dinoport.formats.distributed.split_values import Box, BoxedValues, SplitValues
from dinoport.formats.run_folder import iterations
from dinoport.formats.shards import RANK_FILE
from dinoport.formats.single_file import read_file
from dinoport.shown.text import listed
from dinoport.tensor import TensorRef, dtype_name

MAX_LISTED = 3

MODEL, ITERATION = "model", "iteration"
"""What of each file is read."""


def put_together(checkpoint: Checkpoint, path: Path) -> Checkpoint:
    """The model that the files of all ranks hold together, where `checkpoint` is one of several; else as it is.

    Its tensors are flat: their shapes are the network's. One block at a time is read. Closes `checkpoint` where it
    raises CheckpointError: for a rank that is missing, and for files that are not of one save.
    """
    match = RANK_FILE.fullmatch(path.name)
    sharded = list(sharded_names(checkpoint.tree))
    if match is None or not sharded:
        return checkpoint
    with ExitStack() as stack:
        stack.callback(checkpoint.close)
        beside = _ranks_beside(path, match)
        names = [beside.get(rank, "") for rank in range(_ranks(checkpoint, beside))]
        if not all(names):
            raise rank_file_error(checkpoint, sharded)
        folder = LocalFolder(path.parent, FilePool())
        sources: list[ByteSource] = []
        trees: list[Mapping[str, TensorRef]] = []
        saved: dict[object, str] = {}
        for rank, name in enumerate(names):
            sources.append(source := folder.open(name))
            stack.callback(source.close)
            tree = read_file(source)[1]
            trees.append(_model(source.where, tree))
            if (own := process_of(tree)) and own != (rank, len(names)):
                raise _unlike(path, f"in {source.where} the part of rank {own[0]} of {own[1]}")
            saved.setdefault(tree.get(ITERATION) if isinstance(tree, dict) else None, source.where)
        if len(saved) > 1:
            said = ", ".join(f"{short_text(iteration)} in {where}" for iteration, where in list(saved.items())[:2])
            raise _unlike(path, f"the iteration {said}")
        joined = {name: _joined(path, name, [tree.get(name) for tree in trees]) for name in _names(path, trees)}
        stack.pop_all()
    checkpoint.close()
    remark = f"put together from the files of {len(names)} ranks: {names[0]} to {names[-1]}"
    tree = {MODEL: joined}
    format_name = f"files of {len(names)} ranks"
    return replace(
        checkpoint, format=format_name, tree=tree, sources=tuple(sources), remarks=(remark,), gaps=(), in_pieces=True
    )


def _ranks_beside(path: Path, match: re.Match[str]) -> dict[int, str]:
    """The files of one save in a folder, by their ranks."""
    found = {}
    for other in path.parent.iterdir():
        own = RANK_FILE.fullmatch(other.name)
        if own and own["start"] == match["start"]:
            found[int(own["rank"])] = other.name
    return found


def _ranks(checkpoint: Checkpoint, beside: Mapping[int, str]) -> int:
    """How many ranks there were: as a sharded tensor says, else as many as the files show."""
    own = process_of(checkpoint.tree)
    return own[1] if own else max(beside) + 1


def _model(where: str, tree: object) -> Mapping[str, TensorRef]:
    """The tensors of one rank by name."""
    model = tree.get(MODEL) if isinstance(tree, dict) else None
    if not isinstance(model, dict):
        raise _unlike(Path(where), f"no {MODEL!r} in {where}")
    return {name: each for name, each in model.items() if isinstance(name, str) and isinstance(each, TensorRef)}


def _names(path: Path, trees: Sequence[Mapping[str, TensorRef]]) -> Iterator[str]:
    first, *others = trees
    for rank, tree in enumerate(others, 1):
        if tree.keys() != first.keys():
            name = min(tree.keys() ^ first.keys())
            raise _unlike(path, f"{short_text(name)} in one of ranks 0 and {rank} alone")
    yield from first


def _joined(path: Path, name: str, pieces: Sequence[TensorRef | None]) -> TensorRef:
    """One flat tensor of the pieces that the ranks have; what every rank has whole is the first one's."""
    found = [piece for piece in pieces if piece is not None]
    first = found[0]
    if len({len(piece.shape) for piece in found}) > 1 or len({piece.dtype for piece in found}) > 1:
        forms = ", ".join(sorted({f"{dtype_name(piece.dtype)} with {len(piece.shape)} axes" for piece in found}))
        raise _unlike(path, f"{short_text(name)} as {forms}")
    if len(first.shape) != 1:
        return first
    begins = list(accumulate((piece.size for piece in found), initial=0))
    boxes = [Box((begin,), (piece.size,)) for begin, piece in zip(begins, found, strict=False)]
    parts = [BoxedValues(box, piece.values) for box, piece in zip(boxes, found, strict=True) if box.size]
    return replace(first, shape=(begins[-1],), values=SplitValues(first.dtype, (begins[-1],), parts))


def rank_file_error(checkpoint: Checkpoint, sharded: Sequence[str]) -> CheckpointError:
    """The error for a state dict of which other files hold the rest. It names what is missing, and what will do too."""
    path = Path(checkpoint.where)
    return CheckpointError(
        f"{checkpoint.where} holds one rank's part of a model that was trained on several",
        expected="the files of all ranks in one folder, under the names that the run gave them",
        found=f"{len(sharded)} tensors of which it has a part, such as {sharded[0]}" + _missing(checkpoint, path),
        cause="FSDP saves a file for each rank; all of them together hold the model",
        next_step=_instead(path),
    )


def _missing(checkpoint: Checkpoint, path: Path) -> str:
    """Whose file it is, and which ranks' files do not lie beside it."""
    match = RANK_FILE.fullmatch(path.name)
    if match is None or not path.parent.is_dir():
        return ""
    beside = _ranks_beside(path, match)
    world = _ranks(checkpoint, beside)
    missing = [str(rank) for rank in range(world) if rank not in beside]
    return f"; of {world} ranks, the file of rank {listed(missing, MAX_LISTED)} is missing"


def _instead(path: Path) -> str:
    """What to give: upstream's evaluation gathers the whole teacher into one file."""
    gathered = sorted(path.parent.glob("eval/*/teacher_checkpoint.pth"), key=iterations)
    names = [str(found) for found in reversed(gathered)] or [
        str(found) for found in [path.parent / "teacher_checkpoint.pth"] if found.is_file()
    ]
    if names:
        more = f" (or {', '.join(names[1:MAX_LISTED])})" if len(names) > 1 else ""
        return f"give the whole teacher, which the run's evaluation saved: {names[0]}{more}"
    return "put the missing files beside it, or give eval/<iteration>/teacher_checkpoint.pth, the whole teacher"


def _unlike(path: Path, found: str) -> CheckpointError:
    return CheckpointError(
        f"{path} and the files of the other ranks do not belong together",
        expected="files of one save: the same names, dtypes and iteration in each",
        found=found,
        cause="files of two saves in one folder, or a copy that broke off",
        next_step="copy the files of one save again, all of them",
    )

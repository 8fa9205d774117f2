"""Files that one rank of several wrote under FSDP: they hold parts of tensors, and look like whole checkpoints."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from dinoport.errors import CheckpointError
from dinoport.formats.checkpoint import Checkpoint
from dinoport.formats.run_folder import iterations

RANK_FILE = re.compile(r"(?P<start>.+)\.rank_(?P<rank>\d+)\.pth")
"""How `dinov2/fsdp/__init__.py` names the file of each rank."""

MAX_LISTED = 3


def rank_file_error(checkpoint: Checkpoint, sharded: Sequence[str]) -> CheckpointError:
    """The error for a state dict of which other files hold the rest. It names the file to use instead."""
    return CheckpointError(
        f"{checkpoint.where} holds one rank's part of a model that was trained on several",
        expected="whole tensors",
        found=f"{len(sharded)} tensors of which it has a part, such as {sharded[0]}"
        + _siblings(Path(checkpoint.where)),
        cause="FSDP saves a file for each rank; their parts cannot be told apart without the model's code",
        next_step=_instead(Path(checkpoint.where)),
    )


def _siblings(path: Path) -> str:
    """The other ranks' files that lie beside this one."""
    match = RANK_FILE.fullmatch(path.name)
    if match is None:
        return ""
    beside = [other for other in path.parent.glob(f"{match['start']}.rank_*.pth") if RANK_FILE.fullmatch(other.name)]
    return f"; it is rank {match['rank']}'s, and the files of {len(beside)} ranks lie here" if len(beside) > 1 else ""


def _instead(path: Path) -> str:
    """What to give: upstream's evaluation gathers the whole teacher into one file."""
    gathered = sorted(path.parent.glob("eval/*/teacher_checkpoint.pth"), key=iterations)
    names = [str(found) for found in reversed(gathered)] or [
        str(found) for found in [path.parent / "teacher_checkpoint.pth"] if found.is_file()
    ]
    if names:
        more = f" (or {', '.join(names[1:MAX_LISTED])})" if len(names) > 1 else ""
        return f"give the whole teacher, which the run's evaluation saved: {names[0]}{more}"
    return "give eval/<iteration>/teacher_checkpoint.pth of the run, which holds the whole teacher"

"""Files whose names say that they are one of several: what is not in one may be in another."""

import re
from collections.abc import Iterable
from pathlib import PurePath

from dinoport.errors import CheckpointError
from dinoport.formats.deepspeed import MODULE

SHARD = re.compile(r"(?P<start>.*?)-?(?P<number>\d{1,6})-of-(?P<count>\d{1,6})(?P<end>\..+)?", re.ASCII)
"""As Transformers and safetensors name shards: model-00001-of-00002.safetensors."""

RANK = re.compile(r"(.*[._-])?rank[._-]?\d+([._-].*)?", re.ASCII | re.IGNORECASE)
"""As training codes name the file of one process: model.rank_0.pth, model_world_size_8_rank_0.pt."""

RANK_FILE = re.compile(r"(?P<start>.+)\.rank_(?P<rank>\d{1,5})\.pth", re.ASCII)
"""How `dinov2/fsdp/__init__.py` names the file of each rank."""


def refuse_lone_shard(where: str) -> None:
    """Raise CheckpointError for one shard of several, by its name: the others hold the rest of the model."""
    name = PurePath(where).name
    match = SHARD.fullmatch(name)
    if match and int(match["count"]) > 1:
        raise lone_shard(where, int(match["count"]), f"{match['start']}{match['end'] or ''}.index.json")


def lone_shard(where: str, count: int, index: str) -> CheckpointError:
    return CheckpointError(
        f"{where} is one shard of {count}",
        expected=f"all of them, with the index {index}, which lists the tensors of each",
        found="one file",
        cause="a large model that was saved in several files",
        next_step=f"give the folder that they are in: {PurePath(where).parent}",
    )


def left_out(shards: Iterable[str]) -> str | None:
    """How many shards a list lacks, by the names of those in it; None where it is whole."""
    counts = [int(match["count"]) for name in shards if (match := SHARD.fullmatch(name))]
    return f"{len(counts)} of {max(counts)} shards" if counts and max(counts) > len(counts) else None


def gaps_of(where: str) -> tuple[str, ...]:
    """Why a file may not be all of a checkpoint."""
    name = PurePath(where).name
    is_rank = RANK.fullmatch(name) and name != MODULE
    return (f"{name} is named as the file of one rank of several",) if is_rank else ()

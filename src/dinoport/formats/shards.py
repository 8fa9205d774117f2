"""Files that are one of several, told by their names: what is not in one may be in another.

DeepSpeed: up to stage 2 the first file holds the whole module. In stage 3 each file holds a piece of every tensor.
"""

import re
from collections.abc import Iterable
from pathlib import Path, PurePath

from dinoport.errors import CheckpointError
from dinoport.files.folders import LocalFolder, refuse_leaving
from dinoport.files.names import short_text
from dinoport.shown.text import as_word, listed

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


LATEST = "latest"
"""The file that names the folder of the last save (`deepspeed/runtime/engine.py`); Lightning and accelerate keep it."""

MAX_LATEST_BYTES = 256

MODULE = "mp_rank_00_model_states.pt"
"""Of the one rank that holds the module, in stages 0 to 2."""

PARTS = (
    (re.compile(r"zero_pp_rank_\d+_mp_rank_\d+_model_states\.pt"), "ZeRO stage 3"),
    (re.compile(r"mp_rank_(?!00_)\d+_model_states\.pt"), "tensor parallelism"),
    (re.compile(r"layer_\d+-model_(\d+-)?model_states\.pt|layer_\d+-model_\d+\.pt"), "pipeline parallelism"),
)
"""Files that hold parts of a module, and what splits it so."""

GATHER = "zero_to_fp32.py"
"""What DeepSpeed puts into each run's folder: it puts stages 1 to 3 together."""


def module_within(folder: Path) -> Path | None:
    """The file with the whole module of a DeepSpeed folder; None for any other folder.

    Raises CheckpointError where the module was split, and where `latest` names what is not there.
    """
    inner = _latest(folder) or folder
    try:
        names = sorted(entry.name for entry in inner.iterdir())
    except OSError:
        return None
    for pattern, what in PARTS:
        parts = [name for name in names if pattern.fullmatch(name)]
        if parts:
            raise _split(folder, what, parts)
    return inner / MODULE if MODULE in names else None


def refuse_lone_part(path: Path) -> None:
    """Raise CheckpointError for one file of a module that was split."""
    what = next((what for pattern, what in PARTS if pattern.fullmatch(path.name)), None)
    if what is not None:
        raise _split(path, what, [path.name])


def _latest(folder: Path) -> Path | None:
    """The folder that `latest` names, if there is one beside the folders of a run."""
    text = LocalFolder(folder).read(LATEST, MAX_LATEST_BYTES)
    if text is None:
        return None
    name = text.decode("utf-8", "replace").strip()
    inner = folder / name
    if not name or Path(name).name != name or name in (".", "..") or not inner.is_dir():
        raise CheckpointError(
            f"{folder / LATEST} names no folder beside it",
            expected="the name of the folder of the last save, such as global_step1000",
            found=short_text(name),
            cause="a copy that left the folder out, or a file that is not DeepSpeed's",
            next_step=f"give the folder or the file that you mean: ls {as_word(folder)}",
        )
    refuse_leaving(inner, folder)
    return inner


def _split(where: Path, what: str, parts: list[str]) -> CheckpointError:
    gathered = what == "ZeRO stage 3"
    return CheckpointError(
        f"{where} holds parts of a model that DeepSpeed split among its ranks ({what})",
        expected=f"whole tensors, as stages 0 to 2 save them in {MODULE}",
        found=listed(parts, 3),
        cause="in stage 3 each rank saves a piece of every tensor" if gathered else "each rank saves its own layers",
        next_step=(
            f"in the run's folder, where DeepSpeed put it: python {GATHER} . pytorch_model.bin",
            "give that file",
        )
        if gathered
        else "load the model as the run does, and save its state_dict() on one rank",
    )

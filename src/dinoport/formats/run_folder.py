"""The output folder of a training run given for a checkpoint: the one that is in it, or the choice that is left."""

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from fnmatch import fnmatch
from glob import escape, glob
from itertools import islice
from pathlib import Path

from dinoport.errors import CheckpointError
from dinoport.files.folders import LocalFolder, refuse_leaving
from dinoport.files.json_text import parse_object
from dinoport.formats.distributed.signs import is_distributed_folder
from dinoport.formats.shards import RANK_FILE, SHARD, module_within
from dinoport.formats.transformers_folder import is_adapter_folder, is_timm_folder, is_transformers_folder
from dinoport.shown.calls import FOLDER, OUT, runnable
from dinoport.shown.text import listed

TEACHERS = ("teacher_checkpoint.pth", "*/teacher_checkpoint.pth", "eval/*/teacher_checkpoint.pth")
"""Where `do_test` in the `train/train.py` of DINOv2 and DINOv3 saves whole teachers."""

DISTRIBUTED = ("*", "*/sharded_teacher_checkpoint", "eval/*/sharded_teacher_checkpoint", "ckpt/*")
"""Where DINOv3's training saves folders."""

STATE, MAX_STATE_BYTES = "trainer_state.json", 16 * 1024 * 1024
"""What the Trainer keeps beside each of them. It holds a line for each time that something was logged."""

TRAINER = ("checkpoint-*",)
"""Where the Trainer of Transformers saves folders, one for each time that it saves, whole or adapters alone."""

OTHERS = (
    "*.rank_0.pth", "*.pth", "*.pt", "*.ckpt", "*.pth.tar", "*.safetensors", "*pytorch_model*.bin", "*.index.json",
)  # fmt: skip
"""What else a checkpoint may be called; these count only where none of the above is there."""

BESIDE = re.compile(
    r"(optimizer|scheduler|scaler|sampler|rng_state|random_states|training_args)([._-].*)?|.*_(model|optim)_states\.pt"
)
"""What accelerate and the Trainer of Transformers keep beside a model, in files of the same kinds; and DeepSpeed's own
files, which are looked for by their names."""

BENEATH = tuple(f"*/{pattern}" for pattern in OTHERS)
"""Where files of other runs lie, if the folder is one of several runs. They are told of, and not chosen."""

LEVELS, MAX_NAMES = 4, 20_000
"""How deep runs are looked for in a folder of runs, and among how many names: a data set may lie there too."""

MAX_LISTED = 6

FEW = 3
"""How many names a remark gives."""


def checkpoint_within(folder: Path) -> tuple[Path | None, tuple[str, ...]]:
    """The only checkpoint in a folder, or None where there is none, and words on how it was chosen.

    Of several that the Trainer of Transformers saved, the one that it records as the best: it is what the Trainer loads
    at the end (`load_best_model_at_end`). Raises CheckpointError where it names no one
    of several.
    """
    found = checkpoints_within(folder)
    if len(found) < 2:
        only = next(iter(found), None)
        return only, choice_remarks(folder, only) if only else ()
    if best := best_of_trainer(found):
        chosen, metric = best
        others = ", ".join(path.name for path in found if path != chosen)
        why = f"the best by its Trainer's own record (best_model_checkpoint in {found[0].name}/{STATE}{metric})"
        return chosen, (f"{chosen.name} was chosen, {why}; also in {folder}: {others}",)
    raise SeveralError(f"{folder} holds {len(found)} checkpoints", found, folder)


def best_of_trainer(found: Sequence[Path]) -> tuple[Path, str] | None:
    """The checkpoint that the latest of several calls the best, and its figure; None where it names none of them.

    Only the name of what it names is looked at: a run may have been moved since.
    """
    try:
        text = LocalFolder(found[0]).read(STATE, MAX_STATE_BYTES)
        state = parse_object(text) if text else {}
    except (CheckpointError, ValueError):
        return None
    name, metric = state.get("best_model_checkpoint"), state.get("best_metric")
    own = re.split(r"[/\\]", name.rstrip("/\\"))[-1] if isinstance(name, str) else None
    best = next((path for path in found if path.name == own and path.parent == found[0].parent), None)
    figure = f", metric {metric:g}" if isinstance(metric, int | float) and not isinstance(metric, bool) else ""
    return (best, figure) if best else None


class SeveralError(CheckpointError):
    """One of several checkpoints is to be chosen: `paths`, which `sources` stand for."""

    def __init__(self, what: str, paths: Sequence[Path], *sources: Path) -> None:
        self.paths = paths
        everything = _asking("fleet", [*map(str, sources)], OUT, path=paths[0])
        super().__init__(
            what, expected="one, or its path", next_step=(*commands_for(paths), f"all of them: {everything}")
        )

    def set_apart(self, heads: Mapping[Path, str]) -> None:
        """Propose for each classifier without its backbone the call that takes it, and for the others as before."""
        models = [path for path in self.paths if path not in heads]
        everything = _asking("fleet", [str(path) for path in models], OUT, path=models[0]) if models[1:] else None
        self.next_step = (
            *commands_for(models),
            *([f"all models: {everything}"] if everything and len(models) <= MAX_LISTED else []),
            *heads.values(),
        )


def commands_for(found: Sequence[Path]) -> tuple[str, ...]:
    """A call for each of a few checkpoints."""
    commands = [_asking("convert", path, FOLDER, path=path) for path in found[:MAX_LISTED]]
    return (*commands, *([f"… {len(found) - MAX_LISTED} more"] if len(found) > MAX_LISTED else []))


def _asking(function: str, *places: object, path: Path) -> str:
    """A call that reads a path, with what it has to ask for where that is a folder of Transformers already."""
    return runnable(function, *places, **({"to": "original"} if _is_theirs(path) else {}))


def _is_theirs(path: Path) -> bool:
    folder = LocalFolder(path)
    return path.is_dir() and is_transformers_folder(folder) and not is_timm_folder(folder)


def commands_below(folder: Path) -> tuple[str, ...]:
    """A call for the checkpoint below a folder of runs; of several, one call with patterns for all of them."""
    found = _below(folder)
    if len(found) < 2 or len({*map(_is_theirs, found)}) > 1:  # which no one call takes
        return commands_for(found)
    names = {re.sub(r"\d+", "*", escape(path.name)) for path in found}
    names = {name for name in names if not any(fnmatch(name, other) for other in names - {name})}
    depth = min(len(path.relative_to(folder).parts) for path in found)
    patterns = sorted(str(Path(escape(str(folder)), *["*"] * (depth - 1), name)) for name in names)
    matching = {Path(each) for pattern in patterns for each in glob(pattern)}  # noqa: PTH207  # as the fleet will
    if len(names) > FEW or matching != {*found}:
        patterns = [str(Path(escape(str(folder)), *["*"] * max(depth - 1, 1)))]
    everything = _asking("fleet", patterns, OUT, path=found[0])
    return f"all of them: {everything}", f"one of them: {_asking('convert', found[0], FOLDER, path=found[0])}"


def fleet_of(folder: Path, found: Sequence[Path]) -> Sequence[Path]:
    """What a fleet is given to take these: each of a few; of many, patterns that match them and nothing else."""
    depths = ((len(path.relative_to(folder).parts), path.suffix) for path in found)
    patterns = sorted({Path(escape(str(folder)), *["*"] * (depth - 1), f"*{suffix}") for depth, suffix in depths})
    matching = {Path(each) for pattern in patterns for each in glob(str(pattern))}  # noqa: PTH207  # as the fleet will
    return patterns if len(found) > MAX_LISTED and matching == {*found} else found


def _below(folder: Path) -> list[Path]:
    """The checkpoints of the runs in a folder, on the first level that holds any; none among too many names."""
    level, names = [folder], 0
    for _ in range(LEVELS):
        level = [Path(each) for each in _entries(level) if not each.is_file(follow_symlinks=False)]
        level = [path for path in level if path.is_dir()]
        names += sum(1 for _ in islice(_entries(level), MAX_NAMES + 1 - names))
        if names > MAX_NAMES:
            break
        found: list[Path] = []
        for path in level:
            with suppress(CheckpointError):  # of a link that leaves it
                found += [path] if is_distributed_folder(path) or _is_saved(path) else checkpoints_within(path)
        if found:
            return sorted(found)
    return []


def _entries(folders: Sequence[Path]) -> Iterator[os.DirEntry[str]]:
    """What lies in folders, one after the other; nothing of one that cannot be listed."""
    for folder in folders:
        with suppress(OSError), os.scandir(folder) as entries:
            yield from entries


def checkpoints_within(folder: Path) -> list[Path]:
    """All checkpoints of a run, the latest first: whole teachers and distributed ones, else whatever may be one."""
    found = [path for path in _matches(folder, TEACHERS) if path.is_file()]
    found += [path for path in _matches(folder, DISTRIBUTED) if is_distributed_folder(path)]
    found = found or [path for path in _matches(folder, TRAINER) if _is_saved(path)]
    found = found or [path for path in _matches(folder, OTHERS) if path.is_file() and not _is_part(path)]
    found = found or [path for path in (module_within(folder),) if path]
    for path in found:
        refuse_leaving(path, folder)
    return sorted(found, key=lambda path: iterations(path.relative_to(folder)), reverse=True)


def choice_remarks(folder: Path, chosen: Path) -> tuple[str, ...]:
    """A word on what was chosen, where more in the folder looks like a checkpoint."""
    others = [str(path.relative_to(folder)) for path in also_within(folder, [chosen])]
    if not others:
        return ()
    return (f"{chosen.relative_to(folder)} was chosen; also in {folder}: {listed(others, FEW)}",)


def also_within(folder: Path, taken: Collection[Path]) -> list[Path]:
    """What else in a run's folder, or one folder below, looks like a checkpoint."""
    found = [path for path in _matches(folder, (*OTHERS, *BENEATH)) if path.is_file() and not _is_part(path)]
    found += [path for path in _matches(folder, ("*/*",)) if is_distributed_folder(path)]
    return [path for path in sorted(found) if not {path, path.parent} & {*taken}]


def _is_saved(path: Path) -> bool:
    return path.is_dir() and (is_adapter_folder(path) or is_transformers_folder(LocalFolder(path)))


def _is_part(path: Path) -> bool:
    """Whether a file is what lies beside a model, or one of several that another file stands for."""
    shard, rank = SHARD.fullmatch(path.name), RANK_FILE.fullmatch(path.name)
    if rank:
        return any(path.with_name(f"{rank['start']}.rank_{lower}.pth").is_file() for lower in range(int(rank["rank"])))
    if (
        shard
        and int(shard["count"]) > 1
        and path.with_name(f"{shard['start']}{shard['end'] or ''}.index.json").is_file()
    ):
        return True
    return BESIDE.fullmatch(path.name) is not None


def _matches(folder: Path, patterns: tuple[str, ...]) -> list[Path]:
    return list(dict.fromkeys(path for pattern in patterns for path in folder.glob(pattern)))


def iterations(path: Path) -> tuple[tuple[int, ...], str]:
    """A key to sort paths by the iterations in them: 9 before 14, then by name."""
    return tuple(int(digits) for digits in re.findall(r"\d{1,18}", str(path))), str(path)

"""Open whatever is at a path: a file, or a folder that holds a checkpoint."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from dinoport.errors import CheckpointError
from dinoport.files.byte_sources import ByteSource, LocalFile, closed_on_error, leads_nowhere, unreadable
from dinoport.files.folders import FilePool, LocalFolder
from dinoport.formats.checkpoint import Checkpoint
from dinoport.formats.distributed.signs import SUFFIX, is_distributed_folder, refuse_lone_file, refuse_other_layouts
from dinoport.formats.run_config import find_run_config
from dinoport.formats.run_folder import checkpoint_within, commands_below, commands_for
from dinoport.formats.shards import RANK_FILE, gaps_of, refuse_lone_part, refuse_lone_shard
from dinoport.formats.single_file import FOLDERS, read_file
from dinoport.formats.transformers_folder import (
    INDEX,
    adapters_below,
    is_adapter_folder,
    is_transformers_folder,
    read_adapter_folder,
    read_indexed,
    read_transformers_folder,
    refuse_listed,
    written_with,
)
from dinoport.shown.packages import saved_again
from dinoport.shown.text import as_word, listed


def open_checkpoint(path: Path) -> Checkpoint:
    """Open a file, a folder, or the only checkpoint in a run's folder, and index its tensors. The caller closes it.

    Raises CheckpointError, or UnsafeCheckpointError for a file that names code which no checkpoint needs.
    """
    try:
        if path.is_dir():
            return _open_folder(path)
        refuse_lone_file(path)
        refuse_listed(path)
        refuse_lone_part(path)
        if path.name.endswith(INDEX):
            return read_indexed(LocalFolder(path.parent), path.name)
        checkpoint = replace(open_file(LocalFile(path)), run=find_run_config(path), written=written_with(path))
        if RANK_FILE.fullmatch(path.name):
            from dinoport.formats.distributed.rank_files import put_together

            return put_together(checkpoint, path)
        return checkpoint
    except OSError as error:  # of looking, where one may not look: reading has messages of its own
        raise unreadable(Path(error.filename or path), error) from error


def open_file(source: ByteSource) -> Checkpoint:
    """Open a file that was given alone, which one shard of several cannot be. Otherwise as `open_bytes`."""
    with closed_on_error(source.close):
        refuse_lone_shard(source.where)
    return open_bytes(source)


def open_bytes(source: ByteSource) -> Checkpoint:
    """Open the one file behind `source`, which is closed with the checkpoint. Raises as `open_checkpoint` does."""
    with closed_on_error(source.close):
        format_name, tree = read_file(source)
    return Checkpoint(source.where, format_name, tree, (source,), gaps=gaps_of(source.where))


def holds_one_checkpoint(path: Path) -> bool:
    """Whether a folder is itself a checkpoint: one of Transformers, an adapter, or a distributed one."""
    is_model = path.is_dir() and is_transformers_folder(LocalFolder(path))
    return is_model or is_adapter_folder(path) or is_distributed_folder(path)


def _strays(path: Path, checkpoint: Checkpoint) -> tuple[str, ...]:
    """A word on files of ranks that hold nothing of this checkpoint, such as those of an older one."""
    read = {Path(source.where).name for source in checkpoint.sources}
    others = sorted(entry.name for entry in path.iterdir() if entry.name.endswith(SUFFIX) and entry.name not in read)
    if not others:
        return ()
    return (f"not read, as .metadata has no tensor in them: {listed(others)}",)


OTHER_WEIGHTS: Mapping[str, tuple[str, str]] = {
    "flax_model.msgpack": ("Flax's weights", "from_flax"),
    "tf_model.h5": ("TensorFlow's weights", "from_tf"),
}
"""Files of a folder of Transformers that hold no weights of PyTorch: whose they are, and what loads them."""


def _open_folder(path: Path) -> Checkpoint:
    if is_transformers_folder(folder := LocalFolder(path)):
        return read_transformers_folder(folder)
    if is_adapter_folder(path):
        return read_adapter_folder(path)
    if is_distributed_folder(path):
        from dinoport.formats.distributed.reader import read_distributed

        checkpoint = read_distributed(LocalFolder(path, FilePool()))
        remarks = _strays(path, checkpoint)
        return replace(checkpoint, run=find_run_config(path), written=written_with(path), remarks=remarks)
    try:
        names = sorted(entry.name for entry in path.iterdir())
    except OSError as error:
        next_step = f"ls -ld {as_word(path)}"
        raise CheckpointError(f"{path} cannot be read: {error.strerror}", next_step=next_step) from error
    refuse_other_layouts(path, names)
    within, remarks = checkpoint_within(path)
    if within:
        checkpoint = open_checkpoint(within)
        return replace(checkpoint, remarks=(*remarks, *checkpoint.remarks))
    others = [other for name, other in OTHER_WEIGHTS.items() if name in names]
    broken = [name for name in names if leads_nowhere(path / name)]
    if broken:
        raise CheckpointError(
            f"{path} holds no checkpoint, and links in it lead nowhere",
            found=listed([f"{name}, a link to {(path / name).readlink()}" for name in broken]),
            cause="the files were moved or deleted, or were never fetched, as by git-annex",
            next_step="fetch the files that the links lead to, or give the folder that they are in",
        )
    raise CheckpointError(
        f"{path} is a folder, but not one that holds a checkpoint",
        expected=FOLDERS,
        cause=f"{' and '.join(whose for whose, _ in others)} alone, whose layers lie transposed" if others else None,
        found=listed(names, 6) or "nothing",
        next_step=commands_for(adapters_below(path))
        or commands_below(path)
        or (saved_again(*(option for _, option in others)) if others else None)
        or "give the file or the folder that the weights are in",
    )

"""Writing into a folder that exists: file by file, each whole or not at all, and all files of other names stay."""

from __future__ import annotations

from pathlib import Path

from dinoport.errors import FolderError

CONFIG = "config.json"
"""Without it Transformers loads nothing. It goes first and comes last: a merge cut short is no mixture that loads."""

WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"


def merge(made: Path, folder: Path) -> None:
    """Move every file of `made` into `folder`, over its namesakes.

    Raises FolderError, before anything is moved, where a folder has the name of a file, and OSError where the disk
    refuses.
    """
    names = sorted(path.name for path in made.iterdir())
    for name in names:
        if (folder / name).is_dir() and not (folder / name).is_symlink():
            raise FolderError(
                f"{name} is to be written into {folder}, where a folder has that name",
                where=str(folder / name),
                next_step="remove it, or choose another folder",
            )
    (folder / CONFIG).unlink(missing_ok=True)
    if INDEX in names and WHOLE not in names:
        (folder / WHOLE).unlink(missing_ok=True)  # Transformers would take it instead of the new shards
    for name in sorted(names, key=lambda name: name == CONFIG):
        (made / name).replace(folder / name)
    made.rmdir()

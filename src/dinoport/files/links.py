"""Where the links in a folder may lead: the folder may be a stranger's, and its links would read what is ours.

A link out of it could have a conversion copy a private model, or a message quote a private file. Caches that keep the
files of a folder elsewhere, and link to them, are known by their layout, and allowed.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from dinoport.errors import UnsafeCheckpointError
from dinoport.shown.text import as_word

SNAPSHOTS, BLOBS = "snapshots", "blobs"
"""Hugging Face's cache: `snapshots/<revision>/model.safetensors` leads to `blobs/<hash>` beside."""

ANNEX = Path(".git", "annex", "objects")
"""git-annex and DataLad: every large file is a link to this folder of the repository that it is in."""


def refuse_leaving(path: Path, folder: Path) -> None:
    """Raise UnsafeCheckpointError for a file of `folder` that is a link out of it, to no cache of the folder's own."""
    real, home = Path(os.path.realpath(path)), Path(os.path.realpath(folder))
    if home in real.parents or any(store in real.parents for store in _stores(home)):
        return
    raise UnsafeCheckpointError(
        f"{path} is a link that leaves its folder",
        expected="a file in the folder itself, or in the cache that the folder belongs to",
        found=f"a link to {real}",
        cause="a link to save space, or a folder that was made to mislead",
        next_step=f"cp -rL {as_word(folder)} COPY, if you know where it comes from, and give COPY",
    )


def link_or_copy(path: Path, place: Path) -> None:
    """Let a place lead to a file. On Windows, where links are a privilege, it is a copy."""
    import shutil

    try:
        place.symlink_to(path.resolve())
    except OSError:
        shutil.copyfile(path, place)


def _stores(home: Path) -> Iterator[Path]:
    for above in (home, *home.parents):
        if above.name == SNAPSHOTS:
            yield above.parent / BLOBS
        yield above / ANNEX

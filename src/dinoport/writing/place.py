"""Where a result is published: its real path, the hidden names beside it, and what must not be replaced there."""

from __future__ import annotations

import errno
import os
import re
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dinoport.errors import FolderError
from dinoport.files.disk_errors import disk_errors
from dinoport.shown.text import listed
from dinoport.writing.ownership import foreign

OTHER_NAME = "choose another name"
REPLACE = "choose another name, or replace it with `force`"

OF_A_MODEL = re.compile(
    r"(config|preprocessor_config|dinoport)\.json"
    r"|(model|pytorch_model)(-\d+-of-\d+)?\.(safetensors|bin)(\.index\.json)?"
)
"""Files that make a folder one of a model: what a conversion writes, and weights as Transformers does."""

FEW = 8
"""How many names a message gives."""


@dataclass(frozen=True)
class Place:
    """A target. `shown` is the path as the user wrote it, `path` the real one, with symbolic links followed."""

    shown: Path
    path: Path

    @classmethod
    def of(cls, target: Path) -> Place:
        """Raises FolderError for a symbolic link that leads nowhere, and for the root."""
        if target.is_symlink() and not target.exists():
            raise FolderError(
                f"{target} is a symbolic link that leads nowhere",
                where=str(target),
                found=f"a link to {target.readlink()}",
                next_step="remove the link, or choose another name",
            )
        place = cls(target, Path(os.path.realpath(target)))
        if not place.path.name:
            raise place._precious("the root of a disk")
        return place

    @property
    def unproven(self) -> Place:
        """Where a result goes that could not be proven: `NAME.unproven`, beside the target."""
        return Place(*(path.with_name(f"{self.path.name}.unproven") for path in (self.shown, self.path)))

    @property
    def lock(self) -> Path:
        """Held by the run that works for this target; the system frees it when that run dies."""
        return self._beside("lock")

    @property
    def new(self) -> Path:
        """What a run is making."""
        return self._beside("new")

    @property
    def old(self) -> Path:
        """What stood under the target's name, whole, between the two renames of a replacement."""
        return self._beside("old")

    @property
    def discarded(self) -> Path:
        """What was replaced, while it is being deleted."""
        return self._beside("discarded")

    def _beside(self, role: str) -> Path:
        return self.path.with_name(f".{self.path.name}.dinoport-{role}")

    def check(self, *, force: bool, single_file: bool = False) -> None:
        """Raise FolderError where something stands under the name that must not, or without `force`, be replaced."""
        with disk_errors(self.path):
            found = self.path.lstat().st_mode if os.path.lexists(self.path) else None
        if found is None:
            return
        what = "a folder" if stat.S_ISDIR(found) else "a file" if stat.S_ISREG(found) else "neither file nor folder"
        wanted = "a file" if single_file else "a folder"
        if what != wanted:
            raise FolderError(
                f"{self.shown} is {what}; {wanted} is to be written there",
                where=str(self.path),
                next_step=OTHER_NAME,
            )
        if not force:
            next_step = REPLACE if single_file or self._is_replaceable() else OTHER_NAME
            raise FolderError(f"{self.shown} exists", where=str(self.path), found=what, next_step=next_step)
        if (self.path / ".git").exists():
            raise FolderError(
                f"{self.shown} is a git repository; `force` would delete its history",
                where=str(self.path),
                next_step="convert into another folder, then copy the files",
            )
        if not single_file:
            self.check_replaceable()

    def _is_replaceable(self) -> bool:
        """Whether --force would be of use."""
        try:
            self.check_replaceable()
        except (FolderError, OSError):
            return False
        return not (self.path / ".git").exists()

    def check_replaceable(self) -> None:
        """Raise FolderError for a folder that holds what neither dinoport nor Transformers wrote: it is not `rm -r`."""
        with disk_errors(self.path):
            names = [*foreign(self.path).values()]
        if names:
            raise FolderError(
                f"{self.shown} holds what neither dinoport nor Transformers wrote, and `force` would delete it",
                where=str(self.path),
                expected="an empty folder, or the files of a model as they were written and nothing else",
                found=listed(names, FEW),
                next_step="choose another name, or move or delete what is in there yourself",
            )

    def check_precious(self) -> None:
        """Raise FolderError for what no option replaces: where the user is, at home, or a disk as a whole."""
        with suppress(FileNotFoundError):
            current = Path.cwd().resolve()
            if self.path in (current, *current.parents):
                what = "the current folder" if self.path == current else "a folder above the current one"
                raise self._precious(what)
        with suppress(RuntimeError):
            home = Path.home().resolve()
            if self.path in (home, *home.parents):
                raise self._precious("your home folder, or above it")
        if os.path.ismount(self.path):  # Path.is_mount raises where a path goes away meanwhile
            raise self._precious("a mounted disk, which cannot be replaced as a whole")

    def _precious(self, what: str) -> FolderError:
        return FolderError(f"{self.shown} is {what}", where=str(self.path), next_step="name a new folder inside it")


def is_of_a_model(folder: Path) -> bool:
    """Whether a folder holds a file that makes it one of a model, whatever else is in there or is missing."""
    return folder.is_dir() and any(OF_A_MODEL.fullmatch(path.name) for path in folder.iterdir())


def refuse_taken(target: Path, *, force: bool, keep_unproven: bool) -> None:
    """Raise FolderError as a conversion does that would be published as `target`; nothing is written."""
    place = Place.of(target)
    place.check_precious()
    above = next(folder for folder in place.path.parents if os.path.lexists(folder))
    with disk_errors(place.path.parent):
        if not above.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    with disk_errors(place.path):
        if not os.access(above, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    for name in (place, place.unproven) if keep_unproven else (place,):
        name.check(force=force)


def refuse_overlap(source: Path, target: Path) -> None:
    """Raise FolderError where writing `target` would replace or change `source`, by whatever path they are named.

    A source that is not a path (a published name, a URL) overlaps with nothing.
    """
    source, target = Path(os.path.realpath(source)), Path(os.path.realpath(target))
    if not source.exists():
        return
    if _is_within(source, target):
        what = "is the source itself" if _same(source, target) else "holds the source"
        raise FolderError(f"{target} {what}", where=str(source), next_step="choose a target elsewhere")
    if source.is_dir() and _is_within(target, source):
        raise FolderError(
            f"{target} lies inside the source, which is only read",
            where=str(source),
            next_step="choose a target elsewhere",
        )


def refuse_inside(path: Path, folder: Path) -> None:
    """Raise FolderError where a file would be written as, or into, a folder that holds what was proven."""
    path, folder = Path(os.path.realpath(path)), Path(os.path.realpath(folder))
    if _is_within(path, folder):
        raise FolderError(
            f"{path} lies inside {folder}, and would change what was proven",
            where=str(folder),
            next_step="choose a file elsewhere",
        )


def _is_within(inner: Path, outer: Path) -> bool:
    return any(_same(path, outer) for path in (inner, *inner.parents))


def _same(one: Path, other: Path) -> bool:
    """Equal, or one place under two names, as on a disk that ignores case, or through a bind mount."""
    try:
        return one == other or one.samefile(other)
    except OSError:
        return False

"""Publishing a folder, or one file, whole or not at all.

A run holds a lock beside the target, works in a hidden sibling, and renames that onto the target at the end. With
`--force` the old folder is moved aside first. A merge moves the files of the sibling into the old folder one by one
instead, and a run that dies meanwhile is simply done again. Whatever the moment a run dies at, the next one finds by
the names which renames had happened, and puts the old folder back or deletes what is left.
"""

import errno
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from dinoport.errors import FolderError, InUseError
from dinoport.files.disk_errors import disk_errors
from dinoport.formats.transformers_folder import CONFIG, INDEXES, PROCESSOR, REPORT, WEIGHTS
from dinoport.writing.ownership import CARD, refuse_what_hides, replaced
from dinoport.writing.place import REPLACE, Place

_NO_FOLDER_FLUSH = {errno.EINVAL, errno.EOPNOTSUPP, errno.EBADF}
"""What network file systems answer where a folder cannot be flushed."""


class Workspace:
    """What one run is making. `path` is the folder to write in, or with `single_file` the file to create."""

    def __init__(self, place: Place, *, force: bool, single_file: bool, merge: bool) -> None:
        self._place, self._force, self._single_file, self._merge = place, force, single_file, merge
        self._published = False
        self.path = place.new / place.path.name if single_file else place.new

    def publish_unproven(self) -> Path:
        """Publish what was made under `NAME.unproven` instead, and return that path as the user would write it.

        Raises FolderError where that name is taken; with force it is replaced.
        """
        self._publish_as(self._place.unproven, aside=self._place.discarded)
        return self._place.unproven.shown

    def publish(self) -> None:
        """Publish what was made under the target's name, unless it was published already."""
        if self._published:
            return
        if self._merge and self._place.path.is_dir():
            self._merge_into(self._place.path)
        else:
            self._publish_as(self._place, aside=self._place.old)

    def _merge_into(self, folder: Path) -> None:
        with disk_errors(folder):
            self._flush()
            _merge(self.path, folder)
            _flush_entry(folder)
        self._published = True

    def _publish_as(self, place: Place, aside: Path) -> None:
        with disk_errors(place.path):
            self._flush()
            place.check(force=self._force, single_file=self._single_file)
            if self._force and place.path.is_dir():
                self._move_aside(place, aside)
            self._rename_onto(place)
            try:
                _flush_entry(place.path.parent)
            except OSError:
                with suppress(OSError):  # a name that a power cut may take back was not given
                    place.path.rename(self.path)
                raise
        self._published = True

    def _move_aside(self, place: Place, aside: Path) -> None:
        """Move what is replaced out of the way, and look at it once more, where nobody finds it to write into it."""
        place.path.rename(aside)
        try:
            Place(place.shown, aside).check_replaceable()
        except FolderError:
            aside.rename(place.path)
            raise

    def _rename_onto(self, place: Place) -> None:
        try:
            self.path.replace(place.path)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR, errno.EISDIR):
                raise FolderError(
                    f"{place.shown} was made by something else during the conversion",
                    where=str(place.path),
                    next_step=REPLACE,
                ) from error
            raise

    def _flush(self) -> None:
        for folder, _, names in os.walk(self.path.parent if self._single_file else self.path):
            for name in names:
                _flush_entry(Path(folder, name))
            _flush_entry(Path(folder))


def _merge(made: Path, folder: Path) -> None:
    """Move every file of `made` into `folder`, over its namesakes.

    Without its config Transformers loads nothing: it goes first and comes last, so that a merge
    cut short leaves no mixture that loads. Raises FolderError, before anything is moved, for what must not be replaced.
    """
    names = sorted(path.name for path in made.iterdir())
    hiding = [WEIGHTS[0]] if INDEXES[0] in names and WEIGHTS[0] not in names else []
    hiding += [PROCESSOR] if CONFIG in names and PROCESSOR not in names else []
    _check_mergeable([*names, *hiding], folder)
    refuse_what_hides(names, folder)
    for name in (CONFIG, *hiding):  # Transformers would take whole weights, and pixels of another model
        (folder / name).unlink(missing_ok=True)
    for name in sorted(names, key=lambda name: name == CONFIG):
        (made / name).replace(folder / name)
    made.rmdir()


def _check_mergeable(names: Iterable[str], folder: Path) -> None:
    """Raise FolderError where a file would be replaced that neither dinoport nor Transformers wrote."""
    with disk_errors(folder):
        kept = replaced(folder, names)
    if kept:
        raise FolderError(
            f"{kept[0]} in {folder} would be replaced, and neither dinoport nor Transformers wrote it",
            where=str(folder / kept[0]),
            found=", ".join(kept),
            next_step="remove it, or choose another folder",
        )


def write_whole(contents: Mapping[Path, bytes]) -> None:
    """Write files of their own, such as reports and pictures, over what is there: each whole or not at all.

    Every file is written beside its place first, and all are renamed once all are written. Whatever goes wrong before
    leaves what was there. Raises FolderError where the disk refuses, where a folder has the name of a file, or where
    another run is writing the same file.
    """
    with ExitStack() as stack:
        for path, content in contents.items():
            if path.exists() and not path.is_file() and not path.is_dir():  # a pipe, or /dev/stdout: no name to replace
                made = path
            else:
                made = stack.enter_context(publishing(path, force=True, single_file=True)).path
            with disk_errors(path, len(content)):
                made.write_bytes(content)


@contextmanager
def publishing(
    target: Path,
    *,
    force: bool = False,
    single_file: bool = False,
    keep_unproven: bool = False,
    merge: bool = False,
) -> Iterator[Workspace]:
    """Give a workspace, and publish it as `target` when the block ends; after any exception nothing is left of it.

    Missing parents are made, and removed again where the block fails. With `merge` a target that is a folder is not
    replaced: at the end each file is renamed into it, and the files of other names stay. With `keep_unproven` the name
    that `publish_unproven` needs is checked now too, rather than after the work is done. Raises FolderError where the
    target exists (and neither `force` nor `merge` is given), is in use by another run, must not be replaced, or where
    the disk refuses.
    """
    place = Place.of(target)
    place.check_precious()
    with _parents(place.path.parent), _locked(place):
        recover(place)
        try:
            free = () if merge and place.path.is_dir() else (place,)
            for name in (*free, place.unproven) if keep_unproven else free:
                name.check(force=force, single_file=single_file)
            if not free:
                _check_mergeable(
                    (CONFIG, PROCESSOR, REPORT, CARD), place.path
                )  # before the work; the rest is known after it
            with disk_errors(place.path):
                place.new.mkdir()
            workspace = Workspace(place, force=force, single_file=single_file, merge=merge)
            yield workspace
            workspace.publish()
        except BaseException:
            with suppress(OSError, FolderError):
                recover(place)
            raise
        with suppress(OSError, FolderError):  # published: what was replaced is deleted now, or by the next run
            recover(place)


def take_back(target: Path) -> None:
    """Delete what a run that was killed left beside its target. Nothing is done where another run is at work there."""
    place = Place.of(target)
    with suppress(OSError, FolderError), _locked(place):
        recover(place)


def recover(place: Place) -> None:
    """Bring a target into order, from whatever moment of a replacement; to be called under the lock.

    Raises FolderError where two folders claim the name: the one moved aside, and one that someone made since.
    """
    _remove(place.discarded)
    with disk_errors(place.path):
        if place.old.exists():
            if not os.path.lexists(place.path):
                place.old.rename(place.path)
            elif place.new.exists():
                raise FolderError(
                    f"{place.shown} was made while the folder of that name was moved aside to be replaced",
                    where=str(place.old),
                    cause="a conversion with `force` was killed, and something else then made the folder",
                    next_step="keep one of the two: delete the one moved aside, or put it back under its name",
                )
            else:
                place.old.rename(place.discarded)
    _remove(place.new)
    _remove(place.discarded)


def refuse_in_use(target: Path) -> None:
    """Raise InUseError where another run is writing a target at this moment. A lock that nobody holds is removed."""
    place = Place.of(target)
    if place.lock.exists():
        with _locked(place):
            pass


@contextmanager
def _locked(place: Place) -> Iterator[None]:
    from filelock import FileLock, Timeout  # 50 ms of imports, not for --help

    lock = FileLock(place.lock)
    try:
        with disk_errors(place.path), suppress(Timeout):
            lock.acquire(timeout=0)
        if not lock.is_locked and not place.lock.exists():  # another run has just ended, or no file can be made
            with disk_errors(place.path), suppress(Timeout):
                place.lock.touch()
                lock.acquire(timeout=0)
        if not lock.is_locked:
            raise InUseError(
                f"another run is writing {place.shown}",
                where=str(place.path),
                next_step="wait until it is done, or choose another name",
            )
        yield
    finally:
        # Removed while held: filelock does not take a lock on a file that has lost its name. On Windows the system
        # refuses, and filelock removes the file itself.
        if lock.is_locked:
            with suppress(OSError):
                place.lock.unlink()
        lock.release()


@contextmanager
def _parents(parent: Path) -> Iterator[None]:
    missing = [folder for folder in (parent, *parent.parents) if not os.path.lexists(folder)]
    made: list[Path] = []
    try:
        with disk_errors(parent):
            for folder in reversed(missing):
                folder.mkdir(exist_ok=True)
                made.append(folder)
            if not parent.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        yield
    except BaseException:
        for folder in reversed(made):
            with suppress(OSError):
                folder.rmdir()
        raise
    for folder in made:
        _flush_entry(folder.parent)


def _remove(path: Path) -> None:
    """Delete a folder of ours as far as possible; what is left is the next run's to delete."""
    shutil.rmtree(path, ignore_errors=True)


def _flush_entry(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk."""
    is_folder = path.is_dir()
    if os.name == "nt" and is_folder:
        return  # Windows has no such handle
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not is_folder or error.errno not in _NO_FOLDER_FLUSH:
            raise
    finally:
        os.close(descriptor)

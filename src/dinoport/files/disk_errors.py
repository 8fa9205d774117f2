"""What a disk refuses, as an error that says what to do about it."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dinoport.errors import FolderError
from dinoport.tensor import size_text

_CAUSES: dict[str, tuple[str, str]] = {
    "ENOSPC": ("the disk is full", "free some space, or choose a folder on another disk"),
    "EDQUOT": ("your quota on this disk is used up", "free some space, or choose a folder on another disk"),
    "EFBIG": (
        "this file system, or a limit of this session (ulimit -f), takes no file as large as this",
        "convert with `max_shard_bytes=1GB`, or choose a folder on another disk",
    ),
    "EROFS": ("the file system is mounted read-only", "choose a folder on another disk"),
    "EACCES": ("you may not write in this folder", "choose another folder, or ask its owner for the right to write"),
    "EPERM": ("you may not write in this folder", "choose another folder, or ask its owner for the right to write"),
    "EIO": (
        "the disk, or the connection to it, reports a failure",
        "look at the system's log, and convert into a folder on another disk",
    ),
    "ESTALE": ("the connection to the network disk was lost", "connect the disk again, then convert again"),
    "ENOENT": ("a folder of this path is missing, or was removed meanwhile", "check the path, then convert again"),
    "ENOTDIR": ("a part of this path is a file, not a folder", "choose another folder"),
    "EEXIST": ("something with this name is there already", "remove it, or choose another folder"),
    "ENAMETOOLONG": ("the name is longer than the file system allows", "choose a shorter name"),
    "EBUSY": ("another program, or a mount, holds this path", "close that program, or choose another folder"),
}


@contextmanager
def disk_errors(path: Path, needed_bytes: int = 0) -> Iterator[None]:
    """Turn an OSError that writing `path` meets into a FolderError. `needed_bytes` is what the file will hold."""
    try:
        yield
    except OSError as error:
        raise disk_error(error, path, needed_bytes) from error


def disk_error(error: OSError, path: Path, needed_bytes: int = 0) -> FolderError:
    code = errno.errorcode.get(error.errno or 0, "")
    cause, next_step = _CAUSES.get(code, (None, "choose a folder on another disk"))
    if code == "ENOENT" and path.parent.is_dir():
        cause, next_step = "this is not a file system that keeps files", "choose another folder"
    reason = error.strerror or str(error)
    sizes: dict[str, str | None] = {}
    if code in ("ENOSPC", "EDQUOT") and needed_bytes:
        sizes = {"expected": f"room for {size_text(needed_bytes)}", "found": _free_text(path)}
    return FolderError(
        f"{path.name or path} cannot be written: {reason[:1].lower()}{reason[1:]}",
        where=str(path),
        cause=cause,
        next_step=next_step,
        **sizes,
    )


def _free_text(path: Path) -> str | None:
    try:
        return f"{size_text(shutil.disk_usage(path.parent).free)} free"
    except OSError:
        return None

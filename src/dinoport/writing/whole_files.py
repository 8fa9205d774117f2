"""Files of their own, outside of a converted folder: reports and pictures, over what is there, whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from dinoport.files.disk_errors import disk_errors
from dinoport.writing.commit import publishing


def write_whole(contents: Mapping[Path, bytes]) -> None:
    """Write every file beside its place first, and rename them all once all are written.

    Whatever goes wrong before leaves what was there. Raises FolderError where the disk refuses, where a folder has the
    name of a file, or where another run is writing the same file.
    """
    with ExitStack() as stack:
        for path, content in contents.items():
            if path.exists() and not path.is_file() and not path.is_dir():  # a pipe, or /dev/stdout: no name to replace
                made = path
            else:
                made = stack.enter_context(publishing(path, force=True, single_file=True)).path
            with disk_errors(path, len(content)):
                made.write_bytes(content)

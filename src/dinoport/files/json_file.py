"""JSON that is the same bytes for the same data, on every machine."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from dinoport.files.disk_errors import disk_errors
from dinoport.files.output_file import WrittenFile


def json_bytes(data: object) -> bytes:
    """UTF-8, two spaces of indent, the order of `data`, a newline at the end; a float keeps its point: 100.0.

    Raises ValueError for NaN and infinities, which JSON does not have, and TypeError for what is not plain data.
    """
    # A file name that is no UTF-8 holds surrogates; as escapes they are JSON, and read back the same.
    return (json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode(errors="backslashreplace")


def write_json(path: Path, data: object) -> WrittenFile:
    """Write `data` to `path`, over what is there. Raises FolderError where the disk refuses."""
    return _write(path, json_bytes(data))


def write_text(path: Path, text: str) -> WrittenFile:
    """Write `text` to `path` as UTF-8, over what is there. Raises FolderError where the disk refuses."""
    return _write(path, text.encode(errors="replace"))


def _write(path: Path, content: bytes) -> WrittenFile:
    with disk_errors(path, len(content)):
        path.write_bytes(content)
    return WrittenFile(path.name, len(content), hashlib.sha256(content).hexdigest())

"""JSON that is the same bytes for the same data, on every machine."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from dinoport.writing.disk_errors import disk_errors
from dinoport.writing.output_file import WrittenFile


def json_bytes(data: object) -> bytes:
    """UTF-8, two spaces of indent, the order of `data`, a newline at the end; a float keeps its point: 100.0.

    Raises ValueError for NaN and infinities, which JSON does not have, and TypeError for what is not plain data.
    """
    return (json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def write_json(path: Path, data: object) -> WrittenFile:
    """Write `data` to `path`, over what is there. Raises FolderError where the disk refuses."""
    text = json_bytes(data)
    with disk_errors(path, len(text)):
        path.write_bytes(text)
    return WrittenFile(path.name, len(text), hashlib.sha256(text).hexdigest())

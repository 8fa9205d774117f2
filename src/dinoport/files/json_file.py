"""JSON that is the same bytes for the same data, on every machine."""

import hashlib
import json
from pathlib import Path

from dinoport.files.disk_errors import disk_errors
from dinoport.files.output_file import WrittenFile
from dinoport.shown.text import shown_json


def json_text(data: object) -> str:
    """Two spaces of indent, the order of `data`; a float keeps its point: 100.0. What should not be printed is escaped.

    Raises ValueError for NaN and infinities, which JSON does not have, and TypeError for what is not plain data.
    """
    return shown_json(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False))


def json_bytes(data: object) -> bytes:
    """The text as UTF-8 with a newline at the end. Raises as `json_text` does."""
    return f"{json_text(data)}\n".encode()


def write_json(path: Path, data: object) -> WrittenFile:
    """Write `data` to `path`, over what is there. Raises FolderError where the disk refuses."""
    return write_bytes(path, json_bytes(data))


def write_text(path: Path, text: str) -> WrittenFile:
    """Write `text` to `path` as UTF-8, over what is there. Raises FolderError where the disk refuses."""
    return write_bytes(path, text.encode(errors="replace"))


def write_bytes(path: Path, content: bytes) -> WrittenFile:
    """Write `content` to `path`, over what is there. Raises FolderError where the disk refuses."""
    with disk_errors(path, len(content)):
        path.write_bytes(content)
    return WrittenFile(path.name, len(content), hashlib.sha256(content).hexdigest())

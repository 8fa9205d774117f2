"""The SHA-256 of a whole file, as it is published and as `sha256sum` prints it."""

from __future__ import annotations

import hashlib
from contextlib import closing
from pathlib import Path

from dinoport.files.byte_sources import LocalFile
from dinoport.tensor import BLOCK_BYTES


def hash_file(path: Path) -> tuple[int, str]:
    """Size in bytes and hash. Raises CheckpointError for what cannot be read, or is cut meanwhile."""
    digest, done = hashlib.sha256(), 0
    buffer = memoryview(bytearray(BLOCK_BYTES))
    with closing(LocalFile(path)) as source:
        while done < source.size_bytes:
            part = buffer[: min(BLOCK_BYTES, source.size_bytes - done)]
            source.readinto(done, part)
            digest.update(part)
            done += len(part)
    return source.size_bytes, digest.hexdigest()

"""Checksums: CRC-32, as zip files hold it, and the SHA-256 of a whole file, as `sha256sum` prints it.

CRC-32 is taken by zlib-ng where that is installed: a seventh of zlib's time or less.
"""

from contextlib import closing
from pathlib import Path

from dinoport.files.byte_sources import LocalFile
from dinoport.progress import HASHING, Bar, Progress, silent, stage_of

try:
    from zlib_ng.zlib_ng import crc32
except ImportError:  # it has wheels for fewer systems than we run on
    from zlib import crc32

__all__ = ["crc32", "hash_file"]


def hash_file(path: Path, on_progress: Progress = silent) -> tuple[int, str]:
    """Size in bytes and hash. Raises CheckpointError for what cannot be read, or is cut meanwhile."""
    from hashlib import sha256  # and OpenSSL, which takes a while to load

    digest = sha256()
    with closing(LocalFile(path)) as source:
        bar = Bar(stage_of(HASHING, path.name), source.size_bytes, on_progress)
        for block in source.blocks(0, source.size_bytes):
            digest.update(block)
            bar.add(len(block))
    return source.size_bytes, digest.hexdigest()

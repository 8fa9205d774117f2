"""Checksums: CRC-32, as zip files hold it, and the SHA-256 of a whole file, as `sha256sum` prints it.

CRC-32 is taken by zlib-ng where that is installed: a seventh of zlib's time or less.
"""

from contextlib import closing
from pathlib import Path

from dinoport.files.byte_sources import LocalFile
from dinoport.tensor import BLOCK_BYTES

try:
    from zlib_ng.zlib_ng import crc32
except ImportError:  # it has wheels for fewer systems than we run on
    from zlib import crc32

__all__ = ["crc32", "hash_file"]


def hash_file(path: Path) -> tuple[int, str]:
    """Size in bytes and hash. Raises CheckpointError for what cannot be read, or is cut meanwhile."""
    from hashlib import sha256  # and OpenSSL, which takes a while to load

    digest, done = sha256(), 0
    buffer = memoryview(bytearray(BLOCK_BYTES))
    with closing(LocalFile(path)) as source:
        while done < source.size_bytes:
            part = buffer[: min(BLOCK_BYTES, source.size_bytes - done)]
            source.readinto(done, part)
            digest.update(part)
            done += len(part)
    return source.size_bytes, digest.hexdigest()

"""CRC-32, as zip files hold it: by zlib-ng where that is installed, which takes a seventh of zlib's time or less."""

from __future__ import annotations

__all__ = ["crc32"]

try:
    from zlib_ng.zlib_ng import crc32
except ImportError:  # it has wheels for fewer systems than we run on
    from zlib import crc32

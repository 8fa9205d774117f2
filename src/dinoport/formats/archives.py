"""Archives and compressed files, told by content: they are refused, with the command that unpacks them."""

import re
from collections.abc import Callable
from pathlib import Path

from dinoport.files.byte_sources import ByteSource
from dinoport.shown.address import is_address
from dinoport.shown.calls import call
from dinoport.shown.text import as_word

BLOCK_BYTES = 512
"""Of tar: its headers and what they stand before are whole blocks."""

LOOKED_AT_BYTES = 1 << 20
"""Of a compressed file: bzip2 gives nothing before it has a block of 900 kB."""

LZMA_BYTES = 1 << 26
"""What xz may take to unpack: a file says itself how much, and may say anything."""

COMPRESSED = (
    (b"\x1f\x8b", "gzip", "gunzip"),
    (b"\xfd7zXZ", "xz", "unxz"),
    (b"BZh", "bzip2", "bunzip2"),
    (b"\x28\xb5\x2f\xfd", "zstandard", "unzstd"),
    (b"\x04\x22\x4d\x18", "lz4", "unlz4"),
)

ARCHIVES = (
    (b"7z\xbc\xaf", "a 7-Zip archive", "7z x {file} -o{folder}"),
    (b"Rar!", "a RAR archive", "unrar x {file} {folder}/"),
)

TAR = "mkdir {folder} && tar -xf {file} -C {folder}"
ZIP = "unzip -q {file} -d {folder}"

OLDEST = b"sys_info\0"
"""The first member of torch's own tar archives; unpacked, they are pickles that nothing reads."""

LOAD_AND_SAVE = "load it with torch where you trust it, and save the state dict again"

ENDING = re.compile(r"(\.tar)?\.(gz|xz|bz2|zst|lz4|7z|rar|zip)$|\.(tar|tgz|txz|tbz2?)$", re.IGNORECASE)


CHECKPOINT = re.compile(r"\.(pth|pt|ckpt|bin|safetensors)$")


def packed_as(source: ByteSource, start: bytes) -> tuple[str, tuple[str, ...]] | None:
    """What an archive or a compressed file is, and the commands that unpack it. None for anything else."""
    for magic, name, program in COMPRESSED:
        if start.startswith(magic):
            inside = _inside(name, source)
            if is_tar(inside) if inside else ".tar" in source.where.lower():
                return f"a tar archive, compressed with {name}", unpacking(source.where, TAR)
            return f"a file compressed with {name}", unpacking(source.where, program + " -c {file} > {folder}")
    for magic, name, command in ARCHIVES:
        if start.startswith(magic):
            return name, unpacking(source.where, command)
    if not is_tar(start):
        return None
    first = 2 * BLOCK_BYTES if start[156:157] == b"x" else 0  # behind a header of pax, with a time in parts of a second
    if source.read(0, min(source.size_bytes, first + BLOCK_BYTES))[first:].startswith(OLDEST):
        return "a tar archive, as torch before 0.2 wrote checkpoints", (LOAD_AND_SAVE,)
    return "a tar archive", unpacking(source.where, TAR)


def unpacking(where: str, command: str) -> tuple[str, ...]:
    """The commands that unpack a file where the user is, who may write there, and look at what is in it."""
    path = Path(where.rpartition("/")[2].removesuffix("?…")) if is_address(where) else Path(where)
    name = ENDING.sub("", path.name) or path.name
    place = Path(name if "> {folder}" in command else CHECKPOINT.sub("", name) or name)
    if place == path or place.exists():
        place = Path(f"{place.name}-unpacked")
    first = ("download it first",) if is_address(where) else ()
    unpack = command.format(file=as_word(path), folder=as_word(place))
    return (*first, unpack, call("inspect", place))


def is_tar(start: bytes) -> bool:
    """Whether torch.load takes these bytes for a tar archive, which it tries before its own legacy format."""
    from tarfile import HeaderError, TarInfo

    try:
        TarInfo.frombuf(start[:BLOCK_BYTES], "utf-8", "surrogateescape")
    except HeaderError:
        return start[257:262] == b"ustar"
    return True


def _inside(name: str, source: ByteSource) -> bytes:
    """The first bytes inside a compressed file; empty where it cannot be unpacked here."""
    import bz2
    import lzma
    import zlib

    packed = source.read(0, min(source.size_bytes, LOOKED_AT_BYTES))
    unpackers: dict[str, Callable[[], bytes]] = {
        "gzip": lambda: zlib.decompressobj(wbits=31).decompress(packed, BLOCK_BYTES),
        "bzip2": lambda: bz2.BZ2Decompressor().decompress(packed, BLOCK_BYTES),
        "xz": lambda: lzma.LZMADecompressor(memlimit=LZMA_BYTES).decompress(packed, BLOCK_BYTES),
    }
    try:
        return unpackers[name]() if name in unpackers else b""
    except (zlib.error, lzma.LZMAError, OSError, EOFError):
        return b""

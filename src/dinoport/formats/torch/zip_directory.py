"""The directory of a zip file, read strictly: one way to understand it, or none.

Readers of zip files disagree on files that contradict themselves: which of two directories counts, what overlaps,
which of two sizes holds. A checkpoint that two programs read differently is not one that anything can be proven of,
so everything ambiguous is refused. The standard library's zipfile accepts most of it, and takes a kilobyte of memory
for each entry before they can be counted. Source of the layout: PKWARE's APPNOTE.TXT.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence

from dinoport.errors import CheckpointError
from dinoport.files.byte_sources import ByteSource
from dinoport.files.damage import BROKE_OFF, COMPARE_SIZES, damaged
from dinoport.formats.archives import ZIP, unpacking
from dinoport.formats.torch.zip_record import DEFLATED, ENCRYPTED, LOCAL_HEADER, Record, broken
from dinoport.shown.text import listed, value_text

MAX_RECORDS = 60_000
"""A training checkpoint of a 7B model holds some five thousand; an entry takes half a kilobyte of memory here."""

MAX_DIRECTORY_BYTES = 16 * 1024 * 1024
"""Sixty thousand entries with names of two hundred characters."""

MAX_NAME_BYTES = 1024
"""torch.save's names have some thirty."""

TAIL_BYTES = 64 * 1024
"""Read at once from the end: as a rule the whole directory, so that a remote file needs one request."""

END = struct.Struct("<4s4H2IH")
"""Signature, this disk, the directory's disk, entries on this disk, entries, size, offset, comment length."""

END64 = struct.Struct("<4sQ2H2I4Q")
"""Signature, size of the rest, versions, disks, entries on this disk, entries, size, offset."""

LOCATOR64 = struct.Struct("<4sIQI")
"""Signature, disk, offset of END64, number of disks."""

ENTRY = struct.Struct("<4s2x3H4x3I4H2xII")
"""Signature, version, flags, method, CRC-32, packed size, size, lengths of name, extra and comment, disk, attributes,
header offset."""

FOLDER = 0x10
"""MS-DOS's attribute of a folder: torch reads nothing of a record that has it."""


ZIP64_EXTRA = 1


def read_directory(source: ByteSource, *, deflated: bool = False) -> Mapping[str, Record]:
    """Every record of a zip file, in the order of the directory. Raises CheckpointError for anything ambiguous.

    Records that are not stored as they are raise too, but for `deflated` ones where these are expected.
    """
    tail_offset = max(source.size_bytes - TAIL_BYTES, 0)
    tail = source.read(tail_offset, source.size_bytes - tail_offset)
    count, offset, size = _end(source, tail)
    if count > MAX_RECORDS or size > MAX_DIRECTORY_BYTES:
        raise broken(source, f"a directory of {count} records in {size} bytes, where {MAX_RECORDS} are the limit")
    data = tail[offset - tail_offset :][:size] if offset >= tail_offset else source.read(offset, size)
    entries = list(_entries(source, data, count))
    scripted = [entry.name for entry in entries if entry.name.endswith("/constants.pkl")]
    if scripted:  # before its code is found compressed
        raise _torchscript(source, scripted[0])
    compressed = [entry for entry in entries if not entry.is_stored and not (deflated and entry.method == DEFLATED)]
    if compressed and not any(entry.name.endswith("/data.pkl") for entry in entries):
        raise not_of_torch(source, [entry.name for entry in entries])
    if compressed:
        raise _compressed(source, len(compressed), len(entries), sum(entry.size_bytes for entry in compressed))
    limits = _limits(source, entries, offset)
    # Zero everywhere: torch.serialization.set_crc32_options(False) writes files without checksums.
    has_checksums = any(entry.crc32 for entry in entries)
    records: dict[str, Record] = {}
    taken: set[str] = set()
    for entry in entries:
        if (lowered := entry.name.lower()) in taken:  # torch finds a record without regard to case
            raise broken(source, f"two records of one name: {entry.name}")
        taken.add(lowered)
        crc32 = entry.crc32 if has_checksums else None
        records[entry.name] = entry._replace(crc32=crc32, limit=limits[entry.header_offset])
    return records


def _end(source: ByteSource, tail: bytes) -> tuple[int, int, int]:
    """Number of entries, offset and size of the directory, from the end of the file."""
    if len(tail) < END.size or not tail[-END.size :].startswith(b"PK\5\6"):
        raise _cut_off(source, tail)
    _, disk, directory_disk, here, count, size, offset, comment_bytes = END.unpack(tail[-END.size :])
    end_offset = source.size_bytes - END.size
    before = tail[-END.size - LOCATOR64.size : -END.size]
    if len(before) == LOCATOR64.size and before.startswith(b"PK\6\7"):
        short = (here, count, size, offset)
        _, disk, end_offset, _ = LOCATOR64.unpack(before)
        at = source.size_bytes - END.size - LOCATOR64.size - END64.size
        if end_offset != at or at < 0:
            raise broken(source, "two directories that contradict each other")
        signature, _, _, _, disk, directory_disk, *long = END64.unpack(source.read(at, END64.size))
        full = (0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF)
        same = all(a in (b, most) for a, b, most in zip(short, long, full, strict=True))
        if signature != b"PK\6\6" or not same:
            raise broken(source, "two directories that contradict each other")
        here, count, size, offset = long
    if disk or directory_disk or here != count or comment_bytes:
        raise broken(source, "a zip file of several parts, or with a comment, as torch.save writes none")
    if offset + size != end_offset:
        raise broken(source, f"a directory that ends at byte {offset + size}, where {end_offset} was expected")
    return count, offset, size


def _entries(source: ByteSource, data: bytes, count: int) -> Iterator[Record]:
    """The records as the directory lists them, not yet with the limits that the others set them."""
    position = 0
    for _ in range(count):
        if position + ENTRY.size > len(data):
            raise broken(source, f"a directory that announces {count} records and holds fewer")
        signature, _, flags, method, crc32, packed, size, *lengths, disk, attributes, offset = ENTRY.unpack_from(
            data, position
        )
        name_bytes, extra_bytes, comment_bytes = lengths
        name_end = position + ENTRY.size + name_bytes
        name = _name(source, data[position + ENTRY.size : name_end], name_bytes)
        if signature != b"PK\1\2":
            raise broken(source, "a directory whose entries are damaged")
        if flags & ENCRYPTED:
            raise broken(source, f"{name} is encrypted")
        if disk:
            raise broken(source, f"{name} is on another disk")
        extra = data[name_end : name_end + extra_bytes]
        size, packed, offset = _long_sizes(source, extra, (size, packed, offset))
        if size and (name.endswith("/") or attributes & FOLDER):
            raise broken(source, f"{name} is marked as a folder, and holds {size} bytes")
        yield Record(name, size, crc32, offset, 0, packed, method)
        position = name_end + extra_bytes + comment_bytes
    if position != len(data):
        raise broken(source, f"a directory that announces {count} records and holds more")


def _name(source: ByteSource, data: bytes, length: int) -> str:
    """A record's name: a plain relative path, because a name that leaves its folder is an attack on unpackers."""
    try:
        name = data.decode("utf-8")
    except UnicodeDecodeError:
        name = ""
    parts = name.rstrip("/").split("/")
    if len(data) != length or length > MAX_NAME_BYTES or not name.isprintable() or "\\" in name or ":" in parts[0]:
        raise broken(source, f"a record with an impossible name: {value_text(data[:40])}")
    if any(part in ("", ".", "..") for part in parts):
        raise broken(source, f"a record that reaches outside the archive: {name[:100]}")
    return name


def _long_sizes(source: ByteSource, extra: bytes, short: tuple[int, int, int]) -> Iterator[int]:
    """Size, packed size and header offset, each from the zip64 extra field where the short one is full."""
    long = b""
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, position)
        if position + 4 + length > len(extra):
            raise broken(source, "a record whose extra field is cut off")
        if kind == ZIP64_EXTRA:
            long = extra[position + 4 : position + 4 + length]
            break
        position += 4 + length
    for value in short:
        if value != 0xFFFFFFFF:
            yield value
        elif len(long) >= 8:
            yield struct.unpack_from("<Q", long)[0]
            long = long[8:]
        else:
            raise broken(source, "a record whose size is missing")


def _limits(source: ByteSource, entries: list[Record], directory_offset: int) -> dict[int, int]:
    """For each header's offset, where the next record or the directory begins."""
    limits: dict[int, int] = {}
    limit = directory_offset
    for entry in sorted(entries, key=lambda entry: -entry.header_offset):
        if entry.header_offset + LOCAL_HEADER.size + len(entry.name.encode()) + entry.packed_bytes > limit:
            raise broken(source, f"{entry.name} overlaps what comes after it")
        limits[entry.header_offset] = limit
        limit = entry.header_offset
    if limit:
        raise broken(source, f"{limit} bytes before the first record")
    return limits


def _cut_off(source: ByteSource, tail: bytes) -> CheckpointError:
    at = tail.rfind(b"PK\5\6")
    behind = len(tail) - at - END.size
    found = f"{source.size_bytes} bytes without one" if at < 0 or behind < 0 else f"{behind} bytes behind its end"
    what = f"{source.where} is cut off or damaged: it begins as a torch file and has no sound directory"
    return damaged(what, found, "a zip directory at the end of the file", cause=BROKE_OFF, next_step=COMPARE_SIZES)


def _torchscript(source: ByteSource, name: str) -> CheckpointError:
    return CheckpointError(
        f"{source.where} is a TorchScript archive, which holds code; a checkpoint holds tensors",
        expected="what torch.save writes of a state dict",
        found=name,
        cause="torch.jit.save instead of torch.save",
        next_step="load it with torch.jit.load where you trust it, and torch.save its state_dict()",
    )


def not_of_torch(source: ByteSource, names: Sequence[str]) -> CheckpointError:
    """The error for a zip file of something else: a packed folder, most likely."""
    if program := next((name for name in names if name.endswith(("/models/model.json", "/archive_format"))), None):
        return CheckpointError(
            f"{source.where} is an archive of torch.export, which holds a program; a checkpoint holds tensors",
            expected="what torch.save writes of a state dict",
            found=program,
            cause="torch.export.save instead of torch.save",
            next_step="load it with torch.export.load where you trust it, and torch.save its state_dict",
        )
    return CheckpointError(
        f"{source.where} is a zip file, but not one that torch.save wrote",
        expected="one folder in it, with a record data.pkl",
        found=listed(names, 4) or "no records",
        cause="a packed folder, or an archive of another kind (.docx, .npz)",
        next_step=unpacking(source.where, ZIP),
    )


def _compressed(source: ByteSource, compressed: int, count: int, size_bytes: int) -> CheckpointError:
    return CheckpointError(
        f"{source.where} is a compressed zip file, which torch.save never writes",
        expected="records that are stored as they are",
        found=f"{compressed} of {count} records are compressed, {size_bytes} bytes in all; none was unpacked",
        cause="the file was packed again by a zip program, or made to exhaust memory",
        next_step="fetch the original, or load it with torch.load and save it again with torch.save",
    )

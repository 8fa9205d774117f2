"""Torch files taken apart and put together again, with everything that a header can say open to change."""

import io
import struct
import zipfile
import zlib
from dataclasses import dataclass, replace

from tests.fuzz.differential.program import Program, parsed

LEGACY_PICKLES = 5


@dataclass(frozen=True)
class Entry:
    """One record of a zip, and what its headers say of it. None: what is true."""

    name: str
    data: bytes
    flags: int = 0x808
    attributes: int = 0
    descriptor: bytes | None = None
    local_name: str | None = None
    extra: bytes = b""
    listed: bool = True
    size: int | None = None
    before: bytes = b""


@dataclass(frozen=True)
class ZipFile:
    """`program` is the pickle, which stands in the record `pickle`."""

    program: Program
    entries: tuple[Entry, ...]
    pickle: str
    comment: bytes = b""
    behind: bytes = b""

    def bytes(self) -> bytes:
        file = io.BytesIO()
        directory = []
        for entry in self.entries:
            data = b"".join(self.program) if entry.name == self.pickle else entry.data
            file.write(entry.before)
            offset = file.tell()
            local = (entry.local_name or entry.name).encode()
            sums = struct.pack("<3I", zlib.crc32(data), len(data), len(data))
            file.write(struct.pack("<4s5H12x2H", b"PK\3\4", 20, entry.flags, 0, 0, 0, len(local), len(entry.extra)))
            file.write(local + entry.extra + data)
            if entry.descriptor is not None:
                file.write(entry.descriptor)
            elif entry.flags & 8:
                file.write(b"PK\7\x08" + sums)
            size = len(data) if entry.size is None else entry.size
            name = entry.name.encode()
            numbers = (zlib.crc32(data), size, size, len(name), 0, 0, 0, 0, entry.attributes, offset)
            head = struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, entry.flags, 0, 0, 0, *numbers)
            directory += [head + name] * entry.listed
        begin, listed = file.tell(), b"".join(directory)
        count = len(directory)
        end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, count, count, len(listed), begin, len(self.comment))
        file.write(listed + end + self.comment + self.behind)
        return file.getvalue()


@dataclass(frozen=True)
class LegacyFile:
    """Five pickles, of which the fourth is the object; then the storages."""

    programs: tuple[Program, ...]
    storages: bytes
    before: bytes = b""

    @property
    def program(self) -> Program:
        return self.programs[3]

    def bytes(self) -> bytes:
        return self.before + b"".join(b"".join(program) for program in self.programs) + self.storages


TorchFile = ZipFile | LegacyFile


def taken_apart(data: bytes) -> TorchFile:
    if not data.startswith(b"PK"):
        programs, position = [], 0
        for _ in range(LEGACY_PICKLES):
            program, position = parsed(data, position)
            programs.append(program)
        return LegacyFile(_with_plain_keys(programs), data[position:])
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = tuple(Entry(info.filename, archive.read(info)) for info in archive.infolist())
    pickle = next(entry for entry in entries if entry.name.endswith("/data.pkl"))
    return ZipFile(parsed(pickle.data)[0], entries, pickle.name)


def _with_plain_keys(programs: list[Program]) -> tuple[Program, ...]:
    """Torch names a storage by its address; here by its number, in as many digits."""
    keys = [op.lstrip(b"X\x8c")[-15:].lstrip(b"\0\x0e\x0f") for op in programs[4] if op[:1] in (b"X", b"\x8c")]
    numbered = {key: b"%0*d" % (len(key), number) for number, key in enumerate(keys, start=1)}

    def plain(op: bytes) -> bytes:
        for key, number in numbered.items():
            if op.endswith(key):
                return op.removesuffix(key) + number
        return op

    return tuple(tuple(map(plain, program)) for program in programs)


def with_program(file: TorchFile, program: Program) -> TorchFile:
    if isinstance(file, ZipFile):
        return replace(file, program=program)
    return replace(file, programs=(*file.programs[:3], program, *file.programs[4:]))

"""Distributed checkpoints whose .metadata is made to exhaust something, or to reach outside its folder."""

import re

import pytest

from tests.hostile.attacks import doubled, integer, pairs_of_one_hash, text

METADATA = b"torch.distributed.checkpoint.metadata\n"
FILESYSTEM = b"torch.distributed.checkpoint.filesystem\n"


def made(class_name: bytes, **fields: bytes) -> bytes:
    """An object of one of torch's dataclasses, with these fields as pickles."""
    state = b"".join(text(name) + value for name, value in fields.items())
    return b"c" + class_name + b"\n)\x81}(" + state + b"ub"


def size(*numbers: int) -> bytes:
    return b"ctorch\nSize\n(" + b"".join(map(integer, numbers)) + b"t\x85R"


def index(name: str, *offset: int) -> bytes:
    return made(METADATA + b"MetadataIndex", fqn=text(name), offset=size(*offset), index=b"N")


def place(file: bytes, offset: bytes = integer(0), length: bytes = integer(2000), **more: bytes) -> bytes:
    return made(FILESYSTEM + b"_StorageInfo", relative_path=file, offset=offset, length=length, **more)


def tensor(shape: bytes, *chunks: bytes) -> bytes:
    properties = made(METADATA + b"TensorProperties", dtype=b"ctorch\nfloat32\n")
    chunk_list = b"(" + b"".join(chunks) + b"l"
    return made(METADATA + b"TensorStorageMetadata", properties=properties, size=shape, chunks=chunk_list)


def chunk(offsets: bytes, sizes: bytes) -> bytes:
    return made(METADATA + b"ChunkStorageMetadata", offsets=offsets, sizes=sizes)


def metadata(entry: bytes, *places: bytes) -> bytes:
    entries = b"}" + text("a") + entry + b"s"
    stored = b"}(" + b"".join(places) + b"u"
    return b"\x80\2" + made(METADATA + b"Metadata", state_dict_metadata=entries, storage_data=stored) + b"."


WHOLE = tensor(size(4), chunk(size(0), size(4)))
SHOWN = "(((...), (...)), ((...), (...)))"

ATTACKS = {
    "a shape of endless text": (metadata(tensor(doubled())), f"a with {SHOWN}"),
    "a place of endless text": (
        metadata(WHOLE, index("a", 0), place(doubled(), doubled(), doubled())),
        f"a place ({', '.join(['((...), (...))'] * 3)}) for a",
    ),
    "transforms of endless text": (
        metadata(WHOLE, index("a", 0), place(text("x"), transform_descriptors=doubled())),
        f"transforms {SHOWN}",
    ),
    "offsets of one hash": (
        metadata(tensor(size(4)), *(index("a", *pair) + place(text("x")) for pair in pairs_of_one_hash(15_000))),
        "a with (120081, 157828591747093453)",
    ),
    "a grid of a billion cells": (
        metadata(tensor(size(1000, 1000, 1000), *(chunk(size(n, n, n), size(1, 1, 1)) for n in range(1000)))),
        "a of shape (1000, 1000, 1000) has 1000 parts that form no regular grid",
    ),
    "a file outside": (metadata(WHOLE, index("a", 0), place(text("../secret"))), "a in '../secret'"),
    "empty sets": (b"\x80\4](" + b"\x8f" * 2_000_000 + b"e.", "objects of more than 67108864 bytes at byte"),
    "dicts of one value": (b"\x80\4](" + b"}K\0Ns" * 900_000 + b"e.", "objects of more than 108000144 bytes at byte"),
    "a name that no disk takes": (metadata(WHOLE, index("a", 0), place(text("x" * 300))), "0 of them"),
    "an offset beyond all files": (metadata(WHOLE, index("a", 0), place(text("x"), integer(2**70))), None),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_it_is_refused_within_limits(guard, tmp_path, name):
    pickled, found = ATTACKS[name]
    folder = tmp_path / "step"
    folder.mkdir()
    (folder / ".metadata").write_bytes(pickled)
    (folder / "x").write_bytes(bytes(3000))
    outcome = guard.convert(folder, tmp_path / "target")
    assert (outcome.exit_code, outcome.violations, outcome.left) == (1, [], [])
    assert outcome.seconds < 10
    assert outcome.peak_bytes < 200_000_000
    line = rf"^  found: {re.escape(found)}( \d+)?$" if found else "step/x ends too early"
    assert re.search(line, outcome.stderr, re.MULTILINE)

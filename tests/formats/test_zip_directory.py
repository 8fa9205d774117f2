"""Zip directories that say one thing here and another there: refused, each with its reason."""

import io
import struct
import zipfile
from functools import partial

import pytest

from dinoport.errors import CheckpointError
from dinoport.formats.torch import zip_directory
from dinoport.formats.torch.zip_directory import read_directory
from tests.formats.memory import Memory, unsound, zipped

RECORDS = {"archive/data.pkl": b"pickle", "archive/data/0": b"values", "archive/version": b"3\n"}
SOUND = zipped(RECORDS)
END = len(SOUND) - 22
DIRECTORY = struct.unpack_from("<I", SOUND, END + 16)[0]
SECOND = SOUND.index(b"PK\1\2", DIRECTORY + 4)
LENGTH = END - DIRECTORY
LAST = SOUND.rindex(b"PK\1\2")


message = partial(unsound, what="a sound zip file")
SEVERAL = "a zip file of several parts, or with a comment, as torch.save writes none"


def read(data: bytes) -> dict[str, bytes]:
    source = Memory(data)
    return {
        name: source.read(record.data_offset(source), record.size_bytes)
        for name, record in read_directory(source).items()
    }


def patched(offset: int, form: str, value: int, data: bytes = SOUND) -> bytes:
    return data[:offset] + struct.pack("<" + form, value) + data[offset + struct.calcsize("<" + form) :]


def with_zip64(data: bytes = SOUND, **fields: int) -> bytes:
    """The same with a zip64 end, as torch writes it, or with other values in it."""
    size, offset, count = END - DIRECTORY, DIRECTORY, 3
    values = {"disk": 0, "here": count, "count": count, "size": size, "offset": offset} | fields
    end64 = struct.pack(
        "<4sQ2H2I4Q", b"PK\6\6", 44, 30, 45, values["disk"], 0, values["here"], values["count"], values["size"],
        values["offset"],
    )  # fmt: skip
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, fields.get("at", END), 1)
    return data[:END] + end64 + locator + data[END:]


def refused(data: bytes) -> str:
    with pytest.raises(CheckpointError) as caught:
        read(data)
    return str(caught.value)


def test_records_are_read_in_order():
    assert list(read(SOUND).items()) == list(RECORDS.items())


def test_a_zip64_end_is_read():
    assert read(with_zip64()) == RECORDS
    full = with_zip64(SOUND[:END] + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 65535, 65535, 2**32 - 1, 2**32 - 1, 0))
    assert read(full) == RECORDS


def test_zip64_sizes_of_a_record_are_read():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive, archive.open("a/b", "w", force_zip64=True) as record:
        record.write(b"values")
    assert read(file.getvalue()) == {"a/b": b"values"}
    data = file.getvalue()
    entry = data.rindex(b"PK\1\2")
    long = struct.pack("<2H2Q", 1, 16, 6, 6)
    long_entry = patched(entry + 20, "I", 2**32 - 1, data)
    long_entry = patched(entry + 24, "I", 2**32 - 1, long_entry)
    long_entry = patched(entry + 30, "H", len(long), long_entry)
    behind = entry + 46 + 3
    long_entry = long_entry[:behind] + long + long_entry[behind:]
    long_entry = patched(len(long_entry) - 22 + 12, "I", 49 + len(long), long_entry)
    assert read(long_entry) == {"a/b": b"values"}
    missing = patched(behind, "H", 2, long_entry)
    assert refused(missing) == message("a record whose size is missing")


def test_names_are_utf_8():
    assert read(zipped({"archive/é": b"x"})) == {"archive/é": b"x"}


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (patched(END + 10, "H", 2), SEVERAL),
        (patched(END + 4, "H", 1), SEVERAL),
        (patched(END + 20, "H", 1), SEVERAL),
        (patched(END + 16, "I", DIRECTORY - 1), f"a directory that ends at byte {END - 1}, where {END} was expected"),
        (patched(END + 12, "I", LENGTH + 1), f"a directory that ends at byte {END + 1}, where {END} was expected"),
        (b"#!" + SOUND, f"a directory that ends at byte {END}, where {END + 2} was expected"),
        (patched(DIRECTORY, "I", 0), "a directory whose entries are damaged"),
        (patched(LAST + 30, "H", 500), "a directory that announces 3 records and holds more"),
        (patched(LAST + 28, "H", 500), "a record with an impossible name: \"archive/version\""),
        (patched(SECOND + 8, "H", 1), "archive/data/0 is encrypted"),
        (patched(SECOND + 42, "I", 0), "archive/data/0 overlaps what comes after it"),
        (patched(DIRECTORY + 42, "I", 10), "archive/data.pkl overlaps what comes after it"),
        (patched(SECOND + 42, "I", END), "archive/data/0 overlaps what comes after it"),
        (with_zip64(at=0), "two directories that contradict each other"),
        (with_zip64(count=4, here=4), "two directories that contradict each other"),
        (with_zip64(offset=0), "two directories that contradict each other"),
        (with_zip64(disk=1), SEVERAL),
    ],
)  # fmt: skip
def test_a_directory_that_contradicts_itself(data, found):
    assert refused(data) == message(found)


@pytest.mark.parametrize("field", [16, 24])
def test_sizes_that_do_not_fit_the_file(field):
    grown = patched(SECOND + 20, "I", 2**31)
    assert refused(patched(SECOND + 24, "I", 2**31, grown)) == message("archive/data/0 overlaps what comes after it")


def test_a_record_that_is_not_where_the_directory_says():
    other = patched(SECOND + 42, "I", struct.unpack_from("<I", SOUND, LAST + 42)[0])
    assert "overlaps" in refused(other)
    renamed = SOUND.replace(b"archive/data/0", b"archive/data/1", 1)
    assert refused(renamed) == message("archive/data/0 is not where the directory says")
    deflated_here = patched(struct.unpack_from("<I", SOUND, SECOND + 42)[0] + 8, "H", 8)
    assert refused(deflated_here) == message("archive/data/0 is not where the directory says")


def test_a_header_that_pushes_its_record_into_the_next():
    header = struct.unpack_from("<I", SOUND, SECOND + 42)[0]
    assert refused(patched(header + 28, "H", 40)) == message("archive/data/0 reaches into what comes after it")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("../../tmp/x", "a record that reaches outside the archive: ../../tmp/x"),
        ("/etc/passwd", "a record that reaches outside the archive: /etc/passwd"),
        ("archive/../../x", "a record that reaches outside the archive: archive/../../x"),
        ("archive//x", "a record that reaches outside the archive: archive//x"),
        ("archive\\x", r'a record with an impossible name: "archive\\x"'),
        ("C:/x", 'a record with an impossible name: "C:/x"'),
        ("archive/\x1b[2J", r'a record with an impossible name: "archive/\u001b[2J"'),
        ("a" * 1025, 'a record with an impossible name: "' + "a" * 40 + '"'),
    ],
)
def test_names_that_no_unpacker_should_follow(name, found):
    clean = "b" * len(name)
    data = zipped({clean: b"x"}).replace(clean.encode(), name.encode())
    assert refused(data) == message(found.replace("\\x1b", "\\x1b"))


def test_bytes_in_front():
    file = io.BytesIO(b"#!/bin/sh\n")
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("archive/data.pkl", b"pickle")
    assert refused(file.getvalue()) == message("10 bytes before the first record")


def test_two_records_of_one_name():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data/0", b"one")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("archive/data/0", b"two")
    assert refused(file.getvalue()) == message("two records of one name: archive/data/0")


def test_compressed_records_are_counted_and_not_unpacked():
    assert refused(zipped(RECORDS, zipfile.ZIP_DEFLATED)) == (
        "file.pth is a compressed zip file, which torch.save never writes\n"
        "  expected: records that are stored as they are\n"
        "  found: 3 of 3 records are compressed, 14 bytes in all; none was unpacked\n"
        "  likely cause: the file was packed again by a zip program, or made to exhaust memory\n"
        "  try: fetch the original, or load it with torch.load and save it again with torch.save"
    )


def cut_off(found: str) -> str:
    return (
        "file.pth is cut off or damaged: it begins as a torch file and has no sound directory\n"
        "  expected: a zip directory at the end of the file\n"
        f"  found: {found}\n"
        "  likely cause: a download or a copy that broke off\n"
        "  try: fetch the file again and compare its size with the original's"
    )


def test_a_file_that_is_cut_off():
    for length in range(len(SOUND)):
        assert refused(SOUND[:length]) == cut_off(f"{length} bytes without one")


def test_bytes_behind_the_end():
    assert refused(SOUND + b"more") == cut_off("4 bytes behind its end")
    assert refused(SOUND + SOUND[:100]) == cut_off("100 bytes behind its end")


def test_two_files_end_to_end():
    """Readers that look for the last directory, and those that look for the first, would differ."""
    assert "a directory that ends at byte" in refused(SOUND + SOUND)


def test_limits(monkeypatch):
    monkeypatch.setattr(zip_directory, "MAX_RECORDS", 2)
    assert refused(SOUND) == message(f"a directory of 3 records in {END - DIRECTORY} bytes, where 2 are the limit")


def test_a_directory_longer_than_the_tail_is_read_in_a_second_step(monkeypatch):
    monkeypatch.setattr(zip_directory, "TAIL_BYTES", 90)
    assert read(SOUND) == RECORDS


def test_an_empty_zip_file():
    assert read(zipped({})) == {}

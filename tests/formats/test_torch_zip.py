"""Torch zip files that lie. What sound ones hold is compared with torch in test_against_torch.py."""

import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from dinoport.errors import CheckpointError
from dinoport.formats.opening import open_checkpoint
from dinoport.formats.torch import zip_file as reader
from dinoport.formats.torch.zip_file import read_torch_zip
from tests.error_text import error_text
from tests.formats.memory import Memory, torch_zip, unsound, zipped
from tests.fuzz.seeds import TENSOR

VALUES = np.arange(1, 17, dtype="<f4")


def tensor(key: bytes = b"0", count: int = 16, rows: int = 4, kind: bytes = b"FloatStorage") -> bytes:
    return (TENSOR % (key, bytes([count]), bytes([rows]))).replace(b"FloatStorage", kind)


def one(made: bytes = tensor()) -> bytes:
    return b"}X\1\0\0\0a" + made + b"s."


def read(pickled: bytes, storage: bytes = VALUES.tobytes(), **records: bytes):
    return read_torch_zip(Memory(torch_zip(pickled, {"0": storage}, **records)))


def refused(*args, **records) -> str:
    with pytest.raises(CheckpointError) as caught:
        read(*args, **records)
    return str(caught.value)


def test_a_sound_file():
    assert read(one())["a"].read().tolist() == VALUES.reshape(4, 4).tolist()


def test_big_endian_storages():
    """As written on s390x; without a byteorder record, as before torch 2.1, they are little-endian."""
    data = torch_zip(one(), {"0": VALUES.astype(">f4").tobytes()}).replace(b"little", b"big")
    assert "ends at byte" in _message(data)  # a shorter record moves the directory: made properly below
    records = {
        "a/data.pkl": one(),
        "a/data/0": VALUES.astype(">f4").tobytes(),
        "a/byteorder": b"big",
        "a/version": b"3\n",
    }
    assert read_torch_zip(Memory(zipped(records)))["a"].read().tolist() == VALUES.reshape(4, 4).tolist()
    del records["a/byteorder"]
    assert read_torch_zip(Memory(zipped(records)))["a"].read()[0, 0] == VALUES[:1].byteswap()[0]


def _message(data: bytes) -> str:
    with pytest.raises(CheckpointError) as caught:
        read_torch_zip(Memory(data))
    return str(caught.value)


def test_a_byte_order_that_is_none():
    records = {"a/data.pkl": one(), "a/data/0": VALUES.tobytes(), "a/byteorder": b"middle", "a/version": b"3\n"}
    assert _message(zipped(records)) == unsound('a byte order "middle"')


def test_a_missing_storage():
    assert refused(one(tensor(key=b"7"))) == unsound("no record archive/data/7, which a tensor lies in")


def test_a_storage_of_another_size_than_declared():
    found = "archive/data/0: 15 elements of float32 declared for 64 bytes"
    assert refused(one(tensor(count=15))) == unsound(found)


@pytest.mark.parametrize("second", [tensor(kind=b"IntStorage"), tensor(count=8, kind=b"DoubleStorage")])
def test_a_storage_of_two_dtypes(second):
    """The second would silently be read with the dtype of the first."""
    pickled = b"}(X\1\0\0\0a" + tensor() + b"X\1\0\0\0b" + second + b"u."
    assert refused(pickled) == unsound("a storage 0 that is declared twice, and differently")


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        (b"ShortShortStorage", "a storage of the unknown type torch.ShortShortStorage"),
        (b"load", None),
    ],
)
def test_a_storage_of_an_unknown_type(kind, found):
    text = refused(one(tensor(kind=kind)))
    assert text == unsound(found) if found else "names torch.load, which no checkpoint needs" in text


@pytest.mark.parametrize(
    ("identity", "found"),
    [
        (b"X\1\0\0\0a", "a reference that names no storage: 'a'"),
        (b"K\1K\2\x86", "a reference that names no storage: (1, 2)"),
        (b"(X\6\0\0\0moduleNNNNt", "a reference that names no storage: ('module', None, None, None, None)"),
        (b"(X\7\0\0\0storagectorch\nFloatStorage\n)NK\1t", None),
        (b"(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0000NJ\xff\xff\xff\xfft", None),
    ],
)
def test_a_reference_that_is_none(identity, found):
    text = refused(identity + b"Q.")
    assert text == unsound(found) if found else "a storage without a name or a size" in text


def test_a_tensor_beyond_its_storage():
    assert refused(one(tensor(rows=5))) == (
        "file.pth declares a tensor that its data cannot hold\n"
        "  where: archive/data/0\n"
        "  expected: 16 elements\n"
        "  found: shape (5, 4), so elements up to 19\n"
        "  likely cause: a damaged file, or one that was made to mislead\n"
        "  try: fetch the file again from where it came"
    )


def test_a_damaged_pickle_is_told_by_its_checksum():
    pickled = one()
    damaged = pickled.replace(b"cpu", b"cpv")
    data = torch_zip(pickled, {"0": VALUES.tobytes()})
    assert _message(data.replace(pickled, damaged)) == (
        "file.pth is damaged: a checksum does not hold\n"
        "  where: archive/data.pkl\n"
        f"  expected: CRC-32 {zlib.crc32(pickled):08x}, as the file says\n"
        f"  found: {zlib.crc32(damaged):08x}\n"
        "  likely cause: a flipped bit on disk or in transfer; torch.load does not check this\n"
        "  try: fetch the file again"
    )


def test_damaged_values_are_told_by_their_checksum():
    data = torch_zip(one(), {"0": VALUES.tobytes()})
    tree = read_torch_zip(Memory(data.replace(VALUES[3:5].tobytes(), VALUES[4:6].tobytes())))
    with pytest.raises(CheckpointError, match="is damaged: a checksum does not hold"):
        tree["a"].values.storage.check()


def test_a_torchscript_archive():
    assert refused(one(), **{"constants.pkl": b"x"}) == (
        "file.pth is a TorchScript archive, which holds code; a checkpoint holds tensors\n"
        "  expected: what torch.save writes of a state dict\n"
        "  found: archive/constants.pkl\n"
        "  likely cause: torch.jit.save instead of torch.save\n"
        "  try: load it with torch.jit.load where you trust it, and torch.save its state_dict()"
    )


def not_torch(found: str) -> str:
    return (
        "file.pth is a zip file, but not one that torch.save wrote\n"
        "  expected: one folder in it, with a record data.pkl\n"
        f"  found: {found}\n"
        "  likely cause: a packed folder, or an archive of another kind (.docx, .npz)\n"
        "  try: unzip -q file.pth -d file\n       `dinoport.inspect('file')`"
    )


@pytest.mark.parametrize(
    ("records", "found"),
    [
        ({}, "no records"),
        ({"hello.txt": b""}, "hello.txt"),
        ({"data.pkl": one()}, "data.pkl"),
        ({"a/data.pkl": one(), "b/data.pkl": one()}, "a/data.pkl, b/data.pkl"),
        ({f"{name}.npy": b"" for name in "abcdef"}, "a.npy, b.npy, c.npy, d.npy, and 2 more"),
    ],
)
def test_other_zip_files(records, found):
    assert _message(zipped(records)) == not_torch(found)


def test_a_pickle_that_holds_the_values_itself(monkeypatch):
    monkeypatch.setattr(reader, "MAX_PICKLE_BYTES", 100)
    assert refused(one()) == (
        "file.pth holds an uncommonly large archive/data.pkl\n"
        "  expected: at most 100 bytes: names and shapes, with tensors beside them\n"
        f"  found: {len(one())} bytes\n"
        "  likely cause: weights that were saved as NumPy arrays or lists, inside the pickle\n"
        "  try: turn them into tensors, and save the state dict with torch.save"
    )


def test_quantised_tensors_are_named() -> None:
    assert refused(one(tensor(kind=b"QInt8Storage"))).endswith(
        " holds quantised tensors\n"
        "  expected: weights as numbers in floating point\n"
        "  found: a storage of the type torch.QInt8Storage\n"
        "  likely cause: a model that was saved after torch.ao quantised it\n"
        "  try: give the weights as they were before they were quantised"
    )


def test_an_archive_of_torch_export_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/models/model.json", "{}")
        archive.writestr("model/data/weights/weight_0", bytes(8))
    assert error_text(CheckpointError, lambda: open_checkpoint(path)) == (
        f"{path} is an archive of torch.export, which holds a program; a checkpoint holds tensors\n"
        "  expected: what torch.save writes of a state dict\n"
        "  found: model/models/model.json\n"
        "  likely cause: torch.export.save instead of torch.save\n"
        "  try: load it with torch.export.load where you trust it, and torch.save its state_dict"
    )

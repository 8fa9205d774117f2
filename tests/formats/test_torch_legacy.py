"""Legacy torch files that lie. What sound ones hold is compared with torch in test_against_torch.py."""

import pickle
import struct
from functools import partial

import numpy as np
import pytest

from dinoport.errors import CheckpointError, UnsafeCheckpointError
from dinoport.formats.torch import legacy as reader
from dinoport.formats.torch.legacy import MAGIC_NUMBER, read_torch_legacy
from dinoport.formats.torch.stand_ins import Global
from tests.formats import memory
from tests.formats.memory import Memory
from tests.fuzz.seeds import TENSOR

VALUES = np.arange(1, 17, dtype="<f4")

unsound = partial(memory.unsound, what="a sound torch file of the legacy format")


def tensor(count: int = 16, rows: int = 4, view: bytes = b"N") -> bytes:
    return (TENSOR % (b"0", bytes([count]), bytes([rows]))).replace(b"tQ", view + b"tQ")


def one(made: bytes = tensor()) -> bytes:
    return b"}X\1\0\0\0a" + made + b"s."


def file(
    body: bytes = one(),
    keys: object = ("0",),
    storages: tuple[bytes, ...] = (VALUES.tobytes(),),
    counts: tuple[int, ...] = (16,),
    little_endian: bool = True,
    magic: object = MAGIC_NUMBER,
    version: int = 1001,
) -> bytes:
    keys = list(keys) if isinstance(keys, tuple) else keys
    start = [pickle.dumps(value, protocol=2) for value in (magic, version, {"little_endian": little_endian})]
    stored = [struct.pack("<q", count) + data for count, data in zip(counts, storages, strict=True)]
    return b"".join([*start, body, pickle.dumps(keys, protocol=2), *stored])


def refused(data: bytes) -> str:
    with pytest.raises(CheckpointError) as caught:
        read_torch_legacy(Memory(data))
    return str(caught.value)


@pytest.mark.parametrize("little_endian", [True, False])
def test_storages_are_little_endian_whatever_the_file_says(little_endian):
    """What it says is which machine wrote it; torch converts on big-endian ones."""
    tree = read_torch_legacy(Memory(file(little_endian=little_endian)))
    assert tree["a"].read().tolist() == VALUES.reshape(4, 4).tolist()


def test_a_view_of_a_storage_as_torch_before_0_4_wrote_it_is_refused():
    found = refused(file(one(tensor(rows=2, view=b"X\1\0\0\0vK\4K\10\x87"))))
    assert found == (
        "file.pth holds a view of a storage, as torch before 0.4 wrote them\n"
        "  expected: tensors over whole storages, as later versions write them\n"
        "  try: load it with torch where you trust it, and save the state dict again"
    )


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (file(version=1000), "an unknown version of the legacy format"),
        (file(keys={}), "no sound list of storages"),
        (file(keys=("0", "0")), "no sound list of storages"),
        (file(keys=(None,)), "no sound list of storages"),
        (file(keys=("1",)), "a list of storages that are not those of its tensors"),
        (file(keys=(), storages=(), counts=()), "a list of storages that are not those of its tensors"),
        (file(counts=(15,)), "storage 0 holds 15 elements, where its tensors say otherwise"),
        (file(counts=(-1,)), "storage 0 holds -1 elements, where its tensors say otherwise"),
    ],
)
def test_what_contradicts_itself(data, found):
    assert refused(data) == unsound(found)


def test_a_storage_of_two_dtypes():
    second = tensor().replace(b"FloatStorage", b"IntStorage")
    found = "a storage 0 that is declared twice, and differently"
    data = file(b"}(X\1\0\0\0a" + tensor() + b"X\1\0\0\0b" + second + b"u.")
    assert refused(data) == memory.unsound(found)


def test_every_cut_ends_in_a_message():
    sound = file()
    for length in range(len(sound)):
        assert refused(sound[:length]).startswith("file.pth ")
    assert refused(sound[:-1]) == (
        "file.pth ends too early\n"
        f"  expected: {len(sound)} bytes\n"
        f"  found: {len(sound) - 1} bytes\n"
        "  likely cause: a download or a copy that broke off\n"
        "  try: fetch the file again and compare its size with the original's"
    )


def test_pickles_longer_than_the_first_piece_are_read_again(monkeypatch):
    monkeypatch.setattr(reader, "READ_BYTES", (40, 41, reader.MAX_PICKLES_BYTES))
    assert read_torch_legacy(Memory(file()))["a"].shape == (4, 4)


def test_pickles_longer_than_the_limit(monkeypatch):
    monkeypatch.setattr(reader, "READ_BYTES", (40, 60))
    monkeypatch.setattr(reader, "MAX_PICKLES_BYTES", 60)
    assert refused(file()).startswith("file.pth is not a sound pickle")


def test_a_pickle_that_torch_did_not_write():
    assert refused(pickle.dumps({"a": 1})) == (
        "file.pth is a pickle, but not one that torch.save wrote\n"
        "  expected: torch's zip format, or its legacy format with a magic number\n"
        "  found: a pickle of something else\n"
        "  likely cause: pickle.dump instead of torch.save, or a file of another program\n"
        "  try: save the state dict with torch.save or safetensors"
    )


def test_a_state_dict_that_was_pickled_without_torch_save(tmp_path):
    torch = pytest.importorskip("torch")
    assert refused(pickle.dumps({"a": torch.ones(3)})) == (
        "file.pth holds its tensors as pickles within a pickle\n"
        "  expected: tensors beside the pickle, as torch.save writes them\n"
        "  found: torch.storage._load_from_bytes\n"
        "  likely cause: pickle.dump instead of torch.save\n"
        "  try: load it where you trust it, and save the state dict with torch.save"
    )


@pytest.mark.parametrize("place", range(4))
def test_a_forbidden_name_in_any_of_the_pickles(place):
    pickles = [pickle.dumps(value, protocol=2) for value in (MAGIC_NUMBER, 1001, {})] + [one()]
    pickles[place] = b"cposix\nsystem\n."
    with pytest.raises(UnsafeCheckpointError, match=r"file\.pth names posix\.system, which no checkpoint needs"):
        read_torch_legacy(Memory(b"".join(pickles)))


def class_with_source(name: bytes) -> bytes:
    return b"(X\6\0\0\0modulec" + name + b"\nX\1\0\0\0fX\1\0\0\0stQ"


@pytest.mark.parametrize("name", [b"torch\nHalfStorage", b"torch\nfloat32"])
def test_what_torch_cannot_name_is_no_class_with_its_source(name: bytes) -> None:
    found = (
        f"a reference that names no storage: ('module', Global(name='{name.decode().replace(chr(10), '.')}'), 'f', 's')"
    )
    assert refused(file(one(class_with_source(name)), keys=(), storages=(), counts=())) == memory.unsound(found)


def test_a_class_with_its_source_is_a_name() -> None:
    data = file(one(class_with_source(b"torch.nn.modules.linear\nLinear")), keys=(), storages=(), counts=())
    assert read_torch_legacy(Memory(data)) == {"a": Global("torch.nn.modules.linear.Linear")}

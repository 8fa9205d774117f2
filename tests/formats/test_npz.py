"""NumPy's archives, read without NumPy's reader: what `numpy.savez` writes, and each way to lie in one."""

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from dinoport.errors import CheckpointError
from dinoport.formats.opening import open_checkpoint
from dinoport.formats.storage import summed_storages

ARRAYS = {
    "cls_token": np.arange(24, dtype=np.float32).reshape(1, 1, 24),
    "norm.weight": np.arange(7, dtype=">f4") + 0.5,
    "blocks.0.fc": np.asfortranarray(np.arange(60, dtype=np.float64).reshape(3, 4, 5) + 100),
    "half": np.arange(6, dtype=np.float16).reshape(2, 3) + 7,
    "step": np.array(12, dtype=np.int64),
    "none": np.zeros((0, 4), dtype=np.float32),
}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_every_array_is_read_as_numpy_reads_it(tmp_path: Path, save) -> None:
    save(tmp_path / "f.npz", **ARRAYS)
    with open_checkpoint(tmp_path / "f.npz") as checkpoint:
        assert checkpoint.format == "NumPy .npz file"
        assert list(checkpoint.tensors) == list(ARRAYS)
        for name, tensor in checkpoint.tensors.items():
            found = tensor.read()
            assert found.dtype == ARRAYS[name].dtype.newbyteorder("=")
            assert np.array_equal(found, ARRAYS[name]), name
        parts = [*checkpoint.tensors["blocks.0.fc"].blocks(50, 60), *checkpoint.tensors["blocks.0.fc"].blocks(3, 9)]
        assert np.concatenate(parts).tolist() == [*range(150, 160), *range(103, 109)]
        for storage in summed_storages(checkpoint.tensors.values()):
            storage.check()


def read_all(path: Path) -> None:
    with open_checkpoint(path) as checkpoint:
        for tensor in checkpoint.tensors.values():
            tensor.read()
        for storage in summed_storages(checkpoint.tensors.values()):
            storage.check()


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        read_all(path)
    return str(caught.value).replace(str(path), "FILE")


def archive(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path


def npy(array: np.ndarray, **changes: bytes) -> bytes:
    """An array as NumPy writes it, with parts of its header replaced by others of the same length."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=False)
    data = buffer.getvalue()
    for before, after in changes.items():
        assert len(before) == len(after)
        assert before.encode() in data
        data = data.replace(before.encode(), after)
    return data


FOUR = np.arange(4, dtype=np.float32)


def test_pickled_objects_are_refused_unread(tmp_path: Path) -> None:
    np.savez(tmp_path / "f.npz", state=np.array({"cls_token": FOUR}, dtype=object))
    assert refusal(tmp_path / "f.npz") == (
        "FILE holds state in a form that is not read\n"
        "  expected: arrays of numbers\n"
        "  found: dtype '|O': pickled objects\n"
        "  likely cause: a dict or a list that was saved as an array, which NumPy pickles\n"
        "  try: save the arrays one by one: numpy.savez(FILE, **{name: array}), as float32"
    )


def test_bytes_without_a_dtype_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "f.npz", state=np.zeros(3, dtype="V2"))
    assert "found: dtype '|V2': bytes without a dtype\n" in refusal(tmp_path / "f.npz")


@pytest.mark.parametrize(
    ("members", "found"),
    [
        ({"a.npy": npy(FOUR), "readme.txt": b"hello"}, "'readme.txt', which is not an array"),
        ({"a.npy": b"\x93NUMPX\1\0" + npy(FOUR)[8:]}, "a.npy, which does not begin as an array"),
        ({"a.npy": npy(FOUR)[:9]}, "a.npy, which does not begin as an array"),
        ({"a.npy": npy(FOUR)[:8] + struct.pack("<H", 60_000) + npy(FOUR)[10:]}, "with a header of 60000 bytes"),
        ({"a.npy": npy(FOUR)[:-4]}, "a: shape (4,) of <f4 in 12 bytes"),
        ({"a.npy": npy(FOUR) + b"more"}, "a: shape (4,) of <f4 in 20 bytes"),
        ({"a.npy": npy(FOUR, **{"(4,)": b"(9,)"})}, "a: shape (9,) of <f4 in 16 bytes"),
        ({"a.npy": npy(FOUR, **{"(4,)": b"(-4)"})}, "a: b\"{'descr'"),
        ({"a.npy": npy(np.zeros(2, dtype=[("x", "<f4")]))}, "a: b\"{'descr': [("),
    ],
)
def test_what_numpy_does_not_write_is_refused(tmp_path: Path, members: dict[str, bytes], found: str) -> None:
    message = refusal(archive(tmp_path / "f.npz", members))
    assert message.startswith("FILE is not a sound .npz file\n")
    assert found in message


def test_names_that_leave_the_archive_are_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "f.npz", {"a.npy": npy(FOUR), "../b.npy": npy(FOUR)})
    assert "a record that reaches outside the archive: ../b.npy" in refusal(path)


def test_nothing_is_unpacked_of_a_bomb(tmp_path: Path) -> None:
    bomb = npy(np.zeros(20_000_000, dtype=np.float32))
    path = archive(tmp_path / "f.npz", {"a.npy": bomb}, zipfile.ZIP_DEFLATED)
    assert f"found: {len(bomb)} bytes, packed into {path.stat().st_size}\n" in refusal(path)


def test_a_flipped_bit_is_told_by_the_checksum_or_by_the_stream(tmp_path: Path) -> None:
    whole = archive(tmp_path / "f.npz", {"a.npy": npy(np.arange(2000, dtype=np.float32))}).read_bytes()
    (tmp_path / "f.npz").write_bytes(whole[:4000] + bytes([whole[4000] ^ 1]) + whole[4001:])
    assert refusal(tmp_path / "f.npz").startswith("FILE is damaged: a checksum does not hold\n  where: a.npy\n")
    method = zipfile.ZIP_DEFLATED
    packed = archive(tmp_path / "g.npz", {"a.npy": npy(np.arange(2000, dtype=np.float32))}, method).read_bytes()
    for place in range(60, len(packed) - 200, 40):
        (tmp_path / "g.npz").write_bytes(packed[:place] + bytes([packed[place] ^ 4]) + packed[place + 1 :])
        refusal(tmp_path / "g.npz")


def test_a_record_that_unpacks_to_less_than_it_says_is_refused(tmp_path: Path) -> None:
    short = npy(np.arange(2001, dtype=np.float32))[:-4]
    packed = archive(tmp_path / "f.npz", {"a.npy": short}, zipfile.ZIP_DEFLATED).read_bytes()
    told, lies = struct.pack("<I", len(short)), struct.pack("<I", len(short) + 4)
    (tmp_path / "f.npz").write_bytes(packed.replace(told, lies))
    assert refusal(tmp_path / "f.npz") == (
        "FILE is damaged: a record cannot be unpacked\n"
        "  where: a.npy\n"
        f"  found: {len(short)} bytes, where the directory says {len(short) + 4}\n"
        "  likely cause: a download or a copy that broke off, or a flipped bit\n"
        "  try: fetch the file again from where it came"
    )

"""Opening reads what is needed to know names, shapes and places: no values, no torch, in no time."""

import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np

from dinoport.finding.unwrap import state_dicts
from dinoport.formats.opening import open_checkpoint
from tests.formats.memory import Memory
from tests.fuzz.seeds import TENSOR

MAX_SECONDS = 1.0

VIT_B = 12, 768, 3072
VIT_7B = 40, 4096, 8192
"""Depth, width, width of the MLP."""


def shapes(depth: int, width: int, hidden: int) -> dict[str, tuple[int, int]]:
    """A ViT's tensors by name, as if each had two axes; those of DINOv3's 7B have a SwiGLU."""
    block = {
        "norm1.weight": (1, width), "attn.qkv.weight": (3 * width, width), "attn.proj.weight": (width, width),
        "ls1.gamma": (1, width), "norm2.weight": (1, width), "mlp.w1.weight": (hidden, width),
        "mlp.w2.weight": (hidden, width), "mlp.w3.weight": (width, hidden), "ls2.gamma": (1, width),
    }  # fmt: skip
    return {f"blocks.{n}.{name}": shape for n in range(depth) for name, shape in block.items()}


def write_sparse(path: Path, branches: tuple[str, ...], tensors: dict[str, tuple[int, int]]) -> int:
    """A torch file with the right directory and pickle and holes for values; returns its size in bytes."""
    entries, records = [], {}
    for branch in branches:
        inner = []
        for name, (rows, columns) in tensors.items():
            key = str(len(records))
            records[f"archive/data/{key}"] = rows * columns * 4
            inner.append(text(f"backbone.{name}") + tensor(key, rows, columns))
        entries.append(text(branch) + b"}(" + b"".join(inner) + b"u")
    pickled = b"\x80\2}(" + b"".join(entries) + b"u."
    with path.open("wb") as file:
        directory = []
        small = {"archive/data.pkl": pickled, "archive/version": b"3"}
        for name, size in {**{name: len(data) for name, data in small.items()}, **records}.items():
            data = small.get(name, b"")
            directory.append(entry(name, zlib.crc32(data), size, file.tell()))
            file.write(
                struct.pack("<4s5H3I2H", b"PK\3\4", 45, 0, 0, 0, 0, 0, 0, 0, len(name), 0) + name.encode() + data
            )
            file.seek(size - len(data), 1)
        offset, listed = file.tell(), b"".join(directory)
        count = len(directory)
        file.write(listed)
        file.write(struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, len(listed), offset))
        file.write(struct.pack("<4sIQI", b"PK\6\7", 0, offset + len(listed), 1))
        file.write(struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, count, count, len(listed), 2**32 - 1, 0))
    return path.stat().st_size


def entry(name: str, crc32: int, size: int, offset: int) -> bytes:
    extra = struct.pack("<2H3Q", 1, 24, size, size, offset)
    full = 2**32 - 1
    head = struct.pack(
        "<4s6H3I5H2I", b"PK\1\2", 45, 45, 0, 0, 0, 0, crc32, full, full, len(name), len(extra), 0, 0, 0, 0, full
    )
    return head + name.encode() + extra


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def integer(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def tensor(key: str, rows: int, columns: int) -> bytes:
    shape = integer(rows) + integer(columns) + b"\x86" + integer(columns) + b"K\1\x86"
    made = TENSOR.replace(b"X\1\0\0\0%b", text(key)).replace(b"K%btQ", integer(rows * columns) + b"tQ")
    return made.replace(b"K%bK\x04\x86K\x04K\x01\x86", shape)


def best(action, times: int = 5) -> float:
    """Seconds of this process, so that others on the machine do not count."""
    seconds = []
    for _ in range(times):
        begin = time.process_time()
        action()
        seconds.append(time.process_time() - begin)
    return min(seconds)


def test_a_vit_b_with_teacher_and_student(tmp_path):
    path = tmp_path / "checkpoint.pth"
    assert write_sparse(path, ("teacher", "student"), shapes(*VIT_B)) > 600_000_000

    def index() -> None:
        with open_checkpoint(path) as checkpoint:
            assert [len(state.tensors) for state in state_dicts(checkpoint)] == [108, 108]

    assert best(index) < 0.2  # a few milliseconds where nothing else runs


def test_a_training_checkpoint_of_a_7b_model(tmp_path):
    path = tmp_path / "checkpoint.pth"
    branches = ("student", "teacher", "model_ema", "exp_avg", "exp_avg_sq")
    assert write_sparse(path, branches, shapes(*VIT_7B)) > 100_000_000_000

    def index() -> None:
        with open_checkpoint(path) as checkpoint:
            assert len(state_dicts(checkpoint)) == len(branches)

    assert best(index, 3) < MAX_SECONDS
    with open_checkpoint(path) as checkpoint:
        last = list(state_dicts(checkpoint)[0].tensors.values())[-1]
        assert not np.concatenate(list(last.blocks())).any()


def test_few_bytes_of_a_file_are_read(tmp_path, monkeypatch):
    """The start, the end, and the pickle: what a remote file costs to be indexed."""
    path = tmp_path / "checkpoint.pth"
    write_sparse(path, ("teacher",), shapes(*VIT_B))
    reads: list[int] = []
    from dinoport.files.byte_sources import LocalFile

    whole = LocalFile.read
    monkeypatch.setattr(LocalFile, "read", lambda self, offset, size: reads.append(size) or whole(self, offset, size))
    open_checkpoint(path).close()
    assert len(reads) <= 6
    assert sum(reads) < 200_000


def test_no_torch_is_imported(tmp_path):
    path = tmp_path / "checkpoint.pth"
    write_sparse(path, ("teacher",), shapes(*VIT_B))
    script = (
        "import sys; from pathlib import Path; from dinoport.formats.opening import open_checkpoint; "
        f"open_checkpoint(Path({str(path)!r})).close(); print('torch' in sys.modules, 'transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"


def test_the_sparse_writer_writes_what_is_read(tmp_path):
    path = tmp_path / "a.pth"
    write_sparse(path, ("teacher",), {"a": (2, 3)})
    with open_checkpoint(path) as checkpoint:
        assert checkpoint.tree["teacher"]["backbone.a"].read().tolist() == [[0.0] * 3] * 2
    assert Memory(path.read_bytes()).size_bytes == path.stat().st_size

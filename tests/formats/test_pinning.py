"""What of a source is hashed: all but the tensors that are compared, and every byte of that."""

import hashlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from dinoport.api import convert, verify
from dinoport.errors import CheckpointError, DinoportError
from dinoport.files import byte_sources
from dinoport.files.byte_sources import ByteRange, ByteSource, LocalFile
from dinoport.formats import pinning as module
from dinoport.formats.pinning import SourceFile, pinning
from dinoport.formats.storage import Storage
from dinoport.formats.values import stored_tensor
from dinoport.tensor import TensorRef
from tests import formula, tiny

FLOAT32 = np.dtype(np.float32)


@pytest.fixture
def source(tmp_path) -> Iterator[LocalFile]:
    """400 bytes, no two words of which are alike."""
    (tmp_path / "source").write_bytes(np.arange(100, dtype="<f4").tobytes())
    with closing(LocalFile(tmp_path / "source")) as file:
        yield file


def tensor(source: ByteSource, start: int, shape: tuple[int, ...], strides: tuple[int, ...] | None = None) -> TensorRef:
    """A float32 tensor in a storage that begins at byte 40 of the source."""
    storage = Storage(source, "storage", source.size_bytes - 40, lambda: 40)
    strides = strides or tuple(int(np.prod(shape[axis + 1 :])) for axis in range(len(shape)))
    return stored_tensor("t", storage, FLOAT32, start, shape, strides)


def pin(source: ByteSource, *tensors: TensorRef) -> SourceFile:
    with pinning([source], tensors) as pinned:
        (found,) = pinned()
    return found


def expected(source: LocalFile, *kept: tuple[int, int]) -> SourceFile:
    """What is left of the file without the bytes of `kept`."""
    content = source.path.read_bytes()
    left = b"".join(content[i : i + 1] for i in range(len(content)) if not any(a <= i < b for a, b in kept))
    return SourceFile("source", len(content), len(left), hashlib.sha256(left).hexdigest())


def test_all_of_a_file_of_which_nothing_is_compared(source: LocalFile) -> None:
    assert pin(source) == expected(source)


def test_compared_tensors_are_left_out(source: LocalFile) -> None:
    first, second = tensor(source, 10, (2, 3)), tensor(source, 0, (4,))
    assert pin(source, first, second) == expected(source, (40, 56), (80, 104))


def test_tensors_that_overlap_or_touch(source: LocalFile) -> None:
    views = [tensor(source, 0, (10,)), tensor(source, 2, (2,)), tensor(source, 5, (10,)), tensor(source, 15, (75,))]
    assert pin(source, *views) == expected(source, (40, 400))
    assert pin(source, *views).other_bytes == 40


def test_scattered_and_empty_tensors_are_hashed(source: LocalFile) -> None:
    transposed, empty = tensor(source, 0, (3, 4), (1, 3)), tensor(source, 0, (0, 4))
    assert pin(source, transposed, empty) == expected(source)


def test_a_source_within_a_source(source: LocalFile) -> None:
    part = ByteRange(source, "part", 100, 200)
    assert pin(source, tensor(part, 3, (5,))) == expected(source, (152, 172))


def test_what_is_too_much_is_counted_and_not_hashed(source: LocalFile, monkeypatch) -> None:
    monkeypatch.setattr(module, "MAX_OTHER_BYTES", 300)
    assert pin(source) == SourceFile("source", 400, 400, None)
    assert pin(source, tensor(source, 0, (25,))) == expected(source, (40, 140))


def test_a_source_that_ends_too_early_is_an_error_where_the_result_is_wanted(source: LocalFile) -> None:
    source.path.write_bytes(b"short")
    with pytest.raises(CheckpointError, match="ends too early"):
        pin(source)


def test_a_block_that_fails_does_not_wait_for_the_hash(source: LocalFile, monkeypatch) -> None:
    monkeypatch.setattr(byte_sources, "BLOCK_BYTES", 1)
    reads = []
    monkeypatch.setattr(LocalFile, "readinto", lambda self, offset, buffer: reads.append(offset))
    with pytest.raises(KeyError), pinning([source] * 1000, []):
        raise KeyError
    assert len(reads) < 400_000


@pytest.mark.parametrize("ranks", [1, 3])
def test_a_distributed_checkpoint_is_pinned_whole(tmp_path, ranks: int) -> None:
    """Every flipped bit of every file is caught: of parts, of what lies between, of `.metadata`, of the optimizer."""
    torch = pytest.importorskip("torch")
    from tests.formats.distributed_folders import rows, write_folder

    state = {f"model.teacher.backbone.{name}": values for name, values in _state().items()}
    state["optimizer.cls_token.exp_avg"] = np.arange(8, dtype=np.float32)
    folder = write_folder(
        tmp_path / "dcp",
        {name: torch.from_numpy(values) for name, values in state.items()},
        lambda name, values: rows(values, ranks) if values.ndim else [()],
    )
    report = convert(folder, tmp_path / "out", tiny.REQUEST, level="exact")
    assert not verify(folder, tmp_path / "out", level="exact").verdict.failed
    assert sum(file.size_bytes - file.other_bytes for file in report.source.files) == report.proofs.exact.compared_bytes
    rng = np.random.default_rng(0)
    for file in sorted(folder.iterdir()):
        content = file.read_bytes()
        for bit in rng.choice(8 * len(content), 40, replace=False):
            changed = bytearray(content)
            changed[bit // 8] ^= 1 << bit % 8
            file.write_bytes(changed)
            assert _is_caught(folder, tmp_path / "out"), f"{file.name}, bit {bit}"
        file.write_bytes(content)
    assert not verify(folder, tmp_path / "out", level="exact").verdict.failed


def _state() -> dict[str, formula.Array]:
    return formula.state_dict(tiny.ARCHITECTURE.tensors())


def _is_caught(source: Path, folder: Path) -> bool:
    try:
        return verify(source, folder, level="exact").verdict.failed
    except DinoportError:
        return True

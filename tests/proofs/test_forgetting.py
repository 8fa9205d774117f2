"""What was compared while it was written, and does not fit in memory, makes room for what is written next."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dinoport import api
from dinoport.files.memory import total_bytes
from dinoport.formats.opening import open_checkpoint
from dinoport.formats.values import byte_ranges
from dinoport.work import proving
from tests import tiny


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch) -> dict[str, set[int]]:
    """The bytes that the system was told it need not keep, by the name of their file."""
    if not hasattr(os, "posix_fadvise"):
        pytest.skip("this system cannot be told")
    bytes_of: dict[str, set[int]] = defaultdict(set)

    def told(descriptor: int, begin: int, size: int, advice: int) -> None:
        assert advice == os.POSIX_FADV_DONTNEED
        bytes_of[Path(f"/proc/self/fd/{descriptor}").readlink().name].update(range(begin, begin + size))

    monkeypatch.setattr(os, "posix_fadvise", told)
    return bytes_of


def converted(folder: Path, source: Path) -> Path:
    api.convert(source, folder, tiny.REQUEST, level="exact", max_shard_bytes=2_000)
    return folder


def test_tensors_of_both_sides_that_were_compared_are_forgotten(tmp_path, monkeypatch, forgotten) -> None:
    monkeypatch.setattr(proving, "_stays_in_memory", lambda conversion: False)
    source = tiny.write(tmp_path / "source.pth")
    target = converted(tmp_path / "out", source)
    assert len(list(target.glob("*.safetensors"))) > 2
    gone = {name for place in (source, target) for name, whole in bytes_of_tensors(place) if whole(forgotten)}
    assert gone >= {"pos_embed", "blocks.0.mlp.fc1.weight", "norm.weight"}
    assert gone >= {"embeddings.position_embeddings", "encoder.layer.0.intermediate.dense.weight", "layernorm.weight"}
    assert not gone & tiny.DROPPED.keys()


def bytes_of_tensors(place: Path) -> Iterator[tuple[str, Callable[[dict[str, set[int]]], bool]]]:
    """Each tensor of a place, and what says whether all of its bytes are among those of the files."""
    with open_checkpoint(place) as checkpoint:
        for name, tensor in checkpoint.tensors.items():
            [(file, begin, end)] = byte_ranges(tensor.values)
            file_name = Path(file.where).name
            yield name, lambda found, own=range(begin, end), file_name=file_name: found[file_name].issuperset(own)


def test_what_stays_in_memory_is_left_there(tmp_path, forgotten) -> None:
    source = tiny.write(tmp_path / "source.pth")
    converted(tmp_path / "out", source)
    assert not forgotten


def test_a_file_that_is_larger_than_half_of_the_memory_does_not_stay(monkeypatch) -> None:
    checkpoint = type("Checkpoint", (), {"size_bytes": 500})
    conversion = type("Conversion", (), {"checkpoint": checkpoint})
    for memory_bytes, stays in ((1000, True), (999, False), (None, True)):
        monkeypatch.setattr(proving, "total_bytes", lambda found=memory_bytes: found)
        assert proving._stays_in_memory(conversion) == stays


def test_memory_is_what_the_machine_has_or_a_container_may_take(tmp_path, monkeypatch) -> None:
    sizes = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 100}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__)
    assert total_bytes(tmp_path) == 409_600
    (tmp_path / "memory.max").write_text("max\n")
    assert total_bytes(tmp_path) == 409_600
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("300000\n")
    assert total_bytes(tmp_path) == 300_000
    monkeypatch.delattr(os, "sysconf")
    (tmp_path / "memory" / "memory.limit_in_bytes").unlink()
    assert total_bytes(tmp_path) is None

"""A bit that flipped in the source, on the whole way: torch.load would not notice."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dinoport.api import convert, verify
from dinoport.errors import CheckpointError
from dinoport.formats.opening import open_checkpoint
from dinoport.proofs.verdict import Word
from dinoport.request import Request
from tests.command_line import DEMO

REQUEST = Request(num_heads=2)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return Path(shutil.copy(DEMO, tmp_path / "checkpoint.pth"))


def flip_a_bit_of_a_weight(path: Path) -> None:
    with open_checkpoint(path) as checkpoint:
        storage = checkpoint.tree["teacher"]["backbone.blocks.0.mlp.fc1.weight"].values.storage
        position = storage.offset_bytes + storage.size_bytes // 2
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("level", ["none", "exact"])
def test_a_conversion_refuses_it_and_leaves_nothing(source: Path, tmp_path: Path, level: str) -> None:
    flip_a_bit_of_a_weight(source)
    with pytest.raises(CheckpointError, match=r"checkpoint\.pth is damaged: a checksum does not hold"):
        convert(source, tmp_path / "out", REQUEST, level=level)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pth"]


def test_a_verification_finds_it(source: Path, tmp_path: Path) -> None:
    convert(source, tmp_path / "out", REQUEST, level="exact")
    flip_a_bit_of_a_weight(source)
    report = verify(source, tmp_path / "out", level="exact")
    assert report.verdict.word is Word.NOT_EQUAL
    assert any("a checksum does not hold" in failure for failure in report.verdict.failures)

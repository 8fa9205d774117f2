"""A bit that flipped in the source, on the whole way: torch.load would not notice."""

import shutil
from pathlib import Path

import pytest

from dinoport.api import convert, verify
from dinoport.errors import CheckpointError
from dinoport.formats.opening import open_checkpoint
from dinoport.proofs.verdict import Word
from dinoport.report.next_steps import next_steps
from dinoport.request import Request
from tests.command_line import DEMO

REQUEST = Request(num_heads=2)
FETCH_THE_SOURCE = "the folder is as it was written: fetch the source again, or give the file that was converted"


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
    said = report.verdict.failures[0]
    assert "checkpoint.pth is damaged: a checksum does not hold (checkpoint/data/" in said
    assert ", expected CRC-32 " in said
    assert "\\n" not in said
    assert next_steps(report)[0] == FETCH_THE_SOURCE


def test_a_safetensors_source_is_damaged_beside_an_intact_folder(source: Path, tmp_path: Path) -> None:
    convert(source, tmp_path / "first", REQUEST, level="exact")
    weights = tmp_path / "first" / "model.safetensors"
    shutil.copytree(tmp_path / "first", tmp_path / "second")
    convert(tmp_path / "second", tmp_path / "out", Request(to="original"), level="exact")
    data = bytearray(weights.read_bytes())
    data[-3] ^= 1
    (tmp_path / "second" / "model.safetensors").write_bytes(data)
    report = verify(tmp_path / "second", tmp_path / "out", level="exact")
    assert (report.verdict.word, next_steps(report)[0]) == (Word.NOT_EQUAL, FETCH_THE_SOURCE)


def test_a_folder_that_is_damaged_itself_is_what_to_fetch_again(source: Path, tmp_path: Path) -> None:
    convert(source, tmp_path / "out", REQUEST, level="exact")
    weights = tmp_path / "out" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-3] ^= 1
    weights.write_bytes(data)
    said = next_steps(verify(source, tmp_path / "out", level="exact"))[0]
    assert said.startswith("the weights are not those of the source: fetch the folder again")

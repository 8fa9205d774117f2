"""What a fleet takes for done: of the very source that it was made from, and of what lies beside it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dinoport import api
from dinoport.formats.torch.writer import write_torch_file
from tests import formula, tiny
from tests.writing.stub_tensors import tensor

HEADS = {"num_heads": 2, "level": "exact"}


def another(path: Path, like: Path) -> Path:
    """A checkpoint of another model with the size and the time of one: as two runs of one training are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shapes = {**tiny.ARCHITECTURE.tensors(), **tiny.DROPPED}
    values = {name: formula.tensor(f"another {name}", shape) for name, shape in shapes.items()}
    write_torch_file(path, [tensor(name, each, block=1 << 20) for name, each in values.items()])
    tiny.write(like)
    assert path.stat().st_size == like.stat().st_size
    return path


@pytest.mark.parametrize("place", ["another folder", "a link", "a folder's name"])
def test_another_source_under_the_name_of_one_that_was_done_is_not_there(tmp_path: Path, place: str) -> None:
    """One name, one size, and older than the folder: `checkpoint.pth` of two runs, named one after the other."""
    (tmp_path / "a").mkdir()
    other, source = tmp_path / "b" / "step.pth", tmp_path / "a" / "step.pth"
    another(other, source)
    link = tmp_path / "latest.pth"
    link.symlink_to(source)
    first = {"a link": link}.get(place, source)
    assert api.fleet([first], tmp_path / "out", **HEADS).counts == {"done": 1}
    assert api.fleet([first], tmp_path / "out", **HEADS).counts == {"there": 1}
    if place == "a link":
        link.unlink()
        link.symlink_to(other)
    elif place == "a folder's name":
        (tmp_path / "a").rename(tmp_path / "c")
        (tmp_path / "b").rename(tmp_path / "a")
    second = other if place == "another folder" else first
    assert api.fleet([second], tmp_path / "out", **HEADS).counts == {"not equal": 1}
    if place == "another folder":
        assert api.fleet([first], tmp_path / "out", **HEADS).counts == {"there": 1}


def test_labels_that_were_edited_are_looked_at_again(tmp_path: Path) -> None:
    source, labels = tiny.write(tmp_path / "step.pth"), tmp_path / "labels.json"
    head = tmp_path / "head.pth"
    names = {
        "linear.weight": formula.tensor("head", (3, tiny.ARCHITECTURE.width)),
        "linear.bias": formula.tensor("bias", (3,)),
    }
    write_torch_file(head, [tensor(name, each, block=1 << 20) for name, each in names.items()])
    labels.write_text('["cat", "dog", "hen"]')
    entry = {"source": str(source), "head": str(head), "labels": str(labels)}
    assert api.fleet([entry], tmp_path / "out", **HEADS).counts == {"done": 1}
    assert api.fleet([entry], tmp_path / "out", **HEADS).counts == {"there": 1}
    labels.write_text('["cat", "dog", "fox"]')
    os.utime(labels, ns=(1, 1))
    assert api.fleet([entry], tmp_path / "out", **HEADS).counts == {"not equal": 1}

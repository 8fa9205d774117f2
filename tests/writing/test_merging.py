"""Files into a folder that exists."""

import errno
from pathlib import Path

import pytest

from dinoport.errors import FolderError
from dinoport.writing.commit import publishing
from tests.error_text import error_text
from tests.writing.of_a_model import read, write


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_weights_in_one_file_do_not_hide_new_shards(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    write(out / "model.safetensors", "old")
    with publishing(out, merge=True) as workspace:
        for name in ("model.safetensors.index.json", "model-00001-of-00001.safetensors", "config.json"):
            write(workspace.path / name, "new")
    assert names(out) == {"model.safetensors.index.json", "model-00001-of-00001.safetensors", "config.json"}
    assert names(tmp_path) == {"out"}


def test_a_merge_that_fails_before_it_begins_changes_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    write(out / "config.json", "old")

    def fail() -> None:
        with publishing(out, merge=True) as workspace:
            write(workspace.path / "config.json", "new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert read(out / "config.json") == "old"
    assert names(tmp_path) == {"out"}


def test_a_disk_that_refuses_is_an_error_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    out.mkdir()

    def refuse(self: Path, target: Path) -> Path:
        raise OSError(errno.EIO, "Input/output error")

    def publish() -> None:
        with publishing(out, merge=True) as workspace:
            write(workspace.path / "config.json", "new")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(FolderError, match="out cannot be written: input/output error"):
        publish()
    assert names(tmp_path) == {"out"}


@pytest.mark.parametrize("name", ["adapter_config.json", "processor_config.json"])
def test_what_transformers_would_load_instead_is_refused(tmp_path: Path, name: str) -> None:
    """With an adapter's config `from_pretrained` takes the base that this names, and not the weights beside it."""
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text("{}")

    def publish(*names: str) -> None:
        with publishing(out, merge=True) as workspace:
            for each in names:
                write(workspace.path / each, "new")

    assert error_text(FolderError, lambda: publish("config.json", "model.safetensors")) == (
        f"{out} holds {name}, by which Transformers would load something else than what is written there\n"
        f"  where: {out / name}\n"
        f"  found: {name}\n"
        "  try: move it away, or choose another folder"
    )
    assert names(out) == {name}
    publish("dinoport.json")
    assert names(out) == {name, "dinoport.json"}


def test_the_image_processor_of_another_model_does_not_stay(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "preprocessor_config.json").write_text('{"image_processor_type": "BitImageProcessor"}')
    with publishing(out, merge=True) as workspace:
        write(workspace.path / "config.json", "new")
    assert names(out) == {"config.json"}

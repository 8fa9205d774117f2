"""--force deletes what dinoport or Transformers wrote, as it was written, and no more; a merge replaces no more."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dinoport.api import convert
from dinoport.errors import FolderError
from dinoport.writing.commit import publishing
from dinoport.writing.licence import LICENCES
from dinoport.writing.ownership import MAX_HASHED_BYTES, foreign
from tests import tiny
from tests.error_text import error_text

SAFETENSORS = b"\x08\0\0\0\0\0\0\0{      }"
CONFIG = b'{"model_type": "vit", "architectures": ["ViTModel"]}'


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders as they are written: whole, back, and by Transformers in shards."""
    root = tmp_path_factory.mktemp("written")
    source = tiny.write(root / "checkpoint.pth")
    convert(source, root / "whole", tiny.REQUEST, level="exact")
    convert(root / "whole", root / "back", to="original", level="exact")
    transformers = root / "transformers"
    transformers.mkdir()
    (transformers / "config.json").write_bytes(CONFIG)
    (transformers / "preprocessor_config.json").write_text('{"image_processor_type": "ViTImageProcessor"}')
    (transformers / "model-00001-of-00001.safetensors").write_bytes(SAFETENSORS)
    index = {"metadata": {}, "weight_map": {"a": "model-00001-of-00001.safetensors"}}
    (transformers / "model.safetensors.index.json").write_text(json.dumps(index))
    (transformers / ".gitattributes").write_text("*.bin filter=lfs diff=lfs merge=lfs -text\n")
    (transformers / ".DS_Store").write_bytes(b"\0\0\0\1Bud1 and more")
    return root


@pytest.fixture(params=["whole", "back", "transformers"])
def folder(request: pytest.FixtureRequest, written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written / request.param, tmp_path / "out"))


def replace(folder: Path) -> None:
    with publishing(folder, force=True) as workspace:
        (workspace.path / "new").touch()


def state(folder: Path) -> dict[str, object]:
    return {
        str(path): path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def test_a_folder_as_it_was_written_is_replaced(folder: Path) -> None:
    assert foreign(folder) == {}
    replace(folder)
    assert [path.name for path in folder.iterdir()] == ["new"]


def text(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def folder_with(name: str) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        path.mkdir()
        (path / name).write_bytes(CONFIG)

    return make


STRANGE: dict[str, Callable[[Path], object]] = {
    **dict.fromkeys(("notes.txt", "thesis.tex", "train.py", ".env", ".git-credentials", "model.ckpt"), text(b"mine")),
    **dict.fromkeys(("Config.json", "CONFIG.JSON", "config.json ", "config.json~", "config.json.orig"), text(CONFIG)),
    **dict.fromkeys(("model.safetensors.bak", "Model.safetensors", "model2.safetensors"), text(SAFETENSORS)),
    **dict.fromkeys(("model-00009-of-00009.safetensors", "pytorch_model-00001-of-00002.bin"), text(SAFETENSORS)),
    **dict.fromkeys(("adapter_model.safetensors", "optimizer.pt", "trainer_state.json"), text(SAFETENSORS)),
    **dict.fromkeys(("desktop.ini", "Thumbs.db", ".gitignore", "LICENCE", "README", "readme.md"), text(b"mine")),
    "runs": folder_with("events"),
    ".cache": folder_with("config.json"),
    "weights": folder_with("model.safetensors"),
    "link": lambda path: path.symlink_to("config.json"),
    "nowhere": lambda path: path.symlink_to("gone"),
    "a\n\x1b[2Jb": text(b"mine"),
}
if hasattr(os, "mkfifo"):
    STRANGE["pipe"] = os.mkfifo


@pytest.mark.parametrize("name", STRANGE)
def test_whatever_else_is_in_it_stops_that_and_is_named(folder: Path, name: str) -> None:
    STRANGE[name](folder / name)
    if not (folder / name).is_fifo():
        before = state(folder.parent)
    with pytest.raises(FolderError) as caught:
        replace(folder)
    shown = name.replace("\n", "\\n").replace("\x1b", "\\x1b")
    kind = " (a link)" if (folder / name).is_symlink() else "/" if (folder / name).is_dir() else ""
    kind = " (no file)" if (folder / name).is_fifo() else kind
    assert str(caught.value) == (
        f"{folder} holds what neither dinoport nor Transformers wrote, and `force` would delete it\n"
        f"  where: {folder}\n"
        "  expected: an empty folder, or the files of a model as they were written and nothing else\n"
        f"  found: {shown}{kind}\n"
        "  try: choose another name, or move or delete what is in there yourself"
    )
    assert (folder / name).is_fifo() or state(folder.parent) == before


OTHERS = (
    b"", b"mine", b"{}", b'{"auths": {}}', b"[]", b'{"model_type": "vit"}', b'{"version": 1, "files": []}', b"\xff",
)  # fmt: skip


@pytest.mark.parametrize("content", OTHERS)
def test_a_file_of_the_same_name_and_other_content_stops_it_too(written: Path, tmp_path: Path, content: bytes) -> None:
    """Every file of every folder in turn: other programs have a config.json too, and people write in a card."""
    for origin in ("whole", "back", "transformers"):
        for file in sorted((written / origin).iterdir()):
            out = Path(shutil.copytree(written / origin, tmp_path / f"{origin}-{file.name}"))
            (out / file.name).write_bytes(content)
            if file.name == ".gitattributes" and not content:
                continue  # an empty one holds nothing of anybody
            with pytest.raises(FolderError, match="neither dinoport nor Transformers wrote"):
                replace(out)
            assert (out / file.name).read_bytes() == content


@pytest.mark.parametrize("content", OTHERS)
def test_a_folder_of_another_program_is_none_of_a_model(tmp_path: Path, content: bytes) -> None:
    for name in ("config.json", "dinoport.json", "preprocessor_config.json", "model.safetensors", "README.md"):
        out = tmp_path / name.partition(".")[0]
        out.mkdir()
        (out / name).write_bytes(content)
        with pytest.raises(FolderError, match=f"found: {name}"):
            replace(out)


def test_a_file_in_the_place_of_a_linked_one_is_not_followed(written: Path, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors", "dinoport.json", "README.md"):
        out = Path(shutil.copytree(written / "whole", tmp_path / f"out-{name}"))
        shutil.move(out / name, tmp_path / name)
        (out / name).symlink_to(tmp_path / name)
        with pytest.raises(FolderError, match=rf"{name} \(a link\)"):
            replace(out)


def test_what_transformers_saved_over_it_may_be_replaced(written: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(written / "whole", tmp_path / "out"))
    (out / "config.json").write_bytes(CONFIG)
    (out / "model.safetensors").write_bytes(SAFETENSORS)
    assert foreign(out) == {}
    (out / "README.md").write_text((out / "README.md").read_text() + "\nWhat I found out in three weeks: …\n")
    assert foreign(out) == {"README.md": "README.md"}


def test_licences_are_known_by_their_text(written: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(written / "transformers", tmp_path / "out"))
    for licence in (each for each in LICENCES.values() if each.text):
        (out / licence.file_name).write_text(licence.content)
    assert foreign(out) == {}
    (out / "LICENSE").write_text("All rights reserved")
    assert foreign(out) == {"LICENSE": "LICENSE"}


def test_large_files_are_told_by_their_size(written: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(written / "back", tmp_path / "out"))
    report = json.loads((out / "dinoport.json").read_text())
    with (out / "checkpoint.pth").open("r+b") as file:
        file.truncate(MAX_HASHED_BYTES + 1)
    assert foreign(out) == {"checkpoint.pth": "checkpoint.pth"}
    report["files"][0]["size_bytes"] = MAX_HASHED_BYTES + 1
    (out / "dinoport.json").write_text(json.dumps(report))
    assert foreign(out) == {}


def test_what_is_written_into_it_meanwhile_is_kept(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Path(shutil.copytree(written / "whole", tmp_path / "out"))
    rename, here = Path.rename, iter([True])

    def late(path: Path, target: Path) -> Path:
        if path == out and next(here, False):
            (path / "notes.txt").write_text("mine")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", late)
    with pytest.raises(FolderError, match=r"found: notes\.txt"):
        replace(out)
    assert (out / "notes.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    "name", ["config.json", "preprocessor_config.json", "README.md", "dinoport.json", "extra.json"]
)
@pytest.mark.parametrize("link", [False, True])
def test_a_merge_replaces_no_file_of_another_program(tmp_path: Path, name: str, link: bool) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "elsewhere").write_text("mine")
    (out / name).symlink_to("../elsewhere") if link else (out / name).write_text("mine")

    def merge() -> None:
        with publishing(out, merge=True) as workspace:
            for made in ("config.json", name):
                (workspace.path / made).write_bytes(CONFIG)

    assert error_text(FolderError, lambda: merge()) == (
        f"{name} in {out} would be replaced, and neither dinoport nor Transformers wrote it\n"
        f"  where: {out / name}\n"
        f"  found: {name}\n"
        "  try: remove it, or choose another folder"
    )
    assert [path.name for path in out.iterdir()] == [name]
    assert (out / name).read_text() == "mine"


def test_a_merge_that_was_cut_short_anywhere_is_done_again(written: Path, tmp_path: Path) -> None:
    """Each file may be the old run's or the new one's, and the config may be gone."""
    for old in ("whole", "transformers"):
        for cut in range(5):
            out = Path(shutil.copytree(written / old, tmp_path / f"{old}{cut}"))
            with publishing(tmp_path / "made") as workspace:
                shutil.copytree(written / "whole", workspace.path, dirs_exist_ok=True)
            (out / "config.json").unlink()
            for file in sorted((tmp_path / "made").iterdir())[:cut]:
                file.replace(out / file.name)
            shutil.rmtree(tmp_path / "made")
            with publishing(out, merge=True) as workspace:
                shutil.copytree(written / "whole", workspace.path, dirs_exist_ok=True)
            assert (out / "config.json").read_bytes() == (written / "whole" / "config.json").read_bytes()

"""Links of a folder that may be a stranger's: those of caches are followed, those that lead elsewhere are not."""

import json
import os
from pathlib import Path

import pytest

from dinoport.api import convert, verify
from dinoport.errors import CheckpointError, UnsafeCheckpointError
from dinoport.files.folders import refuse_leaving
from dinoport.formats.opening import open_checkpoint
from dinoport.formats.run_config import find_run_config
from dinoport.proofs.known_folder import known_folder
from tests import tiny
from tests.error_text import error_text

FILES = ("config.json", "model.safetensors", "dinoport.json", "preprocessor_config.json", "README.md")


@pytest.fixture
def made(tmp_path) -> tuple[Path, Path]:
    source = tiny.write(tmp_path / "checkpoint.pth")
    convert(source, tmp_path / "out", tiny.REQUEST, level="exact")
    return source, tmp_path / "out"


def move(file: Path, to: Path, link: str | Path | None = None) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    file.rename(to)
    file.symlink_to(link or to)


def test_the_cache_of_hugging_face(made, tmp_path):
    source, folder = made
    snapshot = tmp_path / "models--a--b" / "snapshots" / "0123abc"
    snapshot.parent.mkdir(parents=True)
    folder.rename(snapshot)
    for name in FILES:
        move(snapshot / name, snapshot.parents[1] / "blobs" / f"hash-of-{name}", f"../../blobs/hash-of-{name}")
    assert not verify(source, snapshot, level="exact").verdict.failed
    (tmp_path / "shortcut").symlink_to(snapshot)
    assert not verify(source, tmp_path / "shortcut", level="exact").verdict.failed


def test_the_store_of_git_annex(made, tmp_path):
    source, folder = made
    move(folder / "model.safetensors", tmp_path / ".git/annex/objects/Kx/9j/SHA256E/SHA256E.safetensors")
    assert not verify(source, folder, level="exact").verdict.failed


def test_a_link_within_the_folder(made):
    source, folder = made
    move(folder / "model.safetensors", folder / "step-100" / "weights", "step-100/weights")
    assert not verify(source, folder, level="exact").verdict.failed


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "dinoport.json"])
def test_a_link_that_leaves_the_folder(made, tmp_path, name):
    source, folder = made
    move(folder / name, tmp_path / "private")
    assert error_text(UnsafeCheckpointError, lambda: verify(source, folder, level="exact")) == (
        f"{folder / name} is a link that leaves its folder\n"
        "  expected: a file in the folder itself, or in the cache that the folder belongs to\n"
        f"  found: a link to {tmp_path / 'private'}\n"
        "  likely cause: a link to save space, or a folder that was made to mislead\n"
        f"  try: if you know where it comes from: cp -rL {folder} COPY\n"
        "       then give COPY"
    )


def test_a_processor_and_a_listed_file_that_are_links_are_named(made, tmp_path):
    source, folder = made
    for name in ("preprocessor_config.json", "README.md"):
        move(folder / name, tmp_path / "private" / name)
    verdict = verify(source, folder, level="exact").verdict
    assert verdict.failures == (
        "preprocessor_config.json is missing or not a JSON object",
        f"{folder / 'preprocessor_config.json'} is a link that leaves its folder",
    )
    assert verdict.warnings == (f"{folder / 'README.md'} is a link that leaves its folder; no model is made of it",)


def test_what_was_converted_back_and_is_a_link(made, tmp_path):
    _, folder = made
    convert(folder, tmp_path / "back", to="original", level="exact")
    move(tmp_path / "back" / "checkpoint.pth", tmp_path / "private")
    with pytest.raises(UnsafeCheckpointError, match="is a link that leaves its folder"):
        verify(folder, tmp_path / "back", level="exact")


def test_a_cache_that_is_a_link_itself(tmp_path):
    snapshot = tmp_path / "snapshots" / "0123abc"
    snapshot.mkdir(parents=True)
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "file").write_text("{}")
    (tmp_path / "blobs").symlink_to("private")
    (snapshot / "config.json").symlink_to("../../blobs/file")
    with pytest.raises(CheckpointError, match="is a link that leaves its folder"):
        refuse_leaving(snapshot / "config.json", snapshot)


def test_a_shard_that_is_a_link(made, tmp_path):
    source, _ = made
    convert(source, tmp_path / "parts", tiny.REQUEST, level="exact", max_shard_bytes=2_000)
    shard = sorted((tmp_path / "parts").glob("model-*"))[1]
    move(shard, tmp_path / "private")
    with pytest.raises(CheckpointError, match="is a link that leaves its folder"):
        open_checkpoint(tmp_path / "parts")


def test_the_checkpoint_of_a_run_that_is_a_link(made, tmp_path):
    source, _ = made
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "latest.pth").symlink_to(source)
    with pytest.raises(CheckpointError, match="is a link that leaves its folder"):
        open_checkpoint(tmp_path / "run")
    with open_checkpoint(tmp_path / "run" / "latest.pth") as checkpoint:  # whose path the user gives
        assert checkpoint.format == "torch zip file"


def test_a_run_s_config_that_is_a_link(tmp_path):
    (tmp_path / "private.yaml").write_text("student: {arch: vit_small}\nteacher: {}\n")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").symlink_to(tmp_path / "private.yaml")
    config = find_run_config(tmp_path / "run" / "checkpoint.pth")
    assert config is not None
    assert (config.values, config.problem) == (
        {},
        f"{tmp_path / 'run' / 'config.yaml'} is a link that leaves its folder",
    )


@pytest.mark.skipif(not Path("/proc/self/pagemap").exists(), reason="no such file here")
def test_a_file_of_the_kernel_s_that_says_it_is_empty_is_not_read_on(tmp_path, monkeypatch):
    """Reading on would give terabytes."""
    monkeypatch.setattr("dinoport.formats.run_config.refuse_leaving", lambda path, folder: None)
    (tmp_path / "config.yaml").symlink_to("/proc/self/pagemap")
    config = find_run_config(tmp_path / "checkpoint.pth")
    assert config is not None
    assert config.problem == "it holds no settings"


@pytest.mark.parametrize("name", ["\0", "\ud800", "a" * 2000, "..", "", "x/y"])
def test_a_listed_name_that_no_file_can_have(made, name):
    source, folder = made
    document = json.loads((folder / "dinoport.json").read_text())
    document["files"][0]["name"] = name
    (folder / "dinoport.json").write_text(json.dumps(document))
    failures = verify(source, folder, level="exact").verdict.failures
    assert "dinoport.json names a file that cannot be in the folder" in failures


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize(
    ("make", "refusal"),
    [
        (os.mkfifo, "model.safetensors is not a regular file\n.*\n  found: a pipe"),
        (lambda path: path.symlink_to("/dev/zero"), "model.safetensors is a link that leaves its folder"),
    ],
    ids=["pipe", "device"],
)
def test_a_pipe_and_a_device_are_not_waited_for(made, make, refusal):
    _, folder = made
    (folder / "model.safetensors").unlink()
    make(folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=refusal):
        open_checkpoint(folder)


def test_names_of_a_folder_that_lead_out_of_it_are_not_given_to_transformers(made, tmp_path):
    """Whatever Transformers might look for there, it finds what was read and nothing else."""
    _, folder = made
    private = tmp_path / "private"
    private.write_text("{}")
    for name in (
        "config.4.0.0.json",
        "model.safetensors.index.json",
        "pytorch_model.bin",
        "tokenizer.json",
        "modeling.py",
    ):
        (folder / name).symlink_to(private)
    move(folder / "preprocessor_config.json", tmp_path / "elsewhere.json")
    with (
        open_checkpoint(folder) as checkpoint,
        known_folder(folder, checkpoint.config or {}, checkpoint.tensors) as known,
    ):
        given = {path.name: path.resolve() for path in known.iterdir()}
        assert given == {
            "config.json": known.resolve() / "config.json",
            "model.safetensors": folder.resolve() / "model.safetensors",
        }

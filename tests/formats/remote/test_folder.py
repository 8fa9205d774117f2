"""A distributed checkpoint at an address: its metadata, and the parts that are wanted."""

import threading
from pathlib import Path

import fsspec
import numpy as np
import pytest

from dinoport import api
from dinoport.errors import CheckpointError
from dinoport.formats.checkpoint import Checkpoint
from dinoport.formats.opening import open_checkpoint
from dinoport.formats.remote.opening import open_remote
from dinoport.formats.values import announce
from dinoport.tensor import TensorRef
from tests.error_text import error_text
from tests.goldens import FOLDER
from tests.http_server import NO_SUCH_FILE, Handler, Site, breaks_after, status

LOCAL = FOLDER / "dinov3" / "dcp" / "teacher_2rank_t27"
FILES = {path.name: path.read_bytes() for path in LOCAL.iterdir()}


@pytest.fixture(autouse=True)
def offer(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site.files |= {f"ckpt/27/{name}": data for name, data in FILES.items()}
    monkeypatch.setenv("DINOPORT_CACHE", str(tmp_path / "cache"))


def tensors(checkpoint: Checkpoint) -> dict[str, TensorRef]:
    assert isinstance(checkpoint.tree, dict)
    return {name: entry for name, entry in checkpoint.tree.items() if isinstance(entry, TensorRef)}


def test_every_tensor_is_that_of_the_folder(site: Site) -> None:
    with open_checkpoint(LOCAL) as local, open_remote(site.url("ckpt/27/")) as remote:
        assert (remote.where, remote.format) == (site.url("ckpt/27/"), local.format)
        asked = [path.removeprefix("/ckpt/27/") for path, _ in site.requests]
        parts = [name for name in FILES if name != ".metadata"]
        assert sorted(asked[:5]) == sorted(["config.json", *[".metadata"] * 2, *parts]), "one look at each part"
        assert asked[5:] == ["config.yaml", "/ckpt/config.yaml", "/config.yaml"]
        assert site.sent_bytes <= len(FILES[".metadata"]) + len(FILES) + 4 * len(NO_SUCH_FILE)
        announce(tensors(remote).values())
        assert tensors(remote).keys() == tensors(local).keys()
        for name, tensor in tensors(local).items():
            np.testing.assert_array_equal(tensors(remote)[name].read(), tensor.read())
        remote.check_unchanged()
    assert site.sent_bytes <= sum(map(len, FILES.values())) + 2 * len(FILES) + 4 * len(NO_SUCH_FILE)


def test_files_are_looked_at_together(site: Site) -> None:
    both = threading.Barrier(2)

    def meet(handler: Handler) -> bool:
        if handler.path.endswith(".distcp"):
            both.wait(5)
        return False

    site.always = meet
    open_remote(site.url("ckpt/27/")).close()
    assert not both.broken


def test_a_signed_address_goes_with_every_file(site: Site) -> None:
    open_remote(site.url("ckpt/27/?signature=secret")).close()
    assert {path.partition("?")[2] for path, _ in site.requests} == {"signature=secret"}


def test_a_conversion_from_a_folder_at_an_address(site: Site, tmp_path: Path) -> None:
    remote = api.convert(site.url("ckpt/27/"), tmp_path / "remote", level="exact")
    local = api.convert(LOCAL, tmp_path / "local", level="exact")
    assert remote.verdict.word == local.verdict.word
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("remote", "local")]
    assert weights[0] == weights[1]


def test_parts_that_break_off_are_continued(site: Site, tmp_path: Path, waits: list[float]) -> None:
    local = api.convert(LOCAL, tmp_path / "local", level="exact")
    turns = iter(range(1000))

    def stumble(handler: Handler) -> bool:
        if not handler.path.endswith(".distcp") or handler.headers["range"] == "bytes=0-0":
            return False
        return (breaks_after(5000) if next(turns) % 2 else status(503))(handler)

    site.always = lambda handler: len(waits) < 8 and stumble(handler)
    remote = api.convert(site.url("ckpt/27/"), tmp_path / "remote", level="exact")
    assert [file.sha256 for file in remote.files[:1]] == [file.sha256 for file in local.files[:1]]
    assert len(waits) == 8


@pytest.mark.parametrize("etags", [True, False])
def test_a_part_that_changes_meanwhile_is_not_published(site: Site, tmp_path: Path, etags: bool) -> None:
    site.etags = etags
    (part,) = [name for name in FILES if name.startswith("__1")]
    looks = iter(range(1000))

    def change(handler: Handler) -> bool:
        if handler.path.endswith(part) and next(looks) == 1:
            site.files[f"ckpt/27/{part}"] += b"more"
        return False

    site.always = change
    with pytest.raises(CheckpointError) as caught:
        api.convert(site.url("ckpt/27/"), tmp_path / "folder", level="exact")
    assert str(caught.value).startswith(f"{site.url(f'ckpt/27/{part}')} changed while it was read\n")
    assert list(tmp_path.glob("folder*")) == []


def test_files_that_are_missing_are_named(site: Site) -> None:
    (lost,) = [name for name in FILES if name.startswith("__1")]
    del site.files[f"ckpt/27/{lost}"]
    assert error_text(CheckpointError, lambda: open_remote(site.url("ckpt/27/"))).startswith(
        f"{site.url('ckpt/27/')} is incomplete: {lost} is missing\n"
        "  expected: the 2 files that .metadata names\n"
        "  found: 1 of them\n"
    )


def test_a_folder_without_metadata(site: Site) -> None:
    assert error_text(CheckpointError, lambda: open_remote(site.url("ckpt/"))) == (
        f"{site.url('ckpt/')} is not a folder that holds a checkpoint\n"
        "  expected: config.json with model.safetensors, or .metadata with .distcp files\n"
        "  found: neither of the two\n"
        f"  try: give the address of the checkpoint file: {site.url('ckpt/FILE')}"
    )


def test_a_folder_that_is_refused(site: Site) -> None:
    """What a bucket that may not be listed answers, whether a file is there or not."""
    site.script = [status(403), status(403)]
    with pytest.raises(CheckpointError) as caught:
        open_remote(site.url("ckpt/27/"))
    assert str(caught.value).startswith(f"{site.url('ckpt/27/config.json')} is refused\n  found: HTTP status 403\n")
    site.script = [status(403)]
    with open_remote(site.url("ckpt/27/")) as remote:
        assert remote.format == "distributed checkpoint"


def test_a_server_without_ranges(site: Site) -> None:
    site.ranges = False
    assert error_text(CheckpointError, lambda: open_remote(site.url("ckpt/27/"))) == (
        f"{site.url('ckpt/27/')} is on a server that gives no ranges\n"
        "  expected: a server that sends parts of files, as most do\n"
        "  found: the whole file, whatever part was asked for\n"
        "  try: download the folder, and give its path"
    )


def test_a_folder_in_a_store() -> None:
    store = fsspec.filesystem("memory")
    for name, data in FILES.items():
        store.pipe(f"/bucket/27/{name}", data)
    try:
        with open_remote("memory://bucket/27/") as remote, open_checkpoint(LOCAL) as local:
            name = next(iter(tensors(local)))
            np.testing.assert_array_equal(tensors(remote)[name].read(), tensors(local)[name].read())
    finally:
        store.rm("/bucket", recursive=True)

"""Checkpoints at addresses: web servers with and without ranges, and the Hub."""

from pathlib import Path

import numpy as np
import pytest

from dinoport.errors import CheckpointError
from dinoport.files.remote.hub import HubFile, hub_file
from dinoport.finding.unwrap import state_dicts
from dinoport.formats.remote.opening import open_remote
from dinoport.formats.values import announce
from tests.error_text import error_text
from tests.formats.remote.expected import DATA, same_tensors
from tests.goldens import FOLDER
from tests.http_server import NO_SUCH_FILE, Site, serving, status

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def caches(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site.files["run/checkpoint.pth"] = DATA
    monkeypatch.setenv("DINOPORT_CACHE", str(tmp_path / "cache"))


def test_an_index_takes_little_and_every_tensor_can_be_read(site: Site) -> None:
    with open_remote(site.url("run/checkpoint.pth")) as checkpoint:
        assert (checkpoint.where, checkpoint.format) == (site.url("run/checkpoint.pth"), "torch zip file")
        assert len(site.requests) <= 4
        assert same_tensors(checkpoint)
        checkpoint.check_unchanged()
    assert site.sent_bytes <= len(DATA) + 1


@pytest.mark.parametrize(("etags", "remarks"), [(True, 0), (False, 1)])
def test_a_server_that_tells_no_versions_apart(site: Site, etags: bool, remarks: int) -> None:
    site.etags = etags
    with open_remote(site.url("run/checkpoint.pth")) as checkpoint:
        assert checkpoint.remarks == remarks * (
            "the server tells no versions of a file apart, so a change to as many bytes would not have been noticed",
        )


def test_a_file_of_the_legacy_format(site: Site, tmp_path: Path) -> None:
    import torch

    values = {f"tensor{number}": torch.arange(300_000.0) + number for number in range(4)}
    torch.save(values, tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    site.files["legacy.pth"] = (tmp_path / "legacy.pth").read_bytes()
    with open_remote(site.url("legacy.pth")) as checkpoint:
        assert checkpoint.format == "torch file of the legacy format"
        index_bytes = 256 * 1024 + 8 * len(values) + len(NO_SUCH_FILE)
        assert site.sent_bytes <= index_bytes
        (state,) = state_dicts(checkpoint)
        announce([state.tensors["tensor2"]])
        np.testing.assert_array_equal(state.tensors["tensor2"].read(), values["tensor2"].numpy())
        assert site.sent_bytes <= index_bytes + 1_200_000 + 8


def test_a_server_without_ranges_gives_the_whole_file_once(site: Site, tmp_path: Path) -> None:
    site.ranges = False
    for _ in range(2):
        with open_remote(site.url("run/checkpoint.pth")) as checkpoint:
            assert same_tensors(checkpoint)
            assert checkpoint.where == site.url("run/checkpoint.pth")
            (remark,) = checkpoint.remarks
            assert remark.startswith("the server gives no ranges, so the whole file was downloaded into ")
            assert str(tmp_path / "cache" / "downloads") in remark
    assert len([1 for _ in tmp_path.glob("cache/downloads/*/checkpoint.pth")]) == 1
    asked = [path for path, _ in site.requests if path != "/run/config.yaml"]
    assert asked == ["/run/checkpoint.pth"] * 3, "a look, the download, and a look that finds the same version"


def test_the_own_cache_without_room(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.ranges = False
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("dinoport.files.remote.download.shutil.disk_usage", lambda path: usage)
    with pytest.raises(CheckpointError) as caught:
        open_remote(site.url("run/checkpoint.pth"))
    assert caught.value.next_step == "free some space, or set DINOPORT_CACHE to a folder on a larger disk"


@pytest.mark.parametrize(("path", "name"), [("a/...", "file"), ("a/b:c.pth", "b_c.pth"), ("a/" + "n" * 300, "n" * 100)])
def test_the_name_in_the_cache_is_a_file_name(site: Site, tmp_path: Path, path: str, name: str) -> None:
    site.ranges = False
    site.files[path] = DATA
    with open_remote(site.url(path)) as checkpoint:
        assert same_tensors(checkpoint)
    assert [found.name for found in tmp_path.glob("cache/downloads/*/*") if found.suffix != ".json"] == [name]


@pytest.mark.parametrize("source", ["hf://me:pw@x?token=SECRET", "hf://owner/repo/file?token=SECRET", "HF://a?SECRET"])
def test_half_an_address_of_the_hub_keeps_its_secrets(source: str) -> None:
    message = error_text(CheckpointError, lambda: open_remote(source))
    assert "does not name a file or a repository on the Hub" in message
    assert "SECRET" not in message
    assert "pw" not in message


def test_a_repository_that_cannot_be_one() -> None:
    assert error_text(CheckpointError, lambda: open_remote("hf://-own er/repo/file.pth")) == (
        "hf://-own er/repo/file.pth does not name a repository on the Hub\n"
        "  expected: an owner and a name, each of at most 96 letters, digits, '_', '-' and '.'; no '-' or '.' comes "
        "first, last or twice in a row, and the name does not end in '.git'\n"
        "  found: ' '\n"
        "  try: look up the repository's name on its page"
    )


def test_a_newer_version_is_downloaded_again(site: Site) -> None:
    site.ranges = False
    open_remote(site.url("run/checkpoint.pth")).close()
    site.files["run/checkpoint.pth"] = (FOLDER / "dino1" / "tiny32" / "linear_n4.pth.tar").read_bytes()
    with open_remote(site.url("run/checkpoint.pth")) as checkpoint:
        assert [sorted(state.tensors) for state in state_dicts(checkpoint)] == [["linear.bias", "linear.weight"]]


@pytest.mark.parametrize("ranges", [True, False])
def test_an_error_page_instead_of_a_file(site: Site, ranges: bool, tmp_path: Path) -> None:
    site.ranges = ranges
    site.files["run/checkpoint.pth"] = b"<html><body>Session expired</body></html>"
    message = error_text(CheckpointError, lambda: open_remote(site.url("run/checkpoint.pth")))
    assert message.startswith(site.url("run/checkpoint.pth"))
    assert "found: a web page: '<html><body>Session expired</body></html>'" in message
    assert not list(tmp_path.glob("cache/downloads/*/*"))


def test_a_file_that_is_refused(site: Site) -> None:
    site.script = [status(403)]
    assert error_text(CheckpointError, lambda: open_remote(site.url("run/checkpoint.pth?signature=secret"))) == (
        f"{site.url('run/checkpoint.pth')}?… is refused\n"
        "  found: HTTP status 403\n"
        "  likely cause: the file is private or gated, or the address has expired\n"
        "  try: open the address in a browser to see what the server says"
    )


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("hf://owner/repo/run/last.pth", HubFile("owner/repo", "run/last.pth", None, None)),
        ("hf://owner/repo@v1.0/last.pth", HubFile("owner/repo", "last.pth", None, "v1.0")),
        ("hf://datasets/owner/repo/last.pth", HubFile("owner/repo", "last.pth", "dataset", None)),
        ("https://huggingface.co/o/r/resolve/main/a%20b.pth", HubFile("o/r", "a b.pth", None, None)),
        ("https://huggingface.co/o/r/blob/v2/last.pth?download=true", HubFile("o/r", "last.pth", None, "v2")),
        ("https://huggingface.co/datasets/o/r/resolve/main/x.pth", HubFile("o/r", "x.pth", "dataset", None)),
        ("https://huggingface.co/o/r?library=timm", HubFile("o/r", "", None, None)),
        ("https://huggingface.co/o/r/tree/main/a", HubFile("o/r", "a/", None, None)),
        ("hf://owner/repo@refs%2Fpr%2F1", HubFile("owner/repo", "", None, "refs/pr/1")),
        ("https://huggingface.co/o/r/discussions", None),
        ("https://elsewhere.org/o/r/resolve/main/x.pth", None),
    ],
)
def test_what_an_address_names_on_the_hub(source: str, expected: HubFile | None) -> None:
    assert hub_file(source) == expected


@pytest.mark.parametrize("path", ["", "a b/100%.pth", "runs/"])
def test_what_is_shown_of_the_hub_leads_there_again(path: str) -> None:
    file = HubFile("owner/repo", path, "dataset", "refs/pr/1")
    assert hub_file(file.shown) == file


def test_half_an_address_on_the_hub() -> None:
    assert error_text(CheckpointError, lambda: hub_file("hf://owner")) == (
        "hf://owner does not name a file or a repository on the Hub\n"
        "  expected: hf://owner/repo, hf://owner/repo/file, or hf://owner/repo@revision/file\n"
        "  try: look up the file's name on the repository's page"
    )


@pytest.fixture
def hub(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """The Hub, on this machine."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", site.base)
    template = site.base + "/{repo_id}/resolve/{revision}/{filename}"
    for module in ("constants", "file_download"):
        monkeypatch.setattr(f"huggingface_hub.{module}.HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    return site


def test_the_token_goes_to_the_hub_and_nowhere_else(hub: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Site(files={"blob": DATA})) as store:
        hub.script = [status(302, Location=store.url("blob"))]
        with open_remote("hf://owner/repo/checkpoint.pth") as checkpoint:
            assert checkpoint.where == "hf://owner/repo/checkpoint.pth"
            assert same_tensors(checkpoint)
        names = [path.removeprefix("/owner/repo/resolve/main/") for path, _ in hub.requests]
        assert names == ["checkpoint.pth", "config.yaml"]
        assert hub.asked("authorization") == ["Bearer hf_secret"] * 2
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
        hub.script = [status(302, Location=store.url("blob"))]
        open_remote("hf://owner/repo/checkpoint.pth").close()
        assert hub.asked("authorization") == ["Bearer hf_secret"] * 2 + [None] * 2
        assert set(store.asked("authorization")) == {None}


def test_a_gated_file_on_the_hub(hub: Site) -> None:
    hub.script = [status(401)]
    assert error_text(CheckpointError, lambda: open_remote("hf://owner/repo@v1/checkpoint.pth")) == (
        "hf://owner/repo@v1/checkpoint.pth is refused\n"
        "  found: HTTP status 401\n"
        "  likely cause: the file is private or gated, or the address has expired\n"
        f"  try: look at {hub.base}/owner/repo: accept its terms if it has some, then `hf auth login`, or set HF_TOKEN"
    )
    assert [path for path, _ in hub.requests] == ["/owner/repo/resolve/v1/checkpoint.pth"]


@pytest.mark.parametrize("offline", [True, False])
def test_what_the_hub_has_cached_is_used(
    hub: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: bool
) -> None:
    snapshot = tmp_path / "hub" / "models--owner--repo" / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "checkpoint.pth").write_bytes(DATA)
    refs = tmp_path / "hub" / "models--owner--repo" / "refs"
    refs.mkdir()
    (refs / "main").write_text(COMMIT)
    for module in ("constants", "file_download"):
        monkeypatch.setattr(f"huggingface_hub.{module}.HF_HUB_CACHE", str(tmp_path / "hub"), raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
    source = "hf://owner/repo/checkpoint.pth" if offline else f"hf://owner/repo@{COMMIT}/checkpoint.pth"
    with open_remote(source) as checkpoint:
        assert same_tensors(checkpoint)
    assert hub.requests == []

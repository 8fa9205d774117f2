"""A repository of the Hub, or a folder at an address, as a folder of Transformers: by ranges, all of one commit."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import fsspec
import numpy as np
import pytest
from safetensors.numpy import save

from dinoport import api
from dinoport.errors import CheckpointError, SettingError
from dinoport.files.remote import fetching, patience
from dinoport.formats.checkpoint import Checkpoint
from dinoport.formats.opening import open_checkpoint
from dinoport.formats.remote import opening
from dinoport.formats.remote.opening import open_remote
from dinoport.formats.transformers_folder import READ_BESIDE
from dinoport.request import Request
from dinoport.tensor import TensorRef
from tests.error_text import error_text
from tests.families.test_timm import state as timm_state
from tests.goldens import FOLDER
from tests.http_server import Site, serving, status, then
from tests.hub import SIGNATURE, TOKEN, Hub, hub_at_home

TINY = FOLDER / "dino1" / "tiny32" / "checkpoint.pth"
REPO = "hf://owner/repo"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("made") / "folder"
    api.convert(TINY, made, Request(num_heads=2), level="exact")
    return made


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("made") / "sharded"
    api.convert(TINY, made, Request(num_heads=2), level="exact", max_shard_bytes=150_000)
    return made


def tensors_of(checkpoint: Checkpoint) -> dict[str, TensorRef]:
    return {name: tensor for name, tensor in checkpoint.tree.items() if isinstance(tensor, TensorRef)}


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(autouse=True)
def at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DINOPORT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(patience, "sleep", lambda seconds: None)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with hub_at_home(monkeypatch, tmp_path / "hub") as running:
        yield running


@pytest.mark.parametrize("name", READ_BESIDE)
def test_what_transformers_reads_beside_a_config(hub: Hub, folder: Path, tmp_path: Path, name: str) -> None:
    """An adapter there would be merged into the weights by whoever loads the repository, and was passed over here."""
    hub.commit("a", {**files_of(folder), name: b"{}"})
    with pytest.raises(SettingError, match=rf"found: {name} beside it"):
        api.convert(REPO, tmp_path / "out", to="original", level="exact")


@pytest.mark.parametrize("level", ["exact", "full"])
def test_the_way_back_from_a_repository(hub: Hub, folder: Path, tmp_path: Path, level: str) -> None:
    commit = hub.commit("a", files_of(folder))
    remote = api.convert(REPO, tmp_path / "remote", to="original", level=level)
    local = api.convert(folder, tmp_path / "local", to="original", level=level)
    assert str(remote.verdict) == str(local.verdict)
    assert [file.sha256 for file in remote.files] == [file.sha256 for file in local.files]
    assert remote.source.where == REPO
    assert f"{REPO} was read at its commit {commit}" in remote.remarks
    command = f"dinoport convert {REPO} {tmp_path / 'remote'} --to original"
    assert remote.command == (f"{command} --verify exact" if level == "exact" else command)
    assert hub.store.sent_bytes <= (folder / "model.safetensors").stat().st_size + 2
    assert str(api.verify(REPO, tmp_path / "remote", level=level).verdict) == str(local.verdict)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_disk_without_room_for_a_copy(
    hub: Hub, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.commit("a", files_of(folder))
    size_bytes = (folder / "model.safetensors").stat().st_size
    monkeypatch.setattr(opening.shutil, "disk_usage", lambda path: SimpleNamespace(free=size_bytes - 1))
    monkeypatch.setattr(fetching.Fetching, "ahead", lambda *given: None)
    assert error_text(CheckpointError, lambda: api.convert(REPO, tmp_path / "out", to="original")) == (
        f"{tmp_path / 'cache'} cannot hold a copy of {REPO}: {size_bytes} bytes are needed, {size_bytes - 1} are free\n"
        "  likely cause: Transformers, which the proof of the outputs runs, loads from disk alone\n"
        "  try: set DINOPORT_CACHE to a folder on a larger disk, or convert with `level='exact'`"
    )
    assert not (tmp_path / "out").exists()


def test_the_token_stays_with_the_hub_and_no_secret_is_written(hub: Hub, folder: Path, tmp_path: Path) -> None:
    hub.commit("a", files_of(folder))
    api.convert(REPO, tmp_path / "out", to="original", level="exact")
    assert set(hub.site.asked("authorization")) == {f"Bearer {TOKEN}"}
    assert set(hub.store.asked("authorization")) == {None}
    assert all(path.endswith(f"?{SIGNATURE}") for path, _ in hub.store.requests)
    for path in (tmp_path / "out").iterdir():
        assert not [secret for secret in (TOKEN, SIGNATURE) if secret.encode() in path.read_bytes()]


def test_an_inspection_reads_the_headers(hub: Hub, sharded: Path) -> None:
    hub.commit("a", files_of(sharded))
    found = api.inspect(REPO)
    assert (found.where, found.format, found.refusal) == (REPO, "folder of Transformers", None)
    assert hub.asked()[:3] == ["main/config.json", *hub.asked()[1:3]]
    with open_checkpoint(sharded) as local, open_remote(REPO) as remote:
        for name, tensor in tensors_of(local).items():
            np.testing.assert_array_equal(tensors_of(remote)[name].read(), tensor.read())


@pytest.mark.parametrize(
    ("address", "revision"),
    [
        (REPO, "main"),
        (f"{REPO}/", "main"),
        (f"{REPO}@v1.0", "v1.0"),
        ("hf://models/owner/repo", "main"),
        ("{base}/owner/repo", "main"),
        ("{base}/owner/repo/tree/v1.0", "v1.0"),
    ],
)
def test_ways_to_name_a_repository(hub: Hub, folder: Path, address: str, revision: str) -> None:
    commit = hub.commit("a", files_of(folder), revision)
    with open_remote(address.format(base=hub.site.base)) as checkpoint:
        assert checkpoint.config is not None
        assert checkpoint.remarks[-1].endswith(f" was read at its commit {commit}")
    assert hub.asked()[0] == f"{revision}/config.json"
    assert f"{commit}/model.safetensors" in hub.asked()


def test_a_folder_in_a_repository(hub: Hub, folder: Path) -> None:
    hub.commit("a", {f"runs/last/{name}": data for name, data in files_of(folder).items()})
    with open_remote(f"{REPO}/runs/last/") as checkpoint:
        assert len(tensors_of(checkpoint)) == 72


def test_a_branch_that_moves_on_does_not_mix_two_commits(hub: Hub, folder: Path, sharded: Path) -> None:
    first = hub.commit("a", files_of(sharded))
    hub.site.script = [then(lambda: None), then(lambda: hub.commit("b", files_of(folder)))]
    with open_remote(REPO) as checkpoint:
        assert len(checkpoint.sources) > 1
        assert checkpoint.remarks == (f"{REPO} was read at its commit {first}",)
    assert {path.partition("/")[0] for path in hub.asked() if path.endswith(".safetensors")} == {first}


def test_a_commit_that_was_asked_for_is_not_repeated(hub: Hub, folder: Path) -> None:
    commit = hub.commit("a", files_of(folder))
    with open_remote(f"{REPO}@{commit}") as checkpoint:
        assert checkpoint.remarks == ()


def test_a_repository_that_holds_a_distributed_checkpoint(hub: Hub) -> None:
    dcp = FOLDER / "dinov3" / "dcp" / "teacher_2rank_t27"
    commit = hub.commit("a", {path.name: path.read_bytes() for path in dcp.iterdir()})
    hub.site.always = hub.answer
    hub.site.files |= {}
    with pytest.raises(CheckpointError, match="on a server that gives no ranges"):
        open_remote(REPO)  # a name that this Hub does not keep in its store
    assert f"{commit}/.metadata" in hub.asked(), "what is absent tells the commit too"


def test_a_repository_without_a_checkpoint(hub: Hub) -> None:
    hub.commit("a", {"README.md": b"# nothing"})
    assert error_text(CheckpointError, lambda: open_remote(REPO)) == (
        "hf://owner/repo is not a folder that holds a checkpoint\n"
        "  expected: config.json with model.safetensors, or .metadata with .distcp files\n"
        "  found: neither of the two\n"
        f"  try: give the address of the checkpoint file: hf://owner/repo@{'a' * 40}/FILE"
    )


def test_a_config_without_weights(hub: Hub, folder: Path) -> None:
    hub.commit("a", {"config.json": files_of(folder)["config.json"], "model.pt": b"?"})
    with pytest.raises(CheckpointError) as caught:
        open_remote(REPO)
    assert caught.value.found == "config.json, and no weights"


def test_a_repository_that_is_gated_or_not_there(hub: Hub) -> None:
    assert error_text(CheckpointError, lambda: open_remote("hf://owner/typo")) == (
        "hf://owner/typo/config.json is refused\n"
        "  found: HTTP status 401\n"
        "  likely cause: the file is private or gated, or the address has expired\n"
        f"  try: look at {hub.site.base}/owner/typo: accept its terms if it has some, then `hf auth login`, "
        "or set HF_TOKEN"
    )


def test_a_shard_that_is_missing(hub: Hub, sharded: Path) -> None:
    files = files_of(sharded)
    lost = next(name for name in files if name.startswith("model-00002"))
    commit = hub.commit("a", {name: data for name, data in files.items() if name != lost})
    with pytest.raises(CheckpointError) as caught:
        open_remote(REPO)
    assert str(caught.value).startswith(f"hf://owner/repo@{commit}/{lost} does not exist\n  found: HTTP status 404\n")


def test_a_config_that_is_too_large(hub: Hub, folder: Path) -> None:
    commit = hub.commit("a", files_of(folder) | {"config.json": b" " * (16 * 1024 * 1024 + 1)})
    assert error_text(CheckpointError, lambda: open_remote(REPO)) == (
        "hf://owner/repo/config.json is not sound\n"
        "  found: more than the 16777216 bytes that are sound\n"
        "  likely cause: a download that broke off, or a file that was edited\n"
        "  try: fetch the folder again"
    )
    assert commit


def test_a_folder_of_transformers_is_not_converted_to_itself(hub: Hub, folder: Path, tmp_path: Path) -> None:
    hub.commit("a", files_of(folder))
    with pytest.raises(SettingError) as caught:
        api.convert(REPO, tmp_path / "out", level="exact")
    assert str(caught.value).startswith("hf://owner/repo is a folder of Transformers already\n")
    for target in ("original", "timm", "training"):
        assert f" `dinoport.convert('hf://owner/repo', FOLDER, to='{target}')`" in str(caught.value)


def test_a_repository_of_timm(hub: Hub, tmp_path: Path) -> None:
    """Its config.json is not one of Transformers, and its weights are an original under timm's names."""
    config = json.dumps({"architecture": "vit_small_patch14_dinov2", "num_classes": 0}).encode()
    commit = hub.commit("a", {"config.json": config, "model.safetensors": save(timm_state("dinov2"))})
    report = api.convert(REPO, tmp_path / "out", Request(num_heads=3), level="exact")
    assert report.source.where == REPO
    assert report.class_name == "Dinov2WithRegistersModel"  # which resamples as timm does
    assert f"{REPO} was read at its commit {commit}" in report.remarks
    again = api.verify(f"{REPO}@{commit}", tmp_path / "out", Request(num_heads=3), level="exact")
    assert not again.verdict.failed


def snapshot(tmp_path: Path, commit: str, files: dict[str, bytes]) -> None:
    """What huggingface_hub leaves of a download."""
    repo = tmp_path / "hub" / "models--owner--repo"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(commit)
    (repo / "snapshots" / commit).mkdir(parents=True)
    for name, data in files.items():
        (repo / "snapshots" / commit / name).write_bytes(data)


def test_offline_the_cache_is_all_there_is(
    hub: Hub, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert error_text(CheckpointError, lambda: open_remote(REPO)) == (
        "hf://owner/repo was not fetched: HF_HUB_OFFLINE is set\n"
        "  try: unset HF_HUB_OFFLINE, or fetch the file elsewhere and give its path"
    )
    snapshot(tmp_path, "a" * 40, files_of(folder))
    report = api.convert(REPO, tmp_path / "out", to="original", level="exact")
    assert report.source.where == REPO
    assert hub.site.requests == []


def test_what_is_cached_of_a_commit_is_not_fetched(hub: Hub, folder: Path, tmp_path: Path) -> None:
    commit = hub.commit("a", files_of(folder))
    snapshot(tmp_path, commit, {"model.safetensors": files_of(folder)["model.safetensors"]})
    with open_remote(REPO) as checkpoint:
        assert len(tensors_of(checkpoint)) == 72
    assert hub.store.requests == []


def test_a_folder_on_a_web_server(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with serving(Site(files={f"made/{name}": data for name, data in files_of(folder).items()})) as site:
        address = site.url("made/?sig=secret")
        report = api.convert(address, tmp_path / "out", to="original", level="exact")
        assert report.source.where == f"{site.url('made/')}?…"
        assert {path.partition("?")[2] for path, _ in site.requests} == {"sig=secret"}
        assert b"secret" not in (tmp_path / "out" / "dinoport.json").read_bytes()
        site.ranges = False
        with pytest.raises(CheckpointError, match="is on a server that gives no ranges"):
            open_remote(address)
        site.ranges, site.script = True, [status(403), status(403)]
        with pytest.raises(CheckpointError, match="is refused"):
            open_remote(address)


def test_a_folder_of_transformers_in_a_store(folder: Path, tmp_path: Path) -> None:
    store = fsspec.filesystem("memory")
    for name, data in files_of(folder).items():
        store.pipe(f"/bucket/made/{name}", data)
    try:
        with open_remote("memory://bucket/made/") as remote:
            assert remote.format == "folder of Transformers"
            assert len(tensors_of(remote)) == 72
        store.rm("/bucket/made/config.json")
        with pytest.raises(CheckpointError, match="is not a folder that holds a checkpoint"):
            open_remote("memory://bucket/made/")
    finally:
        store.rm("/bucket", recursive=True)

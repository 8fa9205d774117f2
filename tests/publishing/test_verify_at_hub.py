"""A folder on the Hub is proven like one on this machine; without a source it is held against its own report."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from dinoport import api
from dinoport.errors import CheckpointError, HubError, NotProvenError, SettingError, UsageError
from dinoport.files.remote.hub_errors import told
from dinoport.files.remote.repository import Repository
from dinoport.proofs.verdict import Word
from tests import tiny
from tests.command_line import Run
from tests.exports.cases import RECORDED
from tests.publishing.conftest import contents
from tests.publishing.store import Fault, Hub

REPO = "hf://owner/model"


@pytest.fixture
def source(proven: Path) -> Path:
    return proven.parents[1] / "runs" / "checkpoint.pth"


@pytest.fixture
def published(hub: Hub, proven: Path) -> Hub:
    api.publish(proven, "owner/model")
    hub.log.clear()
    return hub


def changed(hub: Hub, **files: bytes | None) -> str:
    """A further commit on the main branch, with other files: its name."""
    repo = json.loads(hub.file("owner/model").read_text())
    head = dict(repo["commits"][repo["refs"]["main"]]["files"])
    for name, content in files.items():
        name = name.replace("__", ".")
        head.pop(name, None)
        if content is not None:
            head[name] = _kept(hub, name, content)
    return hub.commit(repo, "main", repo["refs"]["main"], "changed", head)


def _kept(hub: Hub, name: str, content: bytes) -> dict[str, Any]:
    import hashlib

    if not name.endswith(".safetensors"):
        return hub.small(content)
    sha256 = hashlib.sha256(content).hexdigest()
    hub.object(sha256).write_bytes(content)
    return hub.large(sha256, len(content))


def flipped(content: bytes) -> bytes:
    return content[:-3] + bytes([content[-3] ^ 1]) + content[-2:]


@pytest.mark.parametrize("level", ["exact", "full"])
def test_a_repository_is_proven_against_its_source(published: Hub, source: Path, tmp_path: Path, level: str) -> None:
    report = api.verify(source, REPO, level=level)
    assert report.verdict.word is (Word.TRANSPORTED if level == "exact" else Word.EQUAL_EXCEPT)
    commit = json.loads(published.file("owner/model").read_text())["refs"]["main"]
    assert report.target == f"{REPO}@{commit}"
    assert str(tmp_path) not in json.dumps([report.target, report.remarks, report.command, report.usage])
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_revision_is_proven_whatever_happened_since(published: Hub, source: Path) -> None:
    old = json.loads(published.file("owner/model").read_text())["refs"]["main"]
    changed(published, config__json=b"{")
    assert api.verify(source, f"{REPO}@{old}", level="exact").verdict.word is Word.TRANSPORTED
    with pytest.raises(NotProvenError, match=r"^hf://owner/model@\w+ is damaged") as error:
        api.verify(source, REPO, level="exact")
    assert "folder-" not in str(error.value)


def test_a_bit_that_was_flipped_on_the_server(published: Hub, source: Path, run: Run) -> None:
    weights = flipped(contents(published)["model.safetensors"])
    changed(published, model__safetensors=weights)
    done = run("verify", source, REPO, "--verify", "exact", "--num-heads", "2")
    assert done.code == 3
    assert done.out.startswith("verdict     not equal")
    assert "of the two, the folder changed" in " ".join(done.out.split())


def test_a_bit_that_was_flipped_behind_the_servers_back(published: Hub, source: Path) -> None:
    """The Hub lists the right hash, and gives out other bytes: only a proof from the source sees that."""
    path = published.object(next(file.name for file in (published.root / "objects").iterdir() if len(file.name) == 64))
    path.write_bytes(flipped(path.read_bytes()))
    assert api.verify(REPO).word == "unchanged"
    assert api.verify(source, REPO, level="exact").verdict.word is Word.NOT_EQUAL


def test_a_file_that_no_conversion_writes(published: Hub, source: Path) -> None:
    changed(published, modeling__py=b"raise SystemExit")
    failures = api.verify(source, REPO, level="exact").verdict.failures
    assert any("modeling.py is in the folder" in failure for failure in failures)


def test_what_is_not_a_repository(published: Hub, source: Path, run: Run) -> None:
    for place in ("hf://datasets/owner/model", "hf://owner/model/"):
        if place.startswith("hf://datasets"):
            with pytest.raises(UsageError, match="is not a repository of models"):
                api.verify(source, place)
    with pytest.raises(HubError, match="owner/none does not exist, or is private"):
        api.verify(source, "hf://owner/none")
    with pytest.raises(HubError, match="owner/model has no revision nowhere"):
        api.verify(REPO + "@nowhere")
    with pytest.raises(UsageError, match="is an address, and FOLDER is on this machine"):
        api.verify(source, "https://host/model/")


def test_a_published_repository_is_unchanged(published: Hub, run: Run) -> None:
    done = run("verify", REPO)
    assert done.code == 0
    assert done.out.startswith("unchanged   hf://owner/model@")
    assert "\nclaims      transported exactly" in done.out
    assert "equal" not in done.out.replace("not equal", "").split("claims")[0]
    assert "nobody vouches for it" in done.out
    assert "\ntrusting    the Hub's listing" in done.out
    resolved, *others = [line["request"] for line in published.log]
    assert resolved == "GET /api/models/owner/model"
    assert len(others) == 2
    result = json.loads(run("verify", REPO, "--json").out)
    assert (result["word"], result["changes"], len(result["files"])) == ("unchanged", [], 5)


CHANGES: dict[str, dict[str, bytes | None]] = {
    "model.safetensors has another sha256 than dinoport.json says": {"model__safetensors": b"\0" * 6568},
    "model.safetensors is missing": {"model__safetensors": None},
    "config.json has another sha256 than dinoport.json says": {"config__json": b"x" * 570},
    "README.md has another size than dinoport.json says": {"README__md": b"mine"},
    "adapter_config.json is in the folder, and dinoport.json does not list it": {"adapter_config__json": b"{}"},
    "dinoport.json was changed since it was written": {"dinoport__json": b"{}"},
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changed_there_is_named(published: Hub, run: Run, change: str) -> None:
    changed(published, **CHANGES[change])
    done = run("verify", REPO)
    assert done.code == 3
    assert done.out.startswith("changed     hf://owner/model@")
    assert f"because     {change}" in " ".join(done.out.split()).replace("because ", "because     ")


def test_a_repository_that_something_else_put_there(hub: Hub, proven: Path) -> None:
    """Its report has no hashes of git's, so small files are read."""
    from huggingface_hub import HfApi

    HfApi().create_repo("owner/model")
    HfApi().upload_folder(folder_path=proven, repo_id="owner/model")
    assert api.verify(REPO).changes == ()
    changed(hub, config__json=(proven / "config.json").read_bytes().replace(b"gelu", b"relu"))
    assert api.verify(REPO).changes == ("config.json has another sha256 than dinoport.json says",)


def test_a_listing_that_is_not_of_what_is_given_out(published: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    report = contents(published)["dinoport.json"]
    oid = next(path for path in (published.root / "objects").iterdir() if path.read_bytes() == report)
    oid.write_bytes(report + b" ")
    assert "dinoport.json is not the file that the Hub lists" in api.verify(REPO).changes


def test_a_folder_here(proven: Path, tmp_path: Path, run: Run) -> None:
    folder = Path(shutil.copytree(proven, tmp_path / "copy"))
    done = run("verify", folder)
    assert done.code == 0
    assert done.out.startswith(f"unchanged   {folder}\n")
    assert "trusting" not in done.out
    (folder / "config.json").write_text("{}")
    done = run("verify", folder, "--json")
    assert done.code == 3
    assert json.loads(done.out)["changes"] == ["config.json has another sha256 than dinoport.json says"]


def test_without_a_report_there_is_nothing_to_say(hub: Hub, proven: Path, tmp_path: Path, run: Run) -> None:
    source = tiny.write(tmp_path / "checkpoint.pth")
    with pytest.raises(SettingError, match=r"checkpoint\.pth cannot .*: it is a file") as caught:
        api.verify(source)
    assert caught.value.next_step == f"`dinoport.verify({str(source)!r}, FOLDER)`"
    graph = shutil.copyfile(RECORDED / "vit-dynamo23.onnx", tmp_path / "graph")
    with pytest.raises(SettingError) as of_graph:  # which is no source
        api.verify(graph)
    assert of_graph.value.next_step == f"`dinoport.verify(SOURCE, {str(graph)!r})`"
    from huggingface_hub import HfApi

    HfApi().create_repo("owner/model")
    with pytest.raises(SettingError, match=r"^hf://owner/model@\w+ cannot .*: it has no dinoport\.json"):
        api.verify(REPO)
    for option in (("--num-heads", "2"), ("--verify", "exact"), ("--report", "a.json")):
        assert run("verify", proven, *option).code == 2


def test_a_server_that_stumbles(published: Hub, source: Path) -> None:
    published.faults.append(Fault("GET .*/resolve/", status=503))
    assert api.verify(REPO).word == "unchanged"
    published.faults.append(Fault("GET .*/resolve/.*/model", status=403))
    with pytest.raises(CheckpointError, match="is refused"):
        api.verify(source, REPO, level="exact")


def test_a_source_whose_path_means_nothing_is_called_as_the_user_says(source: Path, tmp_path: Path, run: Run) -> None:
    named = ("--verify", "exact", "--num-heads", "2", "--source-name", "run 7, epoch 100")
    assert run("convert", source, tmp_path / "named", *named).code == 0
    text = (tmp_path / "named" / "dinoport.json").read_text()
    assert json.loads(text)["source"]["where"] == "run 7, epoch 100"
    assert str(source) not in text
    done = run("verify", source, tmp_path / "named", "--verify", "exact")
    assert (done.code, "warning" in done.out) == (0, False)
    assert "\nsource      run 7, epoch 100\n" in run("verify", source, tmp_path / "named", *named).out


def test_a_fleet_takes_each_checkpoint_of_a_repository(hub: Hub, source: Path, published: Hub) -> None:
    from huggingface_hub import HfApi

    from dinoport.work.fleets.jobs import expanded

    HfApi().create_repo("owner/run")
    for name in ("ckpt/step20.pth", "ckpt/step9.pth", "log.txt"):
        HfApi().upload_file(path_or_fileobj=source, path_in_repo=name, repo_id="owner/run")
    found = expanded("hf://owner/run")
    commit = json.loads(hub.file("owner/run").read_text())["refs"]["main"]
    assert found == [f"hf://owner/run@{commit}/ckpt/step{step}.pth" for step in (9, 20)]
    assert expanded(REPO) == [REPO]
    assert expanded(f"{REPO}/model.safetensors") == [f"{REPO}/model.safetensors"]


def test_a_file_of_another_size_than_is_listed_is_not_fetched(published: Hub, source: Path) -> None:
    large = next(file for file in (published.root / "objects").iterdir() if len(file.name) == 64)
    large.write_bytes(large.read_bytes() + b"more")
    with pytest.raises(CheckpointError, match="are listed") as error:
        api.verify(source, REPO, level="exact")
    assert "6572 bytes, where 6568 are listed" in str(error.value)


def test_a_gated_repository(published: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = json.loads(published.file("owner/model").read_text())
    published.save({**repo, "gated": "auto"})
    monkeypatch.setenv("HF_TOKEN", "hf_guest")
    with pytest.raises(CheckpointError, match="is refused") as error:
        api.verify(REPO)
    assert "accept its terms" in str(error.value)


@pytest.mark.parametrize("package", ["httpx", "httpx2", "requests"])
def test_each_clients_own_errors_are_the_networks(published: Hub, package: str) -> None:
    error = type("ConnectError", (Exception,), {"__module__": f"{package}._exceptions"})("no route")
    found = told(Repository("owner/model", sends=True), error)
    assert str(found).startswith("the Hub cannot be reached for owner/model\n  found: ConnectError: no route\n")
    assert "what has arrived is not sent twice" in str(found)
    assert str(told(Repository("owner/model"), error)).endswith("try: run the same command again")
    assert told(Repository("owner/model"), ZeroDivisionError()) is None

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from dinoport import api
from dinoport.files.remote import patience
from dinoport.networks.vit.architecture import ViT
from tests import tiny
from tests.publishing import more  # noqa: F401  # adds its addresses to the server's
from tests.publishing.server import serving
from tests.publishing.store import Hub


@pytest.fixture(scope="session")
def proven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that was converted below a home folder of its own, by an absolute path."""
    home = tmp_path_factory.mktemp("home") / "ulrike"
    (home / "runs").mkdir(parents=True)
    source = tiny.write(home / "runs" / "checkpoint.pth")
    api.convert(source, home / "models" / "my-model", tiny.REQUEST, level="exact")
    return home / "models" / "my-model"


@pytest.fixture(scope="session")
def other(proven: Path) -> Path:
    """Another model, which is called alike."""
    source = tiny.write(proven.parents[1] / "runs" / "other.pth", ViT(8, 2, 2, 12, patch_size=4, image_size=8))
    api.convert(source, proven.parent / "other", tiny.REQUEST, level="exact")
    return proven.parent / "other"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A Hub on this machine, which huggingface_hub asks as `hf_owner`."""
    with serving(Hub(tmp_path / "hub")) as running:
        at_home(monkeypatch, running, tmp_path)
        yield running


def at_home(monkeypatch: pytest.MonkeyPatch, running: Hub, cache: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", running.url)
    template = running.url + "/{repo_id}/resolve/{revision}/{filename}"
    for module in ("constants", "file_download"):
        name = f"huggingface_hub.{module}.HUGGINGFACE_CO_URL_TEMPLATE"
        monkeypatch.setattr(name, template, raising=False)
        monkeypatch.setattr(f"huggingface_hub.{module}.HF_HUB_CACHE", str(cache / "hf"), raising=False)
    for name, value in {"HF_HUB_OFFLINE": False, "HF_HUB_DISABLE_XET": True, "HF_HUB_DISABLE_TELEMETRY": True}.items():
        monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)
    monkeypatch.setenv("DINOPORT_CACHE", str(cache / "cache"))
    monkeypatch.setenv("HF_TOKEN", "hf_owner")
    monkeypatch.setenv("HF_HOME", str(cache / "home"))
    monkeypatch.setattr(patience, "sleep", lambda seconds: None)


def commits(hub: Hub, name: str = "owner/model") -> list[str]:
    """The titles of the commits of a repository, oldest first."""
    return [commit["title"] for commit in json.loads(hub.file(name).read_text())["commits"].values()]


def contents(hub: Hub, name: str = "owner/model", revision: str = "main") -> dict[str, bytes]:
    """The files of a branch, by name."""
    repo = json.loads(hub.file(name).read_text())
    files = repo["commits"][repo["refs"][revision]]["files"]
    return {path: hub.object(file.get("lfs", file)["oid"]).read_bytes() for path, file in files.items()}


def put(hub: Hub, name: str, files: dict[str, bytes], revision: str = "main") -> None:
    """A commit of somebody else's, in a repository that is made unless it is there."""
    from huggingface_hub import HfApi

    if not hub.file(name).exists():
        HfApi(token="hf_owner").create_repo(name)  # noqa: S106
    repo = json.loads(hub.file(name).read_text())
    there = dict(repo["commits"][repo["refs"][revision]]["files"])
    for path, content in files.items():
        if path.endswith((".safetensors", ".bin")):
            sha256 = hashlib.sha256(content).hexdigest()
            hub.object(sha256).write_bytes(content)
            there[path] = hub.large(sha256, len(content))
        else:
            there[path] = hub.small(content)
    hub.commit(repo, revision, repo["refs"][revision], "by another", there)

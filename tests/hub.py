"""The Hugging Face Hub on this machine: small files from itself, weights by a redirect to a store under a signature."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.http_server import Handler, Site, serving

TOKEN = "hf_secret"  # noqa: S105  # no real token
SIGNATURE = "Signature=s3cr3t"

RESOLVED = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<name>.+)")
KEPT = re.compile(r"/api/resolve-cache/models/(?P<repo>[^/]+/[^/]+)/(?P<revision>[^/]+)/(?P<name>.+)")

LARGE = (".safetensors", ".bin", ".pth")


@dataclass
class Hub:
    """A Hub with one repository, `owner/repo`: for each commit its files, and which one a branch or tag points at."""

    site: Site
    store: Site
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    revisions: dict[str, str] = field(default_factory=dict)

    def commit(self, letter: str, files: dict[str, bytes], revision: str = "main") -> str:
        """A commit whose name is a letter forty times, and to which the revision points from now on."""
        self.commits[letter * 40] = files
        self.revisions[revision] = letter * 40
        self.store.files |= {f"{letter * 40}/{name}": data for name, data in files.items()}
        return letter * 40

    def asked(self) -> list[str]:
        """The paths that were asked for, without the repository's."""
        return [path.removeprefix("/owner/repo/resolve/") for path, _ in self.site.requests]

    def answer(self, handler: Handler) -> bool:
        resolved, kept = RESOLVED.fullmatch(handler.path), KEPT.fullmatch(handler.path)
        found = resolved or kept
        if found is None or found["repo"] != "owner/repo":
            handler.answer(401, b"Repository not found")
            return True
        commit = self.revisions.get(found["revision"], found["revision"])
        data = self.commits.get(commit, {}).get(found["name"])
        said = {"X-Repo-Commit": commit} if resolved else {}
        if data is None:
            handler.answer(404, b"Entry not found", said)
        elif kept:
            handler.answer(200, data)  # small files: no ranges, as from the Hub's own cache
        elif found["name"].endswith(LARGE):
            place = self.store.url(f"{commit}/{found['name']}?{SIGNATURE}")
            handler.answer(302, b"", {**said, "Location": place})
        else:
            place = f"/api/resolve-cache/models/owner/repo/{commit}/{found['name']}"
            handler.answer(307, b"", {**said, "Location": place})
        return True


@contextmanager
def hub_at_home(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Iterator[Hub]:
    """The Hub's address leads to this machine, and a token is set."""
    with serving(Site()) as site, serving(Site()) as store:
        hub = Hub(site, store)
        site.always = hub.answer
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", site.base)
        template = site.base + "/{repo_id}/resolve/{revision}/{filename}"
        for module in ("constants", "file_download"):
            monkeypatch.setattr(f"huggingface_hub.{module}.HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
            monkeypatch.setattr(f"huggingface_hub.{module}.HF_HUB_CACHE", str(cache), raising=False)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub

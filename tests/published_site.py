"""The published models at an address on this machine, and an empty cache of torch.hub."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dinoport.codebases import published_names
from dinoport.files.remote import patience
from tests.http_server import Site, serving

AUTHORS = "https://dl.fbaipublicfiles.com"


@contextmanager
def published_at_home(
    monkeypatch: pytest.MonkeyPatch, torch_home: Path, backbone: bytes, head: bytes
) -> Iterator[Site]:
    """Every published name gives `backbone`, every published classifier `head`; nothing waits."""
    monkeypatch.setenv("TORCH_HOME", str(torch_home))
    monkeypatch.setenv("DINOPORT_CACHE", str(torch_home / "dinoport"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(patience, "sleep", lambda seconds: None)
    with serving(Site()) as running:
        moved = tuple(
            model._replace(
                parameters=len(backbone) // 5,  # a file is little more than its tensors
                url=model.url.replace(AUTHORS, running.base),
                head_url=model.head_url and model.head_url.replace(AUTHORS, running.base),
            )
            for model in published_names.PUBLISHED
        )
        monkeypatch.setattr(published_names, "PUBLISHED", moved)
        for model in moved:
            running.files[model.url.removeprefix(f"{running.base}/")] = backbone
            if model.head_url:
                running.files[model.head_url.removeprefix(f"{running.base}/")] = head
        yield running

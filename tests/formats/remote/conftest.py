from collections.abc import Iterator

import pytest

from dinoport.files.remote import patience
from tests.http_server import Site, serving


@pytest.fixture
def site() -> Iterator[Site]:
    with serving(Site()) as running:
        yield running


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Nobody waits in a test; the seconds that would have been waited are kept."""
    seconds: list[float] = []
    monkeypatch.setattr(patience, "sleep", seconds.append)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    return seconds

"""Where the frameworks are installed: `make test-frameworks`. Everywhere else these tests are skipped."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

FRAMEWORKS = ("lightly", "lightly_train", "lightning", "peft", "timm", "torchvision")

os.environ |= {"LIGHTLY_TRAIN_EVENTS_DISABLED": "1", "HF_HUB_OFFLINE": "1"}

MISSING = [name for name in FRAMEWORKS if find_spec(name) is None]

if not MISSING:
    import tests.frameworks.operators  # noqa: F401  # before anything imports torchvision

collect_ignore_glob = ["test_*.py"] if MISSING else []


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"

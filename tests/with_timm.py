"""What waits for timm, which needs torchvision."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

INSTALLED = find_spec("timm") is not None

needs_timm = pytest.mark.skipif(not INSTALLED, reason="needs timm: `make test-frameworks` runs it")

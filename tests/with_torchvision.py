"""What waits for torchvision, and what is otherwise where it is installed: Transformers then resizes with it."""

from importlib.util import find_spec

import pytest

INSTALLED = find_spec("torchvision") is not None

needs_torchvision = pytest.mark.skipif(not INSTALLED, reason="needs torchvision: `make test-torchvision` runs it")

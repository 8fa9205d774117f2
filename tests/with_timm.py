"""What waits for timm, which needs torchvision."""

from importlib.util import find_spec

import pytest

INSTALLED = find_spec("timm") is not None

needs_timm = pytest.mark.skipif(not INSTALLED, reason="needs timm: `make test-frameworks` runs it")

WITH_DINOV3 = (1, 0, 20)


def skip_before(version: tuple[int, ...]) -> None:
    """Skip a test of what an older timm does not know, or does otherwise."""
    import timm

    if tuple(map(int, timm.__version__.split(".")[:3])) < version:
        pytest.skip(f"timm {timm.__version__} does not do this")

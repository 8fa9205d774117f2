"""Only `make test-real` has the packages; where they are missing, as in `make test`, nothing here is collected."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("onnx") and find_spec("sklearn") and find_spec("sceptr") else ["test_*.py"]

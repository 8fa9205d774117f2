"""Where downloads are kept: torch.hub's own folder for published names, so that each side finds the other's files."""

import os
from pathlib import Path


def torch_hub_checkpoints() -> Path:
    """What `torch.hub.get_dir()` + `checkpoints` is, without importing torch: TORCH_HOME, else XDG_CACHE_HOME/torch."""
    home = os.environ.get("TORCH_HOME") or str(_cache_home() / "torch")
    return Path(home).expanduser() / "hub" / "checkpoints"


def own_cache() -> Path:
    """For what comes from elsewhere: DINOPORT_CACHE, else XDG_CACHE_HOME/dinoport."""
    return Path(os.environ.get("DINOPORT_CACHE") or _cache_home() / "dinoport").expanduser()


def _cache_home() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()

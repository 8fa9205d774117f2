"""Lets torchvision be imported beside a torch for the CPU: its wheel's operators are built for CUDA's, and do not load.

Nothing here calls them, but torchvision asks for their names. With a torch that it was built for, nothing is done.
"""

from __future__ import annotations

import torch

NAMES = ("nms", "qnms")


def name_operators() -> torch.library.Library | None:
    """Declare the operators without a body, where nothing else does."""
    from importlib.machinery import PathFinder
    from importlib.util import find_spec

    spec = find_spec("torchvision")
    extension = PathFinder.find_spec("_C", list(spec.submodule_search_locations or [])) if spec else None
    if extension is not None and extension.origin:
        try:
            torch.ops.load_library(extension.origin)
            return None
        except OSError:
            pass
    own = torch.library.Library("torchvision", "DEF")
    for name in NAMES:
        own.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return own


OWN = name_operators()

"""The goldens in `fixtures/goldens`: outputs of the genuine code, and the state dicts that they belong to."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from tests import formula

FOLDER = Path(__file__).parent / "fixtures" / "goldens"


def shapes(path: str) -> dict[str, formula.Shape]:
    """The names and shapes of a key list, as the genuine model gives them."""
    listed: dict[str, list[int]] = json.loads((FOLDER / path).read_text())["shapes"]
    return {name: tuple(shape) for name, shape in listed.items()}


def state_by_formula(path: str) -> dict[str, formula.Array]:
    """The state dict of a key list; fails unless it has the hash that was recorded with the golden."""
    state = formula.state_dict(shapes(path))
    assert formula.state_sha256(state) == json.loads((FOLDER / path).read_text())["state_sha256"]
    return state


def state_in_checkpoint(path: str, key: str, prefix: str) -> dict[str, Any]:
    """The tensors under `key` whose names start with `prefix`, without it. For the genuine files in this folder."""
    import torch

    nested = torch.load(FOLDER / path, map_location="cpu", weights_only=False)[key]
    return {name.removeprefix(prefix): tensor for name, tensor in nested.items() if name.startswith(prefix)}


def outputs(path: str) -> dict[str, formula.Array]:
    """Every stored output by its name, `HEIGHTxWIDTH/what` or `group/HEIGHTxWIDTH/what`."""
    with np.load(FOLDER / path) as golden:
        return {name: golden[name] for name in golden.files}

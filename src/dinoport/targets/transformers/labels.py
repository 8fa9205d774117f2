"""Class names for a classifier: ImageNet-1k's, or a file's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from dinoport.errors import SettingError

IMAGENET = "imagenet-1k"
MAX_FILE_BYTES = 64 * 1024 * 1024


def read_labels(name_or_path: str, classes: int) -> Mapping[int, str]:
    """Names by class index, for exactly `classes` classes.

    A file holds a JSON list of names, or an object from index to name (`id2label`). Raises SettingError.
    """
    if name_or_path == IMAGENET:
        names = json.loads((resources.files(__package__) / "imagenet_1k.json").read_text(encoding="utf-8"))
    else:
        names = _read(Path(name_or_path))
    labels = _by_index(names, name_or_path)
    if labels.keys() != set(range(classes)):
        raise _unfit(name_or_path, f"names for the classes 0 to {classes - 1}", f"{len(labels)} names")
    if len(set(labels.values())) != classes:
        raise _unfit(name_or_path, "a name of its own for each class", f"{len(set(labels.values()))} different names")
    return labels


def _read(path: Path) -> object:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ValueError("the file is too large")
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _unfit(str(path), f"{IMAGENET}, or a JSON file", str(error)[:120]) from error


def _by_index(names: object, where: str) -> dict[int, str]:
    if isinstance(names, dict) and isinstance(names.get("id2label"), dict):
        names = names["id2label"]
    pairs = list(enumerate(names)) if isinstance(names, list) else list(names.items()) if isinstance(names, dict) else []
    labels = {int(index): name for index, name in pairs if isinstance(name, str) and str(index).isdecimal()}
    if not pairs or len(labels) != len(pairs):
        raise _unfit(where, "a list of names, or an object from class index to name", type(names).__name__)
    return labels


def _unfit(where: str, expected: str, found: str) -> SettingError:
    return SettingError(
        f"{where} does not name the classes of this classifier",
        expected=expected,
        found=found,
        next_step="give --labels imagenet-1k, or a JSON list with one name a class",
    )

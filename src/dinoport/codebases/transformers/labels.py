"""Class names for a classifier: ImageNet-1k's, or a file's."""

import json
from collections import Counter
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from dinoport.errors import CheckpointError, SettingError
from dinoport.files.byte_sources import LocalFile
from dinoport.files.json_text import refuse_many_values
from dinoport.files.names import is_name
from dinoport.shown.text import counted, listed

IMAGENET = "imagenet-1k"

MAX_FILE_BYTES = 8 * 1024 * 1024
"""The names of ImageNet's 21,841 classes take less than one."""


@cache
def imagenet_1k() -> tuple[str, ...]:
    """The names that Transformers' ImageNet models carry, by class index. LABELS.md tells where they come from."""
    from importlib import resources

    text = (resources.files(__package__) / "imagenet_1k.json").read_text(encoding="utf-8")
    return tuple(json.loads(text))


def read_labels(name_or_path: str | Path, classes: int) -> dict[int, str]:
    """Names by class index, for exactly `classes` classes, from `imagenet-1k` or a JSON file.

    A file holds a list of names, an object from index to name or from name to index, or a config with one of those
    as `id2label` or `label2id`. Raises SettingError for a file that cannot be read, and for anything but one name of
    its own for each class.
    """
    path = str(name_or_path)
    pairs = enumerate(imagenet_1k()) if path == IMAGENET else _pairs(_read(path), path)
    return _complete(list(pairs), path, classes)


def labels_of(value: object, classes: int) -> dict[int, str] | None:
    """Names by class index from plain data of a checkpoint, in the forms of `read_labels`; None for anything else."""
    content = _Object(value.items()) if isinstance(value, dict) else list(value) if isinstance(value, tuple) else value
    flat = [part for pair in content for part in pair] if isinstance(content, _Object) else content
    if not isinstance(flat, list) or not flat or not all(isinstance(part, str | int) for part in flat):
        return None
    try:
        return _complete(list(_pairs(content, "")), "", classes)
    except SettingError:
        return None


class _Object(list[tuple[str, object]]):
    """A JSON object, with the keys that it gives twice."""


def _read(path: str) -> object:
    try:
        content = _content(path)
        refuse_many_values(content)
        return json.loads(content.decode("utf-8-sig"), object_pairs_hook=_Object)
    except CheckpointError as error:
        missing = isinstance(error.__cause__, FileNotFoundError)
        raise _unfit(path, f"{IMAGENET}, or a JSON file", "no such file" if missing else error.what) from error
    except RecursionError as error:
        raise _unfit(path, "a list of names, or an object from class index to name", "deep nesting") from error
    except ValueError as error:
        raise _unfit(path, f"{IMAGENET}, or a JSON file", str(error)[:200]) from error


def _content(path: str) -> bytes:
    """A file's bytes. Raises CheckpointError for what is not a file, ValueError for one that is too large."""
    file = LocalFile(Path(path))
    try:
        if file.size_bytes > MAX_FILE_BYTES:
            raise ValueError(f"a file of more than {MAX_FILE_BYTES} bytes")
        return file.read(0, file.size_bytes)
    finally:
        file.close()


def _pairs(content: object, path: str) -> Iterable[tuple[int, str]]:
    """Class index and name, each time that the file gives one."""
    if isinstance(content, _Object):
        inner = [value for key, value in content if key == "id2label"]
        inner += [value for key, value in content if key == "label2id"]
        content = next((value for value in inner if isinstance(value, _Object)), content)
    if isinstance(content, _Object):
        by_name = all(not isinstance(value, str) and _index(value) is not None for _, value in content)
        pairs: list[tuple[object, object]] = [(value, key) if by_name else (key, value) for key, value in content]
    elif isinstance(content, list):
        pairs = list(enumerate(content))
    else:
        raise _unfit(path, "a list of names, or an object from class index to name", json.dumps(content)[:60])
    for key, name in pairs:
        index = _index(key)
        if index is None:
            raise _unfit(path, "a whole number as the index of each class", _shown(key))
        if not isinstance(name, str) or not name.strip() or not is_name(name):
            raise _unfit(path, f"a name in words for class {index}", _shown(name))
        yield index, name


def _complete(pairs: list[tuple[int, str]], where: str, classes: int) -> dict[int, str]:
    expected = f"one name for each class, 0 to {classes - 1}"
    if len(pairs) != classes:
        raise _unfit(where, expected, counted(len(pairs), "name"))
    twice = [index for index, count in Counter(index for index, _ in pairs).items() if count > 1]
    if twice:
        raise _unfit(where, expected, f"class {listed(twice, 5)} more than once")
    labels = dict(sorted(pairs))
    missing = [index for index in range(classes) if index not in labels]
    if missing:
        beside = [index for index in labels if index >= classes]
        raise _unfit(where, expected, f"no name for class {listed(missing, 5)}, but one for class {listed(beside, 5)}")
    shared = [name for name, count in Counter(labels.values()).items() if count > 1]
    # ImageNet has two cranes, and Transformers' own models with them.
    if shared and tuple(labels.values()) != imagenet_1k():
        raise _unfit(where, "a name of its own for each class", f"more than one class named {listed(shared, 5)}")
    return labels


def _index(value: object) -> int | None:
    """A class index: a number, or as JSON's keys must, its digits."""
    if isinstance(value, str):
        return int(value) if value.isascii() and value.isdecimal() and len(value) < 10 else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _shown(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)[:60]


def _unfit(where: str, expected: str, found: str) -> SettingError:
    return SettingError(
        f"{where} does not name the classes of this classifier",
        expected=expected,
        found=found,
        next_step=f"give `labels={IMAGENET!r}`, or a JSON list with one name a class",
    )

"""JSON from a file, parsed within limits: what a few bytes of it can cost is counted before it is parsed."""

import json
import math
from collections import Counter
from typing import Any

MAX_VALUES = 500_000
"""Commas and brackets. A header takes ten for each tensor; a name and its value can take two hundred bytes."""

MAX_NUMBER_CHARACTERS = 64
"""Of a number; parsing takes a time that grows with the square of its digits."""

MAX_DEPTH = 64
"""Values within values; ours go six deep. What is parsed is shown and written again, and each level takes a call."""


def parse_object(data: bytes) -> dict[str, object]:
    """A JSON object. Raises ValueError, which says in words what is wrong."""
    refuse_many_values(data)
    try:
        found = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_once,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_no_constant,
        )
    except UnicodeDecodeError as error:
        raise ValueError(f"bytes that are not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"text that is not JSON at character {error.pos}: {error.msg}") from error
    except RecursionError as error:
        raise ValueError("values that nest too deep") from error
    if not isinstance(found, dict):
        raise ValueError(f"a {type(found).__name__} where an object was expected")
    _check_depth(found)
    return found


def refuse_many_values(data: bytes) -> None:
    """Raise ValueError for a text of more values than any of ours."""
    if sum(data.count(mark) for mark in (b",", b"[", b"{")) > MAX_VALUES:
        raise ValueError(f"more than {MAX_VALUES} values")


def _check_depth(found: dict[str, object]) -> None:
    level: list[Any] = [found]
    for _ in range(MAX_DEPTH):
        within = (node.values() if isinstance(node, dict) else node for node in level)
        level = [each for values in within for each in values if isinstance(each, (dict, list))]
    if level:
        raise ValueError("values that nest too deep")


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"two values of the name {twice[:100]!r}")
    return found


def _integer(text: str) -> int:
    if text == "-0":  # which is a float for other readers
        raise ValueError("the number -0")
    return int(_short(text))


def _float(text: str) -> float:
    number = float(_short(text))
    if math.isinf(number):
        raise ValueError(f"the number {text}, which is beyond all floats")
    return number


def _short(text: str) -> str:
    if len(text) > MAX_NUMBER_CHARACTERS:
        raise ValueError(f"a number of {len(text)} digits")
    return text


def _no_constant(name: str) -> object:
    raise ValueError(f"{name}, which JSON does not have")

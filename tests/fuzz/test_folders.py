"""Converted folders whose JSON files say anything: every command ends in success or in an error of ours, and none in
"equal" for a file that was changed. Deterministic and quick; run.py goes on from the same seeds.
"""

import copy
import json
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dinoport.request import Request
from tests.fuzz import targets
from tests.fuzz.folders import INDEX, PROCESSOR, sound

quick = settings(
    max_examples=40,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

FILES = {"config": "config.json", "processor": PROCESSOR, "report": "dinoport.json", "index": INDEX}

TEXTS = st.sampled_from(
    [
        "",
        ".",
        "..",
        "../x",
        "\0",
        "\ud800",
        "\u202e",
        "a" * 300,
        "model.safetensors",
        "/etc/passwd",
        "float16",
        "\x1b[2J",
    ]
)
ODD = (
    st.none() | st.booleans() | TEXTS | st.integers(-2, 70) | st.floats()
    | st.sampled_from([2**31, 2**63, 2**64, 10**60, -(10**60), 1e308, 5e-324, -0.0])
)  # fmt: skip
VALUES = ODD | st.lists(ODD, max_size=3) | st.dictionaries(TEXTS, ODD, max_size=2)


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON document."""
    yield path
    for key, inner in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield from places(inner, (*path, key))


def put(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    document = copy.deepcopy(document)
    node = document
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return document


@pytest.mark.parametrize("target", FILES)
def test_any_value_in_any_field(target):
    document = json.loads(sound(FILES[target]))
    asked = [("request", field.name) for field in fields(Request)] if target == "report" else []

    @quick
    @given(st.sampled_from([*places(document), *asked, ("\x1b[2J",), ("\u202e",)]), VALUES)
    def changed(path: tuple[Any, ...], value: Any) -> None:
        targets.run(targets.TARGETS[target], json.dumps(put(document, path, value)).encode())

    changed()


@pytest.mark.parametrize("target", FILES)
@pytest.mark.parametrize("depth", [50, 300, 600, 900])
def test_values_that_nest(target, depth):
    document = json.loads(sound(FILES[target]))
    field = next(iter(document))
    nested = b"[" * depth + b"]" * depth
    placed = json.dumps({**document, field: "here"}).encode().replace(b'"here"', nested)
    targets.run(targets.TARGETS[target], placed)


EDGES = (b"1e999", b"-1e999", b"NaN", b"Infinity", b"9" * 64, b"-0", b"1e-999", b"1e308", b"18446744073709551616")


@pytest.mark.parametrize("target", FILES)
def test_numbers_at_the_edge(target):
    """In place of each number, and of a list of them; which one goes where changes from place to place."""
    document = json.loads(sound(FILES[target]))
    for count, path in enumerate(numbers(document)):
        text = json.dumps(put(document, path, "here")).encode()
        for number in (EDGES[count % len(EDGES)], EDGES[(count + 4) % len(EDGES)]):
            targets.run(targets.TARGETS[target], text.replace(b'"here"', number, 1))


def numbers(document: Any) -> list[tuple[Any, ...]]:
    found = []
    for path in places(document):
        node = document
        for key in path:
            node = node[key]
        if isinstance(node, (int, float)):
            found.append(path)
    return found

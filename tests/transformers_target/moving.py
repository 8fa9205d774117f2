"""What was measured of one changed field, as `tests/fixtures/moving` holds it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "fixtures" / "moving"

GENERATIONS = ("4", "5")


@dataclass(frozen=True)
class Measured:
    """`outcomes` are signs by type of value: `=` same, `M` moved, `K` keys, `R` refused."""

    outcomes: Mapping[str, str]
    default: Any = None


@dataclass(frozen=True)
class Record:
    asked: frozenset[str]
    classes: Mapping[str, Mapping[str, Measured]]


def record(name: str) -> Record:
    document = json.loads((FOLDER / f"{name}.json").read_text())
    classes = {}
    for class_name, fields in document["classes"].items():
        inert = {name: Measured({}) for name in fields.pop("inert").split()}
        classes[class_name] = inert | {name: measured(*row) for name, row in fields.items()}
    return Record(frozenset(document["asked"].split()), classes)


def measured(outcomes: str, default: Any = None) -> Measured:
    return Measured({outcome[:-1]: outcome[-1] for outcome in outcomes.split()}, default)

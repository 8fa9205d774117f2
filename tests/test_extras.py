"""What `pip install dinoport[…]` brings, read from the project's metadata."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest

if sys.version_info < (3, 11):
    pytest.skip("tomllib came with Python 3.11", allow_module_level=True)

import tomllib

PROJECT: dict[str, Any] = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]

OWN = re.compile(r"dinoport\[([a-z0-9,]+)\]")


def brought(extra: str) -> set[str]:
    """The packages of an extra, and of the extras of ours that it names."""
    found = set()
    for requirement in EXTRAS[extra]:
        own = OWN.fullmatch(requirement)
        found |= set().union(*map(brought, own[1].split(","))) if own else {re.split(r"[^\w-]", requirement)[0]}
    return found


def test_all_holds_nothing_that_pins_or_replaces_a_torch() -> None:
    """The package timm brings torchvision, which brings the one torch that it was built for."""
    assert not brought("all") & {"timm", "torchvision", "dinov3", "submitit", "dask"}
    assert not {"timm", "dinov3", "slurm"} & set(OWN.findall(EXTRAS["all"][0])[0].split(","))
    assert "torch" in brought("all")


def test_timm_is_an_extra_of_its_own() -> None:
    assert "timm>=1.0.16" in EXTRAS["timm"]

"""What `inspect`, `models` and `visualize` print with `--json`, against the tables that document it."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dinoport import api
from dinoport.proofs.picture import synthetic_picture
from tests.command_line import DEMO

PAGE = (Path(__file__).parents[2] / "docs" / "report.md").read_text(encoding="utf-8")


def printed(folder: Path, *arguments: str) -> Any:
    command = [sys.executable, "-m", "dinoport", *arguments, "--json"]
    return json.loads(subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout)


def documented(command: str) -> list[str]:
    """The fields of one table, in its order."""
    section = PAGE.partition(f"## What `{command} --json` prints\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `([a-z_0-9.]+)` \|", section, re.MULTILINE)


def fields(found: Any, within: str = "") -> Iterator[str]:
    """Every field, and those of the objects in a list; a plan is documented as the report that it is."""
    for name, value in found.items():
        yield within + name
        if isinstance(value, list) and value and isinstance(value[0], dict):
            yield from fields(value[0], f"{within}{name}.")


@pytest.mark.parametrize(
    "arguments", [("inspect", str(DEMO), "--num-heads", "2"), ("inspect", str(DEMO)), ("models",)], ids=str
)
def test_every_field_is_documented(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert list(fields(printed(tmp_path, *arguments))) == documented(arguments[0])


def test_a_plan_is_a_report(tmp_path: Path) -> None:
    found = printed(tmp_path, "inspect", str(DEMO), "--num-heads", "2")
    assert found["refusal"] is None
    assert found["plan"]["verdict"]["word"] == "planned"
    assert found["branches"][0]["tensors"][0][2:] == ["float32", "(1, 1, 32)"]


def test_every_field_of_a_visualization_is_documented(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    pytest.importorskip("matplotlib")
    api.convert(DEMO, tmp_path / "demo", api.Request(num_heads=2), level="none")
    synthetic_picture().save(tmp_path / "picture.png")
    found = printed(tmp_path, "visualize", "demo", "picture.png", "--size", "64")
    assert list(fields(found)) == documented("visualize")


def test_every_field_of_an_error_is_documented(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dinoport", "inspect", "nothing.pth", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)
    section = PAGE.partition("## What an error prints as JSON\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?`) \|", section, re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`([a-z_.]+)`", row)]
    assert named == ["error", *(f"error.{name}" for name in found["error"]), "exit_code"]
    assert done.returncode == found["exit_code"] == 1

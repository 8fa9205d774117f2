"""The report as JSON: plain data that every parser reads, sealed by its own hash."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from dinoport.api import convert, demo, plan
from dinoport.files.json_file import json_bytes
from dinoport.report.as_json import FORMAT, SEAL, seal
from dinoport.report.report import Report
from tests import tiny

EXACT_FIELDS = {
    "format", "verdict", "direction", "source", "model", "target", "request", "accounting", "proofs", "files",
    "remarks", "versions", SEAL,
}  # fmt: skip


@pytest.fixture(scope="module")
def exact(tmp_path_factory) -> Report:
    root = tmp_path_factory.mktemp("exact")
    return convert(tiny.write(root / "checkpoint.pth"), root / "out", tiny.REQUEST, level="exact")


@pytest.fixture(scope="module")
def full(tmp_path_factory) -> Report:
    pytest.importorskip("transformers")
    return demo(tmp_path_factory.mktemp("full") / "out")


def leaves(node: Any) -> list[Any]:
    if isinstance(node, dict):
        assert all(isinstance(name, str) for name in node)
        return [leaf for value in node.values() for leaf in leaves(value)]
    return [leaf for value in node for leaf in leaves(value)] if isinstance(node, list | tuple) else [node]


@pytest.mark.parametrize("report", ["exact", "full"])
def test_it_is_plain_data_and_reads_back_the_same(request: pytest.FixtureRequest, report: str) -> None:
    data = request.getfixturevalue(report).to_dict()
    assert {type(leaf) for leaf in leaves(data)} <= {str, int, float, bool, type(None)}
    text = json_bytes(data)
    assert json.loads(text, parse_constant=pytest.fail) == json.loads(json.dumps(data))
    assert json_bytes(json.loads(text)) == text
    assert data.keys() >= EXACT_FIELDS
    assert data["format"] == FORMAT


def test_the_seal_is_the_hash_of_all_before_it(full: Report) -> None:
    data = full.to_dict()
    assert list(data)[-1] == SEAL
    without = {name: value for name, value in data.items() if name != SEAL}
    assert data[SEAL] == hashlib.sha256(json_bytes(without)).hexdigest() == seal(data)
    assert seal({**data, "target": "elsewhere"}) != data[SEAL]


def test_proofs_that_were_not_tried_are_null(exact: Report) -> None:
    data: Any = exact.to_dict()
    assert data["proofs"]["exact"]["passed"] is True
    assert [data["proofs"][name] for name in ("loading", "outputs", "pixels")] == [None, None, None]
    assert data["verdict"]["word"] == "transported exactly"
    assert data["verdict"]["not_shown"] == ["loading", "outputs", "pixels"]


def test_every_value_says_where_it_comes_from(full: Report) -> None:
    data: Any = full.to_dict()
    settings = {setting["name"]: setting for setting in data["model"]["settings"]}
    assert {setting["origin"] for setting in settings.values()} <= {"stored", "inferred", "given", "assumed"}
    assert settings["heads"] == {
        "name": "heads",
        "value": "2",
        "origin": "given",
        "reason": "--num-heads",
        "used": True,
    }
    assert settings["eps"]["origin"] == "assumed"
    assert all(setting["reason"] for setting in settings.values())


def test_the_files_are_those_in_the_folder(full: Report) -> None:
    data: Any = full.to_dict()
    folder = Path(data["target"])
    for file in data["files"]:
        content = (folder / file["name"]).read_bytes()
        assert file["size_bytes"] == len(content)
        assert file["sha256"] == hashlib.sha256(content).hexdigest()
    assert {file["name"] for file in data["files"]} | {"dinoport.json"} == {path.name for path in folder.iterdir()}


def test_a_plan_claims_nothing(tmp_path) -> None:
    data: Any = plan(tiny.write(tmp_path / "checkpoint.pth"), tiny.REQUEST).to_dict()
    assert data["verdict"]["word"] == "planned"
    assert set(data["proofs"].values()) == {None}
    assert data["files"] == []
    assert data["source"]["files"] == []


def test_every_field_is_in_the_docs(full: Report) -> None:
    """Down to the second level, and to the third in the proofs; the page names no field that is not there."""
    page = (Path(__file__).parents[2] / "docs" / "report.md").read_text(encoding="utf-8")
    now = re.sub(r"### What changed in format .*?\n## ", "", page, flags=re.DOTALL)
    named = set(re.findall(r"`([a-z_0-9.]+)`", now))
    data: Any = full.to_dict()
    below = {name for name, value in data.items() if isinstance(value, dict)} - {"request", "versions"}
    wanted = data.keys() - below
    wanted |= {f"{name}.{field}" for name in below for field in data[name]}
    assert wanted <= named
    for name, proof in data["proofs"].items():
        assert {field for field in proof or () if not {field, f"proofs.{name}.{field}"} & named} == set()
    for path in (path for path in named if path.split(".")[0] in data):
        node = data
        for field in path.split("."):
            node = node[field]

"""Whose an original's file is, by the dinoport.json that a conversion wrote beside it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from dinoport import api
from dinoport.files.checksums import hash_file
from tests.families.cases import BY_NAME

UNTOLD = ("not known", "assumed")


def codebase(source: Path, **asked: Any) -> tuple[object, str]:
    [found] = [each for each in api.plan(source, **asked).settings if each.name == "codebase"]
    return found.value, found.origin


@pytest.fixture
def back(tmp_path: Path) -> Path:
    """The original's file again, on its way back from Transformers."""
    source, wishes = BY_NAME["vit-training-checkpoint"].write(tmp_path)
    api.convert(source, tmp_path / "there", wishes, level="none")
    api.convert(tmp_path / "there", tmp_path / "back", to="original", level="exact")
    return tmp_path / "back"


def test_the_report_names_the_codebase_that_the_conversion_knew(back: Path, tmp_path: Path) -> None:
    report = api.convert(back, tmp_path / "again", level="exact")
    assert report.ends[0] == "DINO ViT (facebookresearch/dino)"
    assert "codebase = DINO ViT (the folder's dinoport.json says so)" in str(report.verdict)
    assert "not known" not in str(report.verdict)
    assert not api.verify(back, tmp_path / "again", level="exact").verdict.failed


def test_a_report_of_another_file_is_not_followed(back: Path) -> None:
    """A trainer that writes over the file leaves the report beside it, and may write as many bytes."""
    listed = json.loads((back / "dinoport.json").read_text())["files"]
    [file] = back.glob("*.pth")
    stored = bytearray(file.read_bytes())
    place = stored.index(b"\0" * 8, len(stored) // 4)
    stored[place] = 1
    assert codebase(back) == ("DINO ViT", "claimed")
    file.write_bytes(stored)
    assert hash_file(file)[0] == listed[0]["size_bytes"]
    assert codebase(back) == UNTOLD


def test_an_inspection_reads_no_whole_file_and_says_what_it_takes_by_name(back: Path, monkeypatch: Any) -> None:
    def never(path: Path, *on_progress: object) -> None:
        raise AssertionError(path)

    monkeypatch.setattr("dinoport.files.checksums.hash_file", never)
    plan = api.inspect(back).plan
    assert plan is not None
    assert [each.value for each in plan.settings if each.name == "codebase"] == ["DINO ViT"]
    said = "dinoport.json beside it is taken for this file's by name and size: a conversion compares the hash too"
    assert said in plan.remarks
    for file in back.glob("*.pth"):
        stored = bytearray(file.read_bytes())
        stored[stored.index(b"\0" * 8, len(stored) // 4)] = 1
        file.write_bytes(stored)
    found = api.inspect(back)
    unhashed = "the folder's dinoport.json says so of a file of this name and size; its hash was not compared"
    for name in ("codebase", "heads"):
        [setting] = [each for each in found.to_dict()["plan"]["model"]["settings"] if each["name"] == name]
        assert (setting["origin"], setting["reason"].startswith(unhashed)) == ("claimed", True)
    assert f"claimed: codebase = DINO ViT, heads = 1, eps = 1e-06 ({unhashed})" in re.sub(r"\s+", " ", str(found))
    assert not [each for each in found.plan.settings if "says so" in each.reason and unhashed not in each.reason]
    with pytest.raises(AssertionError):
        api.plan(back)


def test_no_heads_are_taken_from_the_report_of_another_file(tmp_path: Path) -> None:
    """Nor eps: a file of the same name and size may be another model's."""
    source, wishes = BY_NAME["vit-training-checkpoint"].write(tmp_path)
    api.convert(source, tmp_path / "there", wishes, layer_norm_eps=1e-3, level="none")
    api.convert(tmp_path / "there", tmp_path / "back", to="original", level="exact")
    [file] = (tmp_path / "back").glob("*.pth")

    def found(**asked: Any) -> tuple[dict[str, tuple[object, str]], bool]:
        plan = api.plan(tmp_path / "back", **asked)
        said = "dinoport.json beside it is of another file of that name and size: nothing is taken from it"
        return {each.name: (each.value, each.origin) for each in plan.settings}, said in plan.remarks

    settings, another = found()
    assert (settings["eps"], another) == (("0.001", "claimed"), False)
    assert settings["heads"][1] == "claimed"
    stored = bytearray(file.read_bytes())
    stored[stored.index(b"\0" * 8, len(stored) // 4)] = 1
    file.write_bytes(stored)
    settings, another = found()
    assert (settings["eps"], settings["heads"][1], another) == (("1e-06", "assumed"), "assumed", True)


@pytest.mark.parametrize("origin", ["assumed", "inferred", None])
def test_what_the_conversion_assumed_is_assumed_again(back: Path, origin: str | None) -> None:
    report = json.loads((back / "dinoport.json").read_text())
    report["model"]["settings"].append({"name": "codebase", "value": "DINO ViT", "origin": origin})
    (back / "dinoport.json").write_text(json.dumps(report))
    assert codebase(back) == UNTOLD


def test_a_family_that_no_file_of_these_names_has_is_not_followed(back: Path) -> None:
    report = json.loads((back / "dinoport.json").read_text())
    report["model"]["family"] = "DINOv2 ViT (facebookresearch/dinov2)"
    (back / "dinoport.json").write_text(json.dumps(report))
    assert codebase(back) == UNTOLD


def test_the_users_word_comes_first(back: Path) -> None:
    assert codebase(back, codebase="moco_v3", num_heads=1)[1] == "given"

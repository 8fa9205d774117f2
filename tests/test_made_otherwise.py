"""`verify` with other options than the conversion's names them, before what follows from them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import dinoport
from dinoport.files.json_file import json_bytes
from dinoport.report.as_json import sealed
from tests.command_line import DEMO, EXACT, HEADS, Run

OTHERS = {
    "checkpoint_key": ("--checkpoint-key", "student", "no such option"),
    "num_heads": ("--num-heads", "4", "--num-heads 2"),
    "image_size": ("--image-size", "112", "no such option"),
    "layer_norm_eps": ("--layer-norm-eps", "1e-05", "no such option"),
    "dtype": ("--dtype", "float16", "no such option"),
    "pooler": ("--pooler", "none", "no such option"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("otherwise") / "out"
    dinoport.convert(DEMO, out, num_heads=2, level="exact")
    return out


@pytest.mark.parametrize("name", OTHERS)
def test_what_differs_is_named(run: Run, folder: Path, name: str) -> None:
    option, value, had = OTHERS[name]
    done = run("verify", DEMO, folder, option, value, *EXACT)
    assert done.code == 3
    said = " ".join(done.out.split())
    assert f"because the folder was made otherwise: {option} {value} was given, the conversion had {had}" in said
    assert "next leave these options out, to prove the folder as it was made or convert the source again" in said
    assert "the source changed" not in said, "nothing changed: another question was asked"


def test_the_same_options_are_not_named(run: Run, folder: Path) -> None:
    for options in ((), HEADS, (*HEADS, "--checkpoint-key", "teacher")):
        done = run("verify", DEMO, folder, *options, *EXACT)
        assert (done.code, "made otherwise" in done.out) == (0, False), done.out


def test_options_are_no_cause_where_the_folder_was_damaged(run: Run, folder: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "out"
    shutil.copytree(folder, damaged)
    weights = bytearray((damaged / "model.safetensors").read_bytes())
    weights[-3] ^= 1
    (damaged / "model.safetensors").write_bytes(weights)
    done = run("verify", DEMO, damaged, "--num-heads", "4", *EXACT)
    said = " ".join(done.out.split())
    assert (done.code, "made otherwise" in said) == (3, False)
    assert "of the two, the folder changed" in said


CHANGED = {
    "heads is 4 (given), the source gives 2 (given)": lambda report: setting(report, "heads").update(value="4"),
    "eps is 1e-06 (stored), the source gives 1e-06 (assumed)": lambda report: setting(report, "eps").update(
        origin="stored"
    ),
    "depth is not set, the source gives 4 (stored)": lambda report: report["model"]["settings"].remove(
        setting(report, "depth")
    ),
    "taste is good (given), the source gives none": lambda report: report["model"]["settings"].append(
        {"name": "taste", "value": "good", "origin": "given"}
    ),
    'source.branch is not set, the source gives "teacher"': lambda report: report["source"].pop("branch"),
    "accounting.tensors.dropped is 9, the source gives 8": lambda report: report["accounting"]["tensors"].update(
        dropped=9
    ),
}


def setting(report: dict[str, Any], name: str) -> dict[str, Any]:
    return next(each for each in report["model"]["settings"] if each["name"] == name)


@pytest.mark.parametrize("text", CHANGED)
def test_a_field_that_was_changed_is_named_with_both_values_in_words(folder: Path, tmp_path: Path, text: str) -> None:
    edited = tmp_path / "out"
    shutil.copytree(folder, edited)
    report = json.loads((edited / "dinoport.json").read_text())
    CHANGED[text](report)
    (edited / "dinoport.json").write_bytes(json_bytes(sealed(report)))
    failures = dinoport.verify(DEMO, edited, level="exact").verdict.failures
    assert failures == (f"dinoport.json: {text}",)

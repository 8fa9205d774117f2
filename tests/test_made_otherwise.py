"""`verify` with other options than the conversion's names them, before what follows from them."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import dinoport
from dinoport.files.json_file import json_bytes
from dinoport.formats.opening import open_checkpoint
from dinoport.networks.vit.architecture import ViT
from dinoport.report.as_json import sealed
from tests import tiny
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
    for untrue in ("the source changed", "is not the file that was converted"):
        assert untrue not in said, "nothing changed: another question was asked"


@pytest.fixture(scope="module")
def of_another(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A file that is converted without options, and its folder."""
    place = tmp_path_factory.mktemp("another")
    shape = ViT(width=64, depth=1, heads=1, mlp_hidden=12, patch_size=4, image_size=8)
    source = tiny.write(place / "another.pth", shape)
    dinoport.convert(source, place / "out", level="exact")
    return source, place / "out"


def test_another_file_is_named_first_and_no_option_is_to_be_left_out(run: Run, of_another: tuple[Path, Path]) -> None:
    done = run("verify", DEMO, of_another[1], *HEADS, *EXACT)
    said = " ".join(done.out.split())
    assert done.code == 3
    assert "next this is another file than the one that was converted: give that one or convert this one anew" in said
    assert "leave these options out" not in said


def test_another_file_that_asks_for_an_option_is_named_first(run: Run, of_another: tuple[Path, Path]) -> None:
    source, folder = of_another
    now, then = (path.stat().st_size for path in (DEMO, source))
    done = run("verify", DEMO, folder, *EXACT)
    first = f"this is another file ({now} bytes) than the one that was converted ({then} bytes): give that one"
    assert done.code == 1
    assert f"  try: {first}\n       add --num-heads N" in done.err


def test_no_file_is_called_another_for_an_option_that_is_wrong(run: Run, of_another: tuple[Path, Path]) -> None:
    source, folder = of_another
    done = run("verify", source, folder, "--num-heads", "7", *EXACT)
    assert done.code == 1
    assert "  try: " in done.err
    assert "another file" not in done.err


def test_an_index_is_no_other_file_than_the_one_that_it_names(run: Run, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "in")
    weights = tmp_path / "in" / "model.safetensors"
    with open_checkpoint(weights) as checkpoint:
        names = list(checkpoint.tensors)
    index = tmp_path / "in" / "model.safetensors.index.json"
    index.write_bytes(json_bytes({"metadata": {}, "weight_map": dict.fromkeys(names, weights.name)}))
    dinoport.convert(index, tmp_path / "back", to="original", num_heads=2, level="exact")
    done = run("verify", index, tmp_path / "back", "--num-heads", "7", *EXACT)
    assert (done.code, "another file" in done.err) == (1, False), done.err


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
    "model.transform.resize is 999, the source gives 256": lambda report: report["model"]["transform"].update(
        resize=999
    ),
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

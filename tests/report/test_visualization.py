"""The command that draws what a folder sees: its files, its words, and its messages."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dinoport import api
from dinoport.errors import DinoportError
from dinoport.proofs.picture import synthetic_picture
from dinoport.proofs.seeing import holding, see
from dinoport.report.images import heat
from tests.families.cases import CASES

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo, converted, beside a picture."""
    folder = tmp_path_factory.mktemp("visualization")
    api.convert(Path(api.__file__).with_name(api.DEMO_FILE), folder / "demo", api.Request(num_heads=2), level="none")
    synthetic_picture().save(folder / "picture.jpg")
    return folder


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dinoport", "visualize", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def read(path: Path) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def test_it_draws_and_says_what(folder: Path) -> None:
    done = run(folder, "demo", "picture.jpg", "--out", "drawn", "--size", "160")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "folder      drawn\n"
        "            8 pictures of 208×160 pixels\n"
        "picture     picture.png: what the model saw\n"
        "attention   attention-mean.png, attention-head-… of 2 heads: the CLS token's,\n"
        "            last block\n"
        "masks       mask-mean.png, mask-head-…: the patches that hold 60% of it\n"
        "components  pca.png: the three directions in which patches differ most, as red,\n"
        "            green, blue\n"
        "note        positions were resampled by Transformers' rule: README.md says\n"
        "            whether it is the original's\n"
    )
    names = {"picture.png", "pca.png"} | {
        f"{what}-{which}.png" for what in ("attention", "mask") for which in ("mean", "head-0", "head-1")
    }
    assert {path.name for path in (folder / "drawn").iterdir()} == names
    assert all(read(folder / "drawn" / name).shape == (160, 208, 3) for name in names)


def test_the_pictures_show_what_was_seen(folder: Path) -> None:
    from PIL import Image

    api.visualize(folder / "demo", folder / "picture.jpg", folder / "again", size=160)
    seen = see(folder / "demo", Image.open(folder / "picture.jpg"), 160)
    assert seen.attention is not None
    attention = seen.attention[1]
    shown = read(folder / "again" / "attention-head-1.png")
    scaled = attention - attention.min()
    np.testing.assert_array_equal(shown[::16, ::16], heat(scaled, float(scaled.max())))
    np.testing.assert_array_equal(shown[15::16, 15::16], shown[::16, ::16])
    picture, mask = read(folder / "again" / "picture.png"), read(folder / "again" / "mask-head-1.png")
    np.testing.assert_array_equal(picture, seen.picture)
    kept = holding(attention, 0.6).repeat(16, 0).repeat(16, 1)
    np.testing.assert_array_equal(mask[kept], picture[kept])
    np.testing.assert_array_equal(mask[~kept], np.round(picture[~kept] * 0.25))


def test_as_json(folder: Path) -> None:
    done = run(folder, "demo", "picture.jpg", "--out", "json", "--size", "64", "--mass", "0.3", "--json")
    found = json.loads(done.stdout)
    assert (found["folder"], found["size"], found["heads"], found["mass"]) == ("json", [64, 80], 2, 0.3)
    assert sorted(found["files"]) == sorted(path.name for path in (folder / "json").iterdir())


def test_without_attention_it_says_so(folder: Path, tmp_path: Path) -> None:
    case = next(case for case in CASES if case.name == "dinov3-convnext")
    source, request = case.write(tmp_path)
    api.convert(source, tmp_path / "out", request, level="none")
    drawn = api.visualize(tmp_path / "out", folder / "picture.jpg", tmp_path / "drawn", size=128)
    assert drawn.files == ("picture.png", "pca.png")
    assert drawn.notes == ("a dinov3_convnext has no attention: only the components of its feature map are drawn",)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("demo", "demo/config.json"), "error: demo/config.json cannot be used as a picture\n"),
        (("demo", "picture.jpg", "--mass", "1.5"), "error: --mass 1.5 is no share\n  expected: a number between 0 and"),
        (("demo", "picture.jpg", "--size", "9000"), "error: --size 9000 does not fit this model\n  expected: 16 to"),
        (("picture.jpg", "picture.jpg"), "error: picture.jpg is not a folder of Transformers\n"),
    ],
)
def test_what_does_not_fit_is_one_message(folder: Path, arguments: tuple[str, ...], message: str) -> None:
    done = run(folder, *arguments, "--out", "refused")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(message)
    assert not (folder / "refused").exists()


def test_a_missing_package_is_said_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "find_spec", lambda name: None if name == "matplotlib" else name)
    with pytest.raises(DinoportError) as raised:
        api.visualize(folder / "demo", folder / "picture.jpg", folder / "refused")
    assert str(raised.value) == (
        'drawing what a model sees needs matplotlib, which is not installed\n  try: pip install "dinoport[all]"'
    )
    assert not (folder / "refused").exists()

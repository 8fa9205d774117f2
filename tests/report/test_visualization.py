"""The command that draws what a folder sees: its files, its words, and its messages."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dinoport import api
from dinoport.errors import DinoportError, FolderError, SettingError
from dinoport.pictures import seeing
from dinoport.pictures.drawing import _masked, holding
from dinoport.pictures.images import heat
from dinoport.pictures.seeing import Seen, check_count, see
from dinoport.proofs.picture import synthetic_picture
from tests.command_line import DEMO
from tests.error_text import error_text
from tests.families.cases import BY_NAME

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo, converted, beside a picture."""
    folder = tmp_path_factory.mktemp("visualization")
    api.convert(DEMO, folder / "demo", api.Request(num_heads=2), level="none")
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
        "note        positions were resampled by the rule of Transformers: README.md says\n"
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
    edge = (mask == (255, 214, 10)).all(axis=-1)
    assert 0 < edge.sum() < kept.sum() / 2
    assert not (edge & ~kept).any()
    np.testing.assert_array_equal(mask[kept & ~edge], picture[kept & ~edge])
    np.testing.assert_array_equal(mask[~kept], np.round(picture[~kept] * 0.25))


@pytest.mark.parametrize("level", [0, 20, 128, 255])
def test_a_mask_is_seen_in_any_picture(level: int) -> None:
    """Dimming alone is not seen in a dark one: the line around the mask is."""
    picture = np.full((64, 80, 3), level, np.uint8)
    mask = np.zeros((4, 5), bool)
    mask[1:3, 2:5] = True
    drawn = _masked(Seen(picture, 16, np.zeros((4, 5, 3)), None, False, "vit"), mask).astype(int)
    beside = abs(drawn[16:18, 40] - drawn[15, 40]).max()
    assert beside > 100
    assert (drawn[30, 79] == level).all(), "the picture's border is not an end of the mask"
    assert (drawn[0, 0] == round(level / 4)).all()


def test_as_json(folder: Path) -> None:
    done = run(folder, "demo", "picture.jpg", "--out", "json", "--size", "64", "--mass", "0.3", "--json")
    found = json.loads(done.stdout)
    assert (found["folder"], found["size"], found["heads"], found["mass"]) == ("json", [64, 80], 2, 0.3)
    assert sorted(found["files"]) == sorted(path.name for path in (folder / "json").iterdir())


def test_without_attention_it_says_so(folder: Path, tmp_path: Path) -> None:
    case = BY_NAME["dinov3-convnext"]
    source, request = case.write(tmp_path)
    api.convert(source, tmp_path / "out", request, level="none")
    drawn = api.visualize(tmp_path / "out", folder / "picture.jpg", tmp_path / "drawn", size=128)
    assert drawn.files == ("picture.png", "pca.png")
    assert drawn.notes == ("a dinov3_convnext has no attention: only the components of its feature map are drawn",)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("demo", "demo/config.json"), "error: demo/config.json cannot be used as a picture\n"),
        (("demo", "picture.jpg", "--size", "8"), "error: --size 8 does not fit this model\n  expected: 16 to 4096 pix"),
        (("picture.jpg", "picture.jpg"), "error: picture.jpg is not a folder of Transformers\n"),
    ],
)
def test_what_does_not_fit_is_one_message(folder: Path, arguments: tuple[str, ...], message: str) -> None:
    done = run(folder, *arguments, "--out", "refused")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(message)
    assert not (folder / "refused").exists()


def test_a_mass_that_is_no_share(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError) as refused:
        api.visualize(folder / "demo", folder / "picture.jpg", tmp_path / "refused", mass=1.5)
    assert str(refused.value) == "`mass` takes a number between 0 and 1, such as 0.6\n  found: 1.5"


def changed(folder: Path, name: str, file: str, **fields: object) -> str:
    """The demo's folder with other fields in one of its files."""
    shutil.copytree(folder / "demo", folder / name)
    content = json.loads((folder / name / file).read_text())
    (folder / name / file).write_text(json.dumps(content | fields))
    return name


NO_SOUND_MODEL = """\
  likely cause: config.json was changed, or belongs to another model
  try: convert the checkpoint again, or see what is wrong: dinoport verify SOURCE FOLDER
"""


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        (
            "two",
            {"image_mean": [0.5, 0.5]},
            "error: image_mean of the folder's processor cannot be used\n"
            "  where: two/preprocessor_config.json\n"
            "  expected: three numbers, one for each colour\n"
            "  found: [0.5, 0.5]\n"
            "  try: convert the checkpoint again, with --image-mean and --image-std if its own are others\n",
        ),
        (
            "zero",
            {"image_std": [1, 0, 1]},
            "error: image_std of the folder's processor cannot be used\n"
            "  where: zero/preprocessor_config.json\n"
            "  expected: three positive numbers, one for each colour\n"
            "  found: [1, 0, 1]\n"
            "  try: convert the checkpoint again, with --image-mean and --image-std if its own are others\n",
        ),
    ],
)
def test_a_processor_that_cannot_be_used_is_one_message(
    folder: Path, name: str, fields: dict[str, object], message: str
) -> None:
    done = run(folder, changed(folder, name, "preprocessor_config.json", **fields), "picture.jpg", "--out", "refused")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", message)
    assert not (folder / "refused").exists()


@pytest.mark.parametrize(
    ("name", "fields", "found"),
    [
        ("wider", {"hidden_size": 64}, "does not fit, and"),
        ("deeper", {"num_hidden_layers": 5}, "is missing, and 15 more"),
        ("flatter", {"num_hidden_layers": 3}, "has no place, and 15 more"),
    ],
)
def test_a_config_of_another_model_is_one_message(
    folder: Path, name: str, fields: dict[str, object], found: str
) -> None:
    """Nothing is drawn with weights that Transformers made up, or without some that are there."""
    done = run(folder, changed(folder, name, "config.json", **fields), "picture.jpg", "--out", "refused")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: the model in {name} is not what its files hold\n  found: ")
    assert found in done.stderr.splitlines()[1]
    assert done.stderr.endswith(NO_SOUND_MODEL)
    assert not (folder / "refused").exists()


@pytest.mark.parametrize(
    ("file", "field", "value"),
    [("config.json", "image_size", "x"), ("preprocessor_config.json", "image_mean", ["a", "b", "c"])],
)
def test_a_value_of_another_type_does_not_reach_transformers(
    folder: Path, file: str, field: str, value: object
) -> None:
    done = run(folder, changed(folder, f"odd_{field}", file, **{field: value}), "picture.jpg", "--out", "refused")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: odd_{field} is not given to Transformers\n  where: {file}\n")
    assert f"{field} = {json.dumps(value)}\n" in done.stderr


def test_what_is_not_finite_is_not_drawn(folder: Path) -> None:
    from safetensors.numpy import load_file, save_file

    shutil.copytree(folder / "demo", folder / "undefined")
    tensors = load_file(folder / "undefined" / "model.safetensors")
    tensors["embeddings.cls_token"] = np.full_like(tensors["embeddings.cls_token"], np.nan)
    save_file(tensors, folder / "undefined" / "model.safetensors", {"format": "pt"})
    with pytest.raises(SettingError) as raised:
        api.visualize(folder / "undefined", folder / "picture.jpg", folder / "refused", size=64)
    assert str(raised.value) == (
        f"the model in {folder / 'undefined'} computes values that are not finite from this picture\n"
        "  likely cause: its weights hold NaN or infinite values, or values that are too large for float32\n"
        "  try: `dinoport.verify(SOURCE, FOLDER)`, which counts them"
    )


def test_a_file_is_no_folder_to_draw_in(folder: Path) -> None:
    (folder / "file").write_text("kept")
    with pytest.raises(FolderError) as raised:
        api.visualize(folder / "demo", folder / "picture.jpg", folder / "file", size=64)
    assert str(raised.value) == (
        f"file cannot be written: not a directory\n  where: {folder / 'file'}\n"
        "  likely cause: a part of this path is a file, not a folder\n  try: choose another folder"
    )
    assert (folder / "file").read_text() == "kept"


def test_nothing_is_written_through_a_link(folder: Path) -> None:
    (folder / "linked").mkdir()
    (folder / "precious").write_text("kept")
    (folder / "linked" / "pca.png").symlink_to(folder / "precious")
    with pytest.raises(FolderError) as raised:
        api.visualize(folder / "demo", folder / "picture.jpg", folder / "linked", size=64)
    assert str(raised.value) == (
        "pca.png is a link, and a picture would be written over what it leads to\n"
        f"  where: {folder / 'linked' / 'pca.png'}\n  try: remove it, or choose another folder with `out`"
    )
    assert (folder / "precious").read_text() == "kept"
    assert [path.name for path in (folder / "linked").iterdir()] == ["pca.png"]


def test_a_missing_package_is_said_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dinoport.shown.packages.find_spec", lambda name: None if name == "matplotlib" else name)
    with pytest.raises(DinoportError) as raised:
        api.visualize(folder / "demo", folder / "picture.jpg", folder / "refused")
    assert str(raised.value) == (
        "drawing what a model sees needs matplotlib (not installed)\n  try: pip install matplotlib"
    )
    assert not (folder / "refused").exists()


def test_a_long_and_narrow_picture_is_refused_before_the_work(folder: Path) -> None:
    from PIL import Image

    Image.new("RGB", (4000, 250)).save(folder / "narrow.png")
    done = run(folder, "demo", "narrow.png", "--size", "1000", "--out", "refused")
    assert (done.returncode, done.stderr) == (
        1,
        "error: --size 1000 makes 62500 patches of a picture of 4000×250 pixels\n"
        "  expected: at most 16384, as attention takes memory and time with the square of their number\n"
        "  try: --size 512, or a part of the picture\n",
    )
    Image.new("RGB", (4000, 30)).save(folder / "narrower.png")
    with pytest.raises(SettingError, match="where one side is at most 16 times the other"):
        api.visualize(folder / "demo", folder / "narrower.png", folder / "refused")
    assert not (folder / "refused").exists()


def test_the_size_that_is_named_fits(folder: Path) -> None:
    check_count((4000, 30), 177, 16)
    with pytest.raises(SettingError):
        check_count((4000, 30), 178, 16)


def test_a_picture_of_somebody_else_is_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    api.visualize("demo", "picture.jpg", "twice", size=64)
    api.visualize("demo", "picture.jpg", "twice", size=32)
    assert read(folder / "twice" / "picture.png").shape == (32, 32, 3)
    shutil.copy("picture.jpg", "twice/picture.png")
    assert error_text(FolderError, lambda: api.visualize("demo", "picture.jpg", "twice", size=64)) == (
        "picture.png was not drawn by dinoport, and a picture might be written over it\n"
        "  where: twice/picture.png\n  try: move it away, or choose another folder with `out`"
    )
    assert Path("twice/picture.png").read_bytes() == Path("picture.jpg").read_bytes()


def test_where_nothing_can_be_written_nothing_is_seen(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seeing, "see", lambda *arguments: pytest.fail("too late"))
    with pytest.raises(FolderError, match="not a directory"):
        api.visualize(folder / "demo", folder / "picture.jpg", folder / "picture.jpg" / "within")
    monkeypatch.setattr(os, "access", lambda *arguments: False)  # the tests may run as root
    with pytest.raises(FolderError, match="permission denied"):
        api.visualize(folder / "demo", folder / "picture.jpg", folder / "new")

"""What is typed for a path: `~`, `file://` and patterns mean what they mean in a shell; slips are answered."""

import shutil
from pathlib import Path

import pytest

import dinoport
from dinoport.errors import CheckpointError, UnknownModelError
from dinoport.files.address import typed
from tests.command_line import DEMO, EXACT, FILES, HEADS, Run, names


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    shutil.copy(DEMO, tmp_path / "my model.pth")
    return tmp_path


FORMS = ("{home}/my model.pth", "~/my model.pth", "file://{home}/my%20model.pth", "FILE://localhost{home}/my model.pth")


@pytest.mark.parametrize("form", FORMS)
def test_a_source_is_found(run: Run, home: Path, form: str) -> None:
    done = run("inspect", form.format(home=home), *HEADS)
    assert (done.code, done.err) == (0, "")
    assert f"{home}/my model.pth" in " ".join(done.out.split())
    assert dinoport.plan(form.format(home=home), num_heads=2).source.where == f"{home}/my model.pth"


@pytest.mark.parametrize("form", ["~/out", "file://{home}/out", "out", "./out"])
def test_a_folder_is_written_where_it_is_meant(run: Run, home: Path, form: str) -> None:
    report = form.replace("out", "report.json").format(home=home)
    done = run("convert", "~/my model.pth", form.format(home=home), *HEADS, *EXACT, "--report", report)
    assert (done.code, done.err) == (0, "")
    assert names(home) == {"my model.pth", "out", "report.json"}
    assert names(home / "out") == FILES
    assert run("verify", "~/my model.pth", form.format(home=home), *EXACT).code == 0


@pytest.mark.parametrize("text", ["a~b", "~nobody-of-this-name/x", "file://host/share", "file:x", "hf://a/b", "x/~"])
def test_any_other_text_stays(text: str) -> None:
    assert typed(text) == text


def test_a_file_of_that_name_goes_first(home: Path) -> None:
    (home / "~").write_bytes(b"")
    assert typed("~") == "~"


@pytest.mark.parametrize("text", ["file:///a/../b", "file:///a/%2e%2e/b", "file:///a%00b"])
def test_an_address_of_two_meanings_is_refused(text: str) -> None:
    with pytest.raises(CheckpointError, match="is not a sound address"):
        typed(text)


def test_a_pattern_that_one_file_matches_is_that_file(run: Run, home: Path) -> None:
    done = run("inspect", "my*.pth", *HEADS)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("source      my model.pth\n")


def test_a_pattern_that_several_match_gives_a_command_for_each(run: Run, home: Path) -> None:
    for number in (9, 10, 11):
        (home / f"epoch{number}.pth").touch()
    assert run("inspect", "epoch*.pth").err == (
        "error: 3 files match epoch*.pth\n"
        "  expected: one, or its path\n"
        "  try: dinoport convert epoch11.pth FOLDER\n"
        "       dinoport convert epoch10.pth FOLDER\n"
        "       dinoport convert epoch9.pth FOLDER\n"
        "       all of them: dinoport fleet OUT 'epoch*.pth'\n"
    )


def test_a_pattern_that_none_matches(run: Run, home: Path) -> None:
    assert run("inspect", "runs/*.pth").err == "error: no file matches runs/*.pth\n  try: ls -l runs\n"


def test_a_file_whose_name_is_a_pattern_is_that_file(run: Run, home: Path) -> None:
    shutil.copy(DEMO, home / "a[1].pth")
    assert run("inspect", "a[1].pth", *HEADS).out.startswith("source      a[1].pth\n")


@pytest.mark.parametrize("slip", ["my modle.pth", "my model.pt", "My model.pth", "mymodel.pth"])
def test_a_file_name_with_a_slip(run: Run, home: Path, slip: str) -> None:
    assert run("inspect", slip).err == (
        f"error: {slip} cannot be read: No such file or directory\n  did you mean: my model.pth\n  try: ls -l .\n"
    )


def test_a_folder_that_is_missing(run: Run, home: Path) -> None:
    assert run("inspect", "runs/one/model.pth").err == (
        "error: runs/one/model.pth cannot be read: No such file or directory\n"
        "  likely cause: the folder runs/one does not exist\n"
        f"  try: ls -l {home}\n"
    )


@pytest.mark.parametrize("slip", ["dnov2_vitb14", "inov2_vitb14", "dinov2_vitb_14", "DINOv2-ViT-B14", "dino2_vitb14"])
def test_a_published_name_with_a_slip(slip: str) -> None:
    with pytest.raises(UnknownModelError, match=r"did you mean: .*dinov2_vitb14"):
        dinoport.plan(slip)


@pytest.mark.parametrize("name", ["checkpoint", "model_final", "resnet50", "vit_base_patch14_dinov2"])
def test_what_is_like_no_published_name_is_a_file_that_is_missing(name: str) -> None:
    with pytest.raises(CheckpointError, match="cannot be read: No such file"):
        dinoport.plan(name)

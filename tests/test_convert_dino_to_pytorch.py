"""The classic script's options, with its defaults, and what it does with an existing folder."""

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from dinoport.cli.session import Interrupted
from dinoport.convert_dino_to_pytorch.__main__ import main
from dinoport.errors import CheckpointError, FolderError, OutputError, SettingError, UnknownModelError
from dinoport.writing.commit import publishing
from tests.goldens import state_by_formula
from tests.http_server import Site, status
from tests.published_site import published_at_home

KEYS = "dino1/formula/keys_narrow_e64_h1_p8.json"

OLD = '{"model_type": "vit", "architectures": ["ViTModel"]}'


def torch_bytes(tree: object) -> bytes:
    file = io.BytesIO()
    torch.save(tree, file)
    return file.getvalue()


@pytest.fixture(scope="module")
def files() -> tuple[bytes, bytes]:
    """A narrow ViT with its classifier as eval_linear.py saves one over CLS token and patch mean."""
    state = {name: torch.from_numpy(array) for name, array in state_by_formula(KEYS).items()}
    rng = np.random.default_rng(5)
    weight, bias = (torch.from_numpy(rng.standard_normal(s, np.float32)) for s in ((1000, 128), (1000,)))
    head = {"state_dict": {"module.linear.weight": weight, "module.linear.bias": bias}}
    return torch_bytes(state), torch_bytes(head)


@pytest.fixture
def site(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, files: tuple[bytes, bytes], request: pytest.FixtureRequest
) -> Iterator[Site]:
    monkeypatch.chdir(tmp_path)
    with published_at_home(monkeypatch, tmp_path / "torch", *files) as running:
        yield running


def test_the_defaults_are_those_of_the_script(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--pytorch_dump_folder_path", "out"])
    config = json.loads(Path("out/config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["ViTModel"]
    assert site.requests[0][0] == "/dino/dino_vitbase16_pretrain/dino_vitbase16_pretrain.pth"
    assert len(site.requests) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["Saving model dino_vitb16 to out", "Saving image processor to out"]
    assert lines[2].startswith("ViTModel: equal at ")


def test_the_pooler_is_left_out(site: Site) -> None:
    from safetensors import safe_open

    main(["--model_name", "dino_vits16", "--pytorch_dump_folder_path", "out", "--base_model"])
    with safe_open("out/model.safetensors", framework="np") as weights:
        assert not [name for name in weights.keys() if "pooler" in name]  # noqa: SIM118  # safetensors' handle is not a dict


def test_the_classifier_of_a_vit_b(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--model_name", "dino_vitb8", "--pytorch_dump_folder_path", "out", "--no-base_model"])
    config = json.loads(Path("out/config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["Dinov2ForImageClassification"]
    assert config["id2label"]["0"] == "tench, Tinca tinca"
    assert [path.rpartition("/")[2] for path, _ in site.requests] == [
        "dino_vitbase8_pretrain.pth",
        "dino_vitbase8_linearweights.pth",
    ]
    assert "Dinov2ForImageClassification: equal at " in capsys.readouterr().out


def test_a_vit_s_has_no_classifier(site: Site) -> None:
    with pytest.raises(SettingError) as caught:
        main(["--model_name", "dino_vits16", "--pytorch_dump_folder_path", "out", "--no-base_model"])
    assert str(caught.value) == (
        "--no-base_model: there is no ImageNet classifier for dino_vits16 that can be converted\n"
        "  likely cause: the published classifier of a ViT-S takes the CLS tokens of the last four blocks, "
        "which no class of Transformers or timm computes\n"
        "  try: --base_model, the default"
    )
    assert site.requests == []


def test_a_file_is_no_name(site: Site) -> None:
    with pytest.raises(UnknownModelError) as caught:
        main(["--model_name", "checkpoint.pth", "--pytorch_dump_folder_path", "out"])
    assert str(caught.value) == (
        "checkpoint.pth is not the name of a published model\n"
        "  expected: dino_vits16, dino_vits8, dino_vitb16, dino_vitb8, or another that dinoport models lists\n"
        "  try: for a file: `dinoport.convert(FILE, FOLDER, pooler='none')`"
    )


def test_an_existing_folder_keeps_what_is_not_replaced(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    Path("out/.git").mkdir(parents=True)
    Path("out/.git/HEAD").write_text("ref: refs/heads/main")
    Path("out/notes.txt").write_text("mine")
    Path("out/config.json").write_text(OLD)
    main(["--pytorch_dump_folder_path", "out"])
    assert Path("out/.git/HEAD").read_text() == "ref: refs/heads/main"
    assert Path("out/notes.txt").read_text() == "mine"
    assert json.loads(Path("out/config.json").read_text(encoding="utf-8"))["model_type"] == "vit"
    assert "replaced in out: config.json\n" in capsys.readouterr().err
    assert sorted(path.name for path in Path().iterdir()) == ["out", "torch"]


def test_an_existing_folder_is_as_it_was_when_nothing_is_converted(site: Site) -> None:
    Path("out").mkdir()
    Path("out/config.json").write_text(OLD)
    site.script = [status(404)]
    with pytest.raises(CheckpointError, match="does not exist"):
        main(["--pytorch_dump_folder_path", "out"])
    assert [(path.name, path.read_text()) for path in Path("out").iterdir()] == [("config.json", OLD)]
    assert sorted(path.name for path in Path().iterdir()) == ["out", "torch"]


def test_a_merge_that_was_cut_short_is_done_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """No mixture of old and new loads: config.json goes first and comes last."""
    main(["--model_name", "dino_vits16", "--pytorch_dump_folder_path", "out"])
    moved: list[str] = []

    def replace(self: Path, target: Path) -> Path:
        moved.append(self.name)
        if len(moved) == 3:
            raise Interrupted
        self.rename(target)
        return target

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", replace)
        with pytest.raises(Interrupted, match=r"only a part of the files was moved into out; run it again"):
            main(["--model_name", "dino_vits8", "--pytorch_dump_folder_path", "out"])
    assert not Path("out/config.json").exists()
    main(["--model_name", "dino_vits8", "--pytorch_dump_folder_path", "out"])
    assert json.loads(Path("out/config.json").read_text(encoding="utf-8"))["patch_size"] == 8
    assert sorted(path.name for path in Path().iterdir()) == ["out", "torch"]


@pytest.mark.parametrize("failure", [Interrupted, OutputError])
def test_a_folder_whose_last_words_cannot_be_printed_is_said_to_be_there(
    site: Site, monkeypatch: pytest.MonkeyPatch, failure: type[BaseException]
) -> None:
    def fail(*words: object, **options: object) -> None:
        raise failure("what happened")

    monkeypatch.setattr("builtins.print", fail)
    with pytest.raises(failure) as caught:
        main(["--model_name", "dino_vits16", "--pytorch_dump_folder_path", "out"])
    assert str(caught.value).endswith("out was written before, and is whole")
    assert Path("out/config.json").exists()


def test_a_run_that_writes_the_folder_already_is_not_disturbed(site: Site) -> None:
    Path("out").mkdir()
    Path("out/notes.txt").write_text("mine")
    with publishing(Path("out"), merge=True):
        with pytest.raises(FolderError, match="another run is writing out"):
            main(["--pytorch_dump_folder_path", "out"])
        assert Path("out/notes.txt").read_text() == "mine"


def test_a_folder_with_the_name_of_a_file_stays(site: Site) -> None:
    Path("out/model.safetensors").mkdir(parents=True)
    Path("out/config.json").write_text(OLD)
    with pytest.raises(FolderError) as caught:
        main(["--pytorch_dump_folder_path", "out"])
    place = Path("out/model.safetensors").resolve()
    assert str(caught.value) == (
        f"model.safetensors in {place.parent} would be replaced, and neither dinoport nor Transformers wrote it\n"
        f"  where: {place}\n"
        "  found: model.safetensors\n"
        "  try: remove it, or choose another folder"
    )
    assert Path("out/config.json").read_text() == OLD


def test_what_merely_looks_like_a_leftover_is_left_alone(site: Site) -> None:
    Path("out.before-conversion").mkdir()
    main(["--pytorch_dump_folder_path", "out"])
    assert Path("out.before-conversion").is_dir()


def test_a_file_in_the_way_stays(site: Site) -> None:
    Path("out").write_text("mine")
    with pytest.raises(FolderError, match="out is a file"):
        main(["--pytorch_dump_folder_path", "out"])
    assert Path("out").read_text() == "mine"


def test_the_current_folder_is_not_moved_aside(site: Site) -> None:
    with pytest.raises(FolderError, match="the current folder"):
        main(["--pytorch_dump_folder_path", "."])


def test_a_folder_of_the_models_own_name_may_be_written_twice(site: Site) -> None:
    for folder in ("dino_vitb16", "dino_vitb16", "out"):
        main(["--pytorch_dump_folder_path", folder])
    assert json.loads(Path("out/config.json").read_text(encoding="utf-8"))["model_type"] == "vit"


@pytest.mark.parametrize("option", ["--help", "--model_name"])
def test_it_runs_as_a_module(option: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dinoport.convert_dino_to_pytorch", option],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == (0 if option == "--help" else 2)
    assert "--base_model | --no-base_model" in done.stdout + done.stderr

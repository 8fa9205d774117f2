"""The config.yaml of a training run: found where upstream puts it, read as plain data, never in the way."""

import sys
from pathlib import Path

import pytest

from dinoport.formats.opening import open_checkpoint
from dinoport.formats.run_config import RunConfig, find_run_config
from tests import goldens
from tests.formats.distributed_folders import tensors, write_folder

V2 = goldens.FOLDER / "dinov2/trained_a"
V3 = goldens.FOLDER / "dinov3/trained_a"

MINIMAL = "student:\n  arch: vit_small\nteacher:\n  momentum_teacher: 0.9\n"


def config(folder: Path, text: str = MINIMAL) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(text)
    return folder


def read(folder: Path, text: str) -> RunConfig | None:
    return find_run_config(config(folder, text) / "checkpoint.pth")


class TestGenuine:
    def test_dinov2(self) -> None:
        with open_checkpoint(V2 / "teacher_checkpoint.pth") as checkpoint:
            run = checkpoint.run
        assert run is not None
        assert (run.where, run.problem) == (str(V2 / "config.yaml"), None)
        assert run.text("student.arch") == "vit_narrow"
        assert run.number("student.patch_size") == 14
        assert run.number("student.interpolate_offset") == 0.1
        assert run.flag("student.interpolate_antialias") is False
        assert run.number("crops.global_crops_size") == 98
        assert run.flag("distillation.enabled") is None

    def test_dinov3(self) -> None:
        run = find_run_config(V3 / "teacher_checkpoint.pth")
        assert run is not None
        assert run.text("student.norm_layer") == "layernorm"
        assert run.number("student.pos_embed_rope_base") == 100.0
        assert run.flag("distillation.enabled") is False


class TestValues:
    RUN = RunConfig(
        "config.yaml",
        {"a": {"text": "vit", "yes": True, "one": 1, "small": "1e-6", "empty": "", "other": "${student.arch}"}},
    )

    def test_each_type_is_its_own(self) -> None:
        assert self.RUN.text("a.text") == "vit"
        assert self.RUN.flag("a.yes") is True
        assert self.RUN.number("a.one") == 1
        assert self.RUN.number("a.small") == 1e-6

    @pytest.mark.parametrize("name", ["a", "a.b", "a.text.b", "b", "", "a.empty", "a.other"])
    def test_what_is_not_there_is_none(self, name) -> None:
        assert (self.RUN.text(name), self.RUN.number(name), self.RUN.flag(name)) == (None, None, None)

    def test_a_flag_is_no_number_and_a_number_no_flag(self) -> None:
        assert self.RUN.number("a.yes") is None
        assert self.RUN.flag("a.one") is None
        assert self.RUN.number("a.text") is None


class TestPlaces:
    @pytest.mark.parametrize(
        "path",
        [
            "model_final.rank_0.pth",
            "eval/training_9/teacher_checkpoint.pth",
            "eval/training_9/sharded_teacher_checkpoint/",
            "ckpt/9/",
            "ckpt/9_keep/",
        ],
    )
    def test_a_run_is_found_from_each_of_its_checkpoints(self, tmp_path, path) -> None:
        out = config(tmp_path / "out")
        source = out / path
        source.parent.mkdir(parents=True, exist_ok=True)
        if path.endswith("/"):
            source.mkdir()
        found = find_run_config(source)
        assert found is not None
        assert found.where == str(out / "config.yaml")

    @pytest.mark.parametrize("path", ["a/checkpoint.pth", "a/b/teacher_checkpoint.pth", "a/b/c/ckpt/9/deep/x.pth"])
    def test_folders_above_that_are_not_a_runs_are_not_searched(self, tmp_path, path) -> None:
        config(tmp_path)
        (tmp_path / path).parent.mkdir(parents=True)
        assert find_run_config(tmp_path / path) is None

    def test_a_config_of_an_evaluation_has_no_teacher(self, tmp_path) -> None:
        """As those of `dinov2/configs/eval` lie beside released weights."""
        found = read(tmp_path, "student: {arch: vit_base, patch_size: 14}\ncrops: {global_crops_size: 518}\n")
        assert found is not None
        assert found.text("student.arch") == "vit_base"

    def test_a_relative_path(self, tmp_path, monkeypatch) -> None:
        monkeypatch.chdir(config(tmp_path / "out"))
        assert find_run_config(Path("checkpoint.pth")) is not None

    def test_the_config_beside_goes_before_the_one_above(self, tmp_path) -> None:
        out = config(tmp_path / "out", MINIMAL.replace("vit_small", "above"))
        beside = config(out / "ckpt/9", MINIMAL.replace("vit_small", "beside"))
        found = find_run_config(beside)
        assert found is not None
        assert found.text("student.arch") == "beside"

    def test_a_distributed_folder_carries_its_run(self, tmp_path) -> None:
        out = config(tmp_path / "out")
        with open_checkpoint(write_folder(out / "ckpt/9", tensors())) as checkpoint:
            assert checkpoint.run is not None
            assert checkpoint.run.where == str(out / "config.yaml")


class TestOthers:
    @pytest.mark.parametrize("text", ["model: vit\n", "student: vit\nteacher: x\n", "{}", "student: {a: 1}\n"])
    def test_another_codes_config_is_none(self, tmp_path, text) -> None:
        assert read(tmp_path, text) is None

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("a: &x [1, 2]\nb: *x\n", "it refers to its own parts (YAML aliases), which can unfold without end"),
            ("a: 1\nb: {c: 2, d: 3, c: 4}\n", "it says 'c' twice"),
            ("a:\n  - {c: 2}\n  - {c: 2, 'c': 2}\n", "it says 'c' twice"),
            ("[" * 30 + "]" * 30, "it is larger or deeper than any training config"),
            ("[" * 5000, "it is larger or deeper than any training config"),
            ("a: " + "[1, 2, 3]\n  " * 20 + "[" + "1," * 20_000 + "]", None),
            ("x" * 70_000, "it has more than 65536 bytes"),
            ("a: 1" + ":59" * 1000, "it is larger or deeper than any training config"),
            ("- 1\n- 2\n", "it holds no settings"),
            ("", "it holds no settings"),
            ("student: [1\n", None),
            ("a: 2024-99-99\n", None),
            ("? [1, 2]\n: 3\n", None),
            ("a: !!python/object/apply:os.system ['touch ran']\n", None),
            ("a: \x00\n", None),
        ],
    )
    def test_what_cannot_be_read_is_said_and_stops_nothing(self, tmp_path, monkeypatch, text, problem) -> None:
        monkeypatch.chdir(tmp_path)
        found = read(tmp_path, text)
        assert found is not None
        assert found.values == {}
        assert found.problem == problem if problem else found.problem
        assert not (tmp_path / "ran").exists()

    def test_a_text_that_would_rewrite_the_terminal_is_none(self, tmp_path) -> None:
        found = read(tmp_path, 'student: {arch: "vit\\x1b[2J"}\nteacher: {}\n')
        assert found is not None
        assert found.problem is None
        assert found.text("student.arch") is None

    def test_many_values_are_too_many(self, tmp_path) -> None:
        found = read(tmp_path, "a: [" + "1," * 20_000 + "]")
        assert found is not None
        assert found.problem == "it is larger or deeper than any training config"

    def test_bytes_that_are_no_text(self, tmp_path) -> None:
        (tmp_path / "config.yaml").write_bytes(b"\xff\xfe\xfa")
        found = find_run_config(tmp_path / "checkpoint.pth")
        assert found is not None
        assert "codec can't decode" in str(found.problem)

    @pytest.mark.skipif(sys.platform == "win32", reason="a pipe is needed")
    def test_a_pipe_is_not_waited_for(self, tmp_path) -> None:
        import os

        os.mkfifo(tmp_path / "config.yaml")
        assert find_run_config(tmp_path / "checkpoint.pth") is None

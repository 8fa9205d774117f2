"""The output folder of a run given for a checkpoint."""

import json
import shlex
import shutil
from dataclasses import replace
from glob import escape
from pathlib import Path

import pytest

from dinoport.cli.options import as_options
from dinoport.errors import CheckpointError
from dinoport.finding.sources import locate
from dinoport.formats import run_folder
from dinoport.formats.opening import open_checkpoint
from dinoport.formats.run_folder import checkpoint_within
from dinoport.formats.torch.writer import write_torch_file
from dinoport.work.fleets.jobs import expanded
from tests import formula, goldens, tiny
from tests.error_text import error_text
from tests.formats.distributed_folders import tensors, write_folder
from tests.writing.stub_tensors import tensor

TEACHER = goldens.FOLDER / "dinov2/trained_a/teacher_checkpoint.pth"


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(TEACHER, path))


def where(folder: Path) -> str:
    with open_checkpoint(folder) as checkpoint:
        return checkpoint.where


@pytest.mark.parametrize("path", ["teacher_checkpoint.pth", "eval/training_9/teacher_checkpoint.pth", "last.pth"])
def test_the_only_checkpoint_is_taken(tmp_path, path) -> None:
    expected = put(tmp_path / path)
    (tmp_path / "config.yaml").write_text("a: 1")
    assert where(tmp_path) == str(expected)


def test_a_teacher_goes_before_the_files_of_ranks(tmp_path) -> None:
    put(tmp_path / "model_final.rank_0.pth")
    expected = put(tmp_path / "eval/training_9/teacher_checkpoint.pth")
    assert where(tmp_path) == str(expected)


def test_what_else_looks_like_a_checkpoint_is_told_of(tmp_path) -> None:
    put(tmp_path / "run/teacher_checkpoint.pth")
    with open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint.remarks == ()
    put(tmp_path / "model_final.rank_0.pth")
    put(tmp_path / "another/model.pth")
    put(tmp_path / "another/model.pt")
    write_folder(tmp_path / "third/9", tensors())
    with open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint.remarks == (
            f"run/teacher_checkpoint.pth was chosen; also in {tmp_path}: another/model.pt, another/model.pth, "
            "model_final.rank_0.pth, and 1 more",
        )


@pytest.mark.parametrize("path", ["ckpt/9", "9", "eval/training_9/sharded_teacher_checkpoint"])
def test_the_only_distributed_checkpoint_is_taken(tmp_path, path) -> None:
    expected = write_folder(tmp_path / path, tensors())
    assert where(tmp_path) == str(expected)


def test_several_are_listed_latest_first(tmp_path) -> None:
    for iteration in (9, 119, 29):
        put(tmp_path / f"eval/training_{iteration}/teacher_checkpoint.pth")
    write_folder(tmp_path / "ckpt/39", tensors())
    assert as_options(error_text(CheckpointError, lambda: open_checkpoint(tmp_path))).replace(str(tmp_path), "RUN") == (
        "RUN holds 4 checkpoints\n"
        "  expected: one, or its path\n"
        "  try: dinoport convert RUN/eval/training_119/teacher_checkpoint.pth FOLDER\n"
        "       dinoport convert RUN/ckpt/39 FOLDER\n"
        "       dinoport convert RUN/eval/training_29/teacher_checkpoint.pth FOLDER\n"
        "       dinoport convert RUN/eval/training_9/teacher_checkpoint.pth FOLDER\n"
        "       all of them: dinoport fleet OUT RUN"
    )


def test_of_many_some_are_listed(tmp_path) -> None:
    for iteration in range(10):
        put(tmp_path / f"eval/training_{iteration}/teacher_checkpoint.pth")
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(tmp_path)
    assert caught.value.next_step is not None
    assert len(caught.value.next_step) == 8
    assert caught.value.next_step[6] == "… 4 more"


def test_what_lies_a_folder_below_is_named(tmp_path) -> None:
    path = put(tmp_path / "run/model.pth")
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(tmp_path)
    assert caught.value.next_step == (f"`dinoport.convert({str(path)!r}, FOLDER)`",)
    saved = saved_by_a_trainer(tmp_path / "run")
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(tmp_path)
    assert caught.value.next_step == (f"`dinoport.convert({str(saved)!r}, FOLDER, to='original')`",)


@pytest.mark.parametrize(
    ("paths", "patterns"),
    [
        (["a/checkpoint.pth", "b/checkpoint.pth"], ["*/checkpoint.pth"]),
        (["a/checkpoint.pth", "a/checkpoint0010.pth", "b/checkpoint.pth"], ["*/checkpoint*.pth"]),
        (["a/best.pth", "b/last.pt"], ["*/best.pth", "*/last.pt"]),
        (["mine [1]/5/last.ckpt", "mine [2]/6/last.ckpt"], ["*/*/last.ckpt"]),
        ([f"a/{name}.pth" for name in "pqrst"], ["*"]),
        (["a/eval/t_9/teacher_checkpoint.pth", "b/eval/t_8/teacher_checkpoint.pth"], ["*/*/*/teacher_checkpoint.pth"]),
        (["a/model_final.rank_0.pth", "b/x/teacher_checkpoint.pth"], ["*"]),
    ],
)
def test_a_folder_of_runs_proposes_a_fleet_of_what_is_there(tmp_path, paths, patterns) -> None:
    runs = tmp_path / "my [runs]"
    found = sorted(str(put(runs / path)) for path in paths)
    (runs / "notes").mkdir()
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(runs)
    everything, one = (as_options(step) for step in caught.value.next_step)
    label, command = everything.split(": ")
    assert label == "all of them"
    assert shlex.split(command)[:3] == ["dinoport", "fleet", "OUT"]
    given = shlex.split(command)[3:]
    assert given == [str(Path(escape(str(runs)), pattern)) for pattern in patterns]
    taken = {each for pattern in given for each in expanded(pattern)}
    assert taken - {str(runs / "notes")} == {*found}
    assert shlex.split(one) == ["one", "of", "them:", "dinoport", "convert", found[0], "FOLDER"]


def small(path: Path, width: int, depth: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    architecture = replace(tiny.ARCHITECTURE, width=width, mlp_hidden=4 * width, depth=depth)
    shapes = {**architecture.tensors(), **tiny.DROPPED}
    write_torch_file(path, [tensor(name, formula.tensor(name, shape)) for name, shape in shapes.items()])
    return path


@pytest.mark.parametrize(
    ("width", "depth", "is_of_another"), [(8, 1, False), (16, 1, True), (8, 2, True), (0, 0, False)]
)
def test_a_folder_with_a_model_of_other_sizes_is_not_taken_for_one_training(
    tmp_path, width, depth, is_of_another
) -> None:
    taken = small(tmp_path / "teacher_checkpoint.pth", 8, 1)
    other = tmp_path / "another/model.pth"
    if width:
        small(other, width, depth)
    else:  # what is no model is of no training
        other.parent.mkdir()
        other.write_bytes(b"")
    if not is_of_another:
        with locate(tmp_path).open() as checkpoint:
            assert checkpoint.where == str(taken)
            assert "another/model.pth" in checkpoint.remarks[0]
        return
    assert as_options(error_text(CheckpointError, lambda: locate(tmp_path).open())).replace(str(tmp_path), "RUNS") == (
        "RUNS holds checkpoints of models of different sizes\n"
        "  expected: one, or its path\n"
        "  try: dinoport convert RUNS/teacher_checkpoint.pth FOLDER\n"
        "       dinoport convert RUNS/another/model.pth FOLDER\n"
        "       all of them: dinoport fleet OUT RUNS/teacher_checkpoint.pth RUNS/another/model.pth"
    )


@pytest.mark.parametrize(
    ("others", "commands"),
    [
        ([f"r{number}/model.pth" for number in range(9)], ["*/*.pth", "*.pth"]),
        ([*(f"r{number}/model.pth" for number in range(9)), "r0/optimizer.pth"], None),
        (["a/model.pth", "b/model.pth"], None),
    ],
)
@pytest.mark.parametrize("is_distributed", [False, True])
def test_the_fleet_of_models_of_different_sizes_takes_each_of_them(tmp_path, others, commands, is_distributed) -> None:
    """Those too that were not compared, because there are many, or that are of one size with the one that was taken."""
    runs = tmp_path / "my [runs]"
    taken = write_folder(runs / "9", tensors()) if is_distributed else small(runs / "teacher_checkpoint.pth", 8, 1)
    for index, path in enumerate(others):
        small(runs / path, 16 if index % 2 else 8, 1)
    models = [path for path in others if "optimizer" not in path]
    with pytest.raises(CheckpointError, match="holds checkpoints of models of different sizes") as caught:
        locate(runs).open()
    *each, everything = caught.value.next_step
    assert len(each) == min(len(models) + 1, 7)
    assert each[6:] == [f"… {len(models) - 5} more"][: len(each[6:])]
    given = shlex.split(as_options(everything).removeprefix("all of them: dinoport fleet OUT "))
    if commands and not is_distributed:
        assert given == [str(Path(escape(str(runs)), pattern)) for pattern in commands]
    assert sorted(path for source in given for path in expanded(source)) == sorted(
        map(str, [taken, *(runs / path for path in models)])
    )


def test_a_data_set_beside_runs_is_not_listed_to_its_end(tmp_path, monkeypatch) -> None:
    for path in ("a/checkpoint.pth", "b/checkpoint.pth"):
        put(tmp_path / path)
    (tmp_path / "data").mkdir()
    for number in range(50):
        (tmp_path / f"data/{number}.jpg").touch()
    monkeypatch.setattr(run_folder, "MAX_NAMES", 20)
    listed = []
    entries = run_folder._entries
    monkeypatch.setattr(
        run_folder, "_entries", lambda folders: (listed.append(each) or each for each in entries(folders))
    )
    assert run_folder.commands_below(tmp_path) == ()
    assert len(listed) == 3 + 21
    monkeypatch.setattr(run_folder, "MAX_NAMES", 52)
    assert len(run_folder.commands_below(tmp_path)) == 2


def test_a_folder_without_any(tmp_path) -> None:
    (tmp_path / "log.txt").touch()
    assert as_options(error_text(CheckpointError, lambda: open_checkpoint(tmp_path))).replace(str(tmp_path), "RUN") == (
        "RUN is a folder, but not one that holds a checkpoint\n"
        "  expected: a folder of Transformers, timm, PEFT, accelerate or DeepSpeed, the folder of a "
        "training run, or a distributed checkpoint\n"
        "  found: log.txt\n"
        "  try: give the file or the folder that the weights are in"
    )


def saved_by_a_trainer(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("model.safetensors", "config.json"):
        (folder / name).write_bytes(b"{}")
    return folder


def test_the_trainer_s_folders_are_listed_the_latest_first(tmp_path) -> None:
    run = tmp_path / "run"
    for step in (500, 1000, 1500):
        saved_by_a_trainer(run / f"checkpoint-{step}")
    (run / "checkpoint-2000").mkdir()  # cut short: nothing was saved yet
    (run / "runs").mkdir()
    assert as_options(error_text(CheckpointError, lambda: open_checkpoint(run))) == (
        f"{run} holds 3 checkpoints\n"
        "  expected: one, or its path\n"
        f"  try: dinoport convert {run}/checkpoint-1500 FOLDER --to original\n"
        f"       dinoport convert {run}/checkpoint-1000 FOLDER --to original\n"
        f"       dinoport convert {run}/checkpoint-500 FOLDER --to original\n"
        f"       all of them: dinoport fleet OUT {run} --to original"
    )


def test_a_folder_of_timm_below_is_no_folder_of_transformers_already(tmp_path) -> None:
    for name, config in (("theirs", '{"model_type": "vit"}'), ("timms", '{"architecture": "vit_base"}')):
        (saved_by_a_trainer(tmp_path / name) / "config.json").write_text(config)
    (saved_by_a_trainer(tmp_path / "unreadable") / "config.json").write_text("{")
    assert as_options(error_text(CheckpointError, lambda: open_checkpoint(tmp_path))).split("try: ")[
        1
    ].splitlines() == [
        f"dinoport convert {tmp_path}/theirs FOLDER --to original",
        f"       dinoport convert {tmp_path}/timms FOLDER",
        f"       dinoport convert {tmp_path}/unreadable FOLDER --to original",
    ]


def trained(run: Path, **state: object) -> Path:
    for step in (500, 1000, 1500):
        saved_by_a_trainer(run / f"checkpoint-{step}")
    (run / "checkpoint-1500/trainer_state.json").write_text(json.dumps(state))
    return run


@pytest.mark.parametrize("path", ["out/checkpoint-1000", "/home/me/old/checkpoint-1000/", "C:\\runs\\checkpoint-1000"])
def test_of_a_trainer_s_the_best_by_its_own_record_is_taken(path: str, tmp_path) -> None:
    run = trained(tmp_path / "run", best_model_checkpoint=path, best_metric=0.8125)
    assert checkpoint_within(run) == (
        run / "checkpoint-1000",
        (
            "checkpoint-1000 was chosen, the best by its Trainer's own record (best_model_checkpoint in "
            f"checkpoint-1500/trainer_state.json, metric 0.8125); also in {run}: checkpoint-1500, checkpoint-500",
        ),
    )


@pytest.mark.parametrize("name", [None, 7, "", "elsewhere/checkpoint-9", "run/checkpoint-1000/..", "checkpoint-1000x"])
def test_a_record_that_names_none_of_them_chooses_none(name: object, tmp_path) -> None:
    with pytest.raises(CheckpointError, match="run holds 3 checkpoints"):
        checkpoint_within(trained(tmp_path / "run", best_model_checkpoint=name))


def test_a_record_that_is_no_json_chooses_none(tmp_path) -> None:
    run = trained(tmp_path / "run")
    (run / "checkpoint-1500/trainer_state.json").write_text("{")
    with pytest.raises(CheckpointError, match="run holds 3 checkpoints"):
        checkpoint_within(run)

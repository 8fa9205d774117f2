"""Which branch of a training checkpoint is meant, and what is left of its names."""

from pathlib import Path

import pytest
import torch

from dinoport.finding.unwrap import StateDict, state_dicts
from dinoport.formats.opening import open_checkpoint
from tests.formats.distributed_folders import write_folder

UPSTREAM = "which upstream evaluates and publishes"
BY_SHAPE = "the model that was distilled: the teacher is another one, as its shapes show"
BY_CONFIG = "the model that was distilled: the run's config says that the teacher is another one"


def training(teacher: int = 4, student: int = 4, branches: tuple[str, ...] = ("student", "teacher", "model_ema")):
    """A training checkpoint of DINOv3 in small, flat as distributed checkpoints are; every value once."""
    made: dict[str, torch.Tensor] = {}
    first = 0
    for branch in branches:
        width = teacher if branch == "teacher" else student
        shapes = {"backbone.cls_token": (1, 1, width), "backbone.norm.weight": (width,), "dino_head.mlp.0.bias": (7,)}
        for name, shape in shapes.items():
            count = torch.Size(shape).numel()
            made[f"model.{branch}.{name}"] = torch.arange(first, first + count, dtype=torch.float32).reshape(shape)
            first += count
    made["model.dino_loss.center"] = torch.full((1, 7), -1.0)
    made["optimizer.state.student.backbone.cls_token.exp_avg"] = torch.full((1, 1, student), -2.0)
    return made


def states(folder: Path, tensors: dict[str, torch.Tensor]) -> list[StateDict]:
    with open_checkpoint(write_folder(folder, tensors)) as checkpoint:
        return state_dicts(checkpoint)


def test_the_teacher_of_a_full_training_folder_is_meant(tmp_path) -> None:
    found = states(tmp_path / "9", training())
    assert [state.label for state in found] == ["teacher", "model_ema", "student"]
    assert found[0].why == UPSTREAM
    assert list(found[0].tensors) == ["cls_token", "norm.weight", "dino_head.mlp.0.bias"]
    assert found[0].notes == (
        "prefix 'model.teacher.backbone.' stripped from 2 names",
        "prefix 'model.teacher.' stripped from 1 name",
    )


@pytest.mark.parametrize(
    ("branches", "order"),
    [
        (("teacher", "student"), ["student", "teacher"]),
        (("teacher", "student", "model_ema"), ["model_ema", "student", "teacher"]),
        (("gram_teacher", "teacher", "student", "ema"), ["ema", "student", "teacher", "gram_teacher"]),
    ],
)
def test_a_teacher_of_other_shapes_is_only_learnt_from(tmp_path, branches, order) -> None:
    found = states(tmp_path / "9", training(teacher=8, branches=branches))
    assert [state.label for state in found] == order
    assert found[0].why == BY_SHAPE
    assert {state.why for state in found[1:]} == {""}


def test_a_head_of_its_own_makes_no_other_teacher(tmp_path) -> None:
    tensors = training()
    tensors["model.model_ema.dino_head.mlp.0.bias"] = torch.zeros(9)
    assert states(tmp_path / "9", tensors)[0].label == "teacher"


def test_one_tensor_of_another_shape_makes_no_other_teacher(tmp_path) -> None:
    """It is damaged, and refused where its model is read: the student is not taken in its place."""
    tensors = training()
    for number, branch in enumerate(("teacher", "student", "model_ema")):
        names = [f"model.{branch}.backbone.blocks.{block}.norm1.weight" for block in range(9)]
        tensors |= {name: torch.full((4,), 100.0 * number + block) for block, name in enumerate(names)}
    tensors["model.teacher.backbone.norm.weight"] = torch.zeros(0)
    assert states(tmp_path / "9", tensors)[0].label == "teacher"


def test_a_deeper_teacher_is_another_one(tmp_path) -> None:
    tensors = training()
    tensors["model.teacher.backbone.blocks.0.attn.qkv.weight"] = torch.zeros(12, 4)
    assert states(tmp_path / "9", tensors)[0].label == "model_ema"


def test_a_buffer_that_one_branch_lacks_makes_no_other_teacher(tmp_path) -> None:
    tensors = training()
    tensors["model.teacher.backbone.bn1.num_batches_tracked"] = torch.tensor(5)
    assert states(tmp_path / "9", tensors)[0].label == "teacher"


def test_the_config_says_that_a_run_distils(tmp_path) -> None:
    text = "student: {arch: vit_small}\nteacher: {a: 1}\ndistillation: {enabled: true}\n"
    (tmp_path / "config.yaml").write_text(text)
    (tmp_path / "ckpt").mkdir()
    found = states(tmp_path / "ckpt/9", training())
    assert (found[0].label, found[0].why) == ("model_ema", BY_CONFIG)


def test_a_config_that_says_no_does_not_outweigh_the_shapes(tmp_path) -> None:
    text = "student: {arch: vit_small}\nteacher: {a: 1}\ndistillation: {enabled: false}\n"
    (tmp_path / "config.yaml").write_text(text)
    found = states(tmp_path / "9", training(teacher=8))
    assert (found[0].label, found[0].why) == ("model_ema", BY_SHAPE)


def test_without_a_teacher_the_average_is_meant(tmp_path) -> None:
    found = states(tmp_path / "9", training(branches=("student", "model_ema")))
    assert [state.label for state in found] == ["model_ema", "student"]
    assert found[0].why == "which comes first among the copies here"

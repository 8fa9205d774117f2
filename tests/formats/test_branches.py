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


@pytest.mark.parametrize(
    ("name", "tensor", "first"),
    [
        ("model_ema.dino_head.mlp.0.bias", torch.zeros(9), "teacher"),  # a head of its own
        ("teacher.backbone.bn1.num_batches_tracked", torch.tensor(5), "teacher"),  # a buffer that one branch lacks
        ("teacher.backbone.blocks.0.attn.qkv.weight", torch.zeros(12, 4), "model_ema"),  # a deeper one
    ],
)
def test_a_tensor_that_one_branch_has_alone_makes_another_teacher_in_a_block_only(
    name: str, tensor: torch.Tensor, first: str, tmp_path
) -> None:
    assert states(tmp_path / "9", training() | {f"model.{name}": tensor})[0].label == first


def test_one_tensor_of_another_shape_makes_no_other_teacher(tmp_path) -> None:
    """It is damaged, and refused where its model is read: the student is not taken in its place."""
    tensors = training()
    for number, branch in enumerate(("teacher", "student", "model_ema")):
        names = [f"model.{branch}.backbone.blocks.{block}.norm1.weight" for block in range(9)]
        tensors |= {name: torch.full((4,), 100.0 * number + block) for block, name in enumerate(names)}
    tensors["model.teacher.backbone.norm.weight"] = torch.zeros(0)
    assert states(tmp_path / "9", tensors)[0].label == "teacher"


@pytest.mark.parametrize(
    ("enabled", "teacher", "why"),
    [("true", {}, BY_CONFIG), ("false", {"teacher": 8}, BY_SHAPE)],
    ids=["it says so", "its no does not outweigh the shapes"],
)
def test_the_config_of_a_run_that_distils(enabled: str, teacher: dict[str, int], why: str, tmp_path) -> None:
    text = f"student: {{arch: vit_small}}\nteacher: {{a: 1}}\ndistillation: {{enabled: {enabled}}}\n"
    (tmp_path / "config.yaml").write_text(text)
    (tmp_path / "ckpt").mkdir()
    found = states(tmp_path / "ckpt/9", training(**teacher))
    assert (found[0].label, found[0].why) == ("model_ema", why)


def test_without_a_teacher_the_average_is_meant(tmp_path) -> None:
    found = states(tmp_path / "9", training(branches=("student", "model_ema")))
    assert [state.label for state in found] == ["model_ema", "student"]
    assert found[0].why == "which comes first among the copies here"

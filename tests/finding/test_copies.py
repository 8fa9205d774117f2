"""Copies of one model in a training checkpoint: none stands for another in silence, or lacks what another has."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
# ruff: noqa: E402 (imports below need torch)

from dinoport import convert, plan
from dinoport.errors import CheckpointError, DinoportError
from dinoport.finding.attributes import stated_by_copies
from dinoport.finding.choosing import choose
from dinoport.finding.unwrap import state_dicts
from dinoport.formats.opening import open_checkpoint
from dinoport.report.report import Report
from tests import formula
from tests.models import V2

State = Mapping[str, Any]


def state(number: float = 0.0) -> dict[str, Any]:
    model = dict(V2.tensors()) | {"register_tokens": (1, 4, V2.width)}
    return {name: torch.from_numpy(formula.tensor(name, shape)) + number for name, shape in model.items()}


def planned(path: Path, **copies: State) -> Report:
    torch.save(copies, path)
    return plan(path, num_heads=1)


def without(tensors: State, part: str) -> dict[str, Any]:
    return {name: tensor for name, tensor in tensors.items() if not re.search(part, name)}


PARTS = ("register_tokens", "attn.qkv.bias", "attn.proj.bias", r"mlp.fc\d.bias", r"ls\d.gamma")


@pytest.mark.parametrize("part", PARTS)
def test_a_copy_that_lost_a_part_which_another_has(tmp_path: Path, part: str) -> None:
    """It would be read as a model without that part, and every proof would pass."""
    lost = [name for name in state() if re.search(part, name)]
    with pytest.raises(CheckpointError) as caught:
        planned(tmp_path / "run.pth", teacher=without(state(), part), student=state(1))
    assert str(caught.value) == (
        f"{tmp_path / 'run.pth'} has a part of its model in student alone\n"
        "  expected: the same names in teacher as in student\n"
        f"  found: {', '.join(lost[:5])}, which teacher lacks\n"
        "  likely cause: a damaged file, or two models of one run that differ\n"
        "  try: to take the other one: add `checkpoint_key='student'`"
    )


@pytest.mark.parametrize("part", ["register_tokens", "attn.qkv.bias", "mask_token"])
def test_copies_that_both_lack_a_part(tmp_path: Path, part: str) -> None:
    copies = {"teacher": without(state(), part), "student": without(state(1), part)}
    assert "teacher was chosen" in str(planned(tmp_path / "run.pth", **copies).remarks)


def test_a_mask_token_of_the_student_alone(tmp_path: Path) -> None:
    """IBOT's teacher has none, and no output depends on it."""
    copies = {"teacher": without(state(), "mask_token"), "student": state(1)}
    assert "teacher was chosen" in str(planned(tmp_path / "run.pth", **copies).remarks)


RENAMED: dict[str, Callable[[str], str]] = {
    "other names throughout": lambda name: f"tower.{name.replace('.', '_')}",
    "blocks called layers": lambda name: name.replace("blocks.", "encoder.layers.").replace("cls_token", "class_token"),
}


@pytest.mark.parametrize("kind", RENAMED)
@pytest.mark.parametrize("preferred", ["teacher", "model_ema"])
def test_a_preferred_copy_under_unknown_names(tmp_path: Path, kind: str, preferred: str) -> None:
    """The student was converted once, and said to be the model that was distilled."""
    copies = {preferred: {RENAMED[kind](name): tensor for name, tensor in state().items()}, "student": state(1)}
    with pytest.raises(DinoportError) as caught:
        planned(tmp_path / "run.pth", **copies)
    if kind == "other names throughout":
        begin = f"{tmp_path / 'run.pth'} has its student under names that are known, but not its {preferred}\n"
        assert str(caught.value).startswith(begin)
        assert str(caught.value).endswith("to take the other one: add `checkpoint_key='student'`")
    assert "student" in str(plan(tmp_path / "run.pth", num_heads=1, checkpoint_key="student").source)


@pytest.mark.parametrize("wrap", ["net.", "vit.encoder.", "tower.model."])
def test_a_student_below_a_prefix_is_not_taken_for_a_teacher_of_another_size(tmp_path: Path, wrap: str) -> None:
    """Its blocks were not counted, and it was taken in the teacher's place, in silence."""
    report = planned(tmp_path / "run.pth", teacher=state(), student={f"{wrap}{k}": v for k, v in state(1).items()})
    assert report.source.branch == "teacher"


def test_a_preferred_copy_below_a_prefix(tmp_path: Path) -> None:
    copies = {"teacher": {f"tower.net.{name}": tensor for name, tensor in state().items()}, "student": state(1)}
    report = planned(tmp_path / "run.pth", **copies)
    assert "teacher.tower.net" in str(report.source)


LIGHTLY_TRAIN = Path(__file__).parents[1] / "fixtures" / "wrapped" / "lt_dino_ckpt" / "last.ckpt"


STUDENT = "state_dict.student_embedding_model.wrapped_model._model."


def test_a_student_of_the_teachers_sizes_has_its_heads_as_an_assumption(tmp_path: Path) -> None:
    """The module that knows them holds the teacher's tensors."""
    report = convert(LIGHTLY_TRAIN, tmp_path / "student", prefix=STUDENT, level="exact")
    heads = next(each for each in report.settings if each.name == "heads")
    assert (heads.value, heads.origin, heads.reason) == ("4", "assumed", "as lightly_train.models.model has it")
    assert "assuming heads = 4 (as lightly_train.models.model has it)" in str(report.verdict)


def test_a_student_of_other_sizes_has_none(tmp_path: Path) -> None:
    """As in a distillation: the teacher says nothing of it."""
    with open_checkpoint(LIGHTLY_TRAIN) as checkpoint:
        found = choose(checkpoint.where, state_dicts(checkpoint), None, STUDENT)
        said = stated_by_copies(checkpoint, found.state, found.others)
        assert {name: each.value for name, each in said.items()}.items() >= {("num_heads", 4)}
        shorter = {name: tensor for name, tensor in found.state.tensors.items() if "blocks.1." not in name}
        assert stated_by_copies(checkpoint, replace(found.state, tensors=shorter), found.others) == {}

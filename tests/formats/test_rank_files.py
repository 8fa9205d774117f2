"""What DINOv2's training saves: whole teachers, files of a single process, and files of one rank of several."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from dinoport.errors import CheckpointError
from dinoport.finding.unwrap import state_dicts
from dinoport.formats.opening import open_checkpoint
from tests import goldens

SINGLE = goldens.FOLDER / "dinov2/trained_a/model_final.rank_0.pth"
TEACHER = goldens.FOLDER / "dinov2/trained_a/teacher_checkpoint.pth"
ONE_OF_TWO = goldens.FOLDER / "dinov2/trained_2rank/model_final.rank_1.pth"


def refused(path: Path) -> str:
    with open_checkpoint(path) as checkpoint, pytest.raises(CheckpointError) as caught:
        state_dicts(checkpoint)
    return str(caught.value).replace(str(path.parent), "RUN")


def test_the_file_of_a_single_process_holds_the_teacher_that_evaluation_saves() -> None:
    with open_checkpoint(SINGLE) as whole, open_checkpoint(TEACHER) as saved:
        teacher, student = state_dicts(whole)
        [expected] = state_dicts(saved)
        assert (teacher.branch, student.branch) == ("teacher", "student")
        assert teacher.tensors.keys() == expected.tensors.keys()
        for name, tensor in expected.tensors.items():
            assert np.array_equal(teacher.tensors[name].read(), tensor.read()), name


def test_the_names_of_a_teacher_are_bare_and_its_blocks_flat() -> None:
    with open_checkpoint(TEACHER) as checkpoint:
        [state] = state_dicts(checkpoint)
    assert {name for name in state.tensors if name.endswith("norm1.weight")} == {
        f"blocks.{block}.norm1.weight" for block in range(4)
    }
    assert state.originals["blocks.3.norm1.weight"] == "backbone.blocks.3.3.norm1.weight"
    assert {name.split(".")[0] for name in state.tensors} == {
        "cls_token", "mask_token", "pos_embed", "patch_embed", "blocks", "norm", "dino_head", "ibot_head",
    }  # fmt: skip
    assert state.notes == (
        "prefix 'backbone.' stripped from 63 names",
        "block chunks flattened in 56 names: blocks.{chunk}.{block} became blocks.{block}",
    )


def test_one_rank_of_several_is_refused(tmp_path) -> None:
    path = Path(shutil.copy(ONE_OF_TWO, tmp_path))
    assert refused(path) == (
        "RUN/model_final.rank_1.pth holds one rank's part of a model that was trained on several\n"
        "  expected: whole tensors\n"
        "  found: 14 tensors of which it has a part, such as student.backbone.blocks.0._flat_param\n"
        "  likely cause: FSDP saves a file for each rank; their parts cannot be told apart without the model's code\n"
        "  try: give eval/<iteration>/teacher_checkpoint.pth of the run, which holds the whole teacher"
    )


def test_the_files_to_use_instead_are_named_where_they_lie(tmp_path) -> None:
    path = Path(shutil.copy(ONE_OF_TWO, tmp_path))
    shutil.copy(ONE_OF_TWO, tmp_path / "model_final.rank_0.pth")
    for iteration in (9, 19):
        (tmp_path / f"eval/training_{iteration}").mkdir(parents=True)
        (tmp_path / f"eval/training_{iteration}/teacher_checkpoint.pth").touch()
    message = refused(path)
    assert "_flat_param; it is rank 1's, and the files of 2 ranks lie here\n" in message
    assert message.endswith(
        "  try: give the whole teacher, which the run's evaluation saved: RUN/eval/training_19/teacher_checkpoint.pth "
        "(or RUN/eval/training_9/teacher_checkpoint.pth)"
    )


def test_two_blocks_of_one_number_in_two_chunks_are_refused(tmp_path) -> None:
    names = ["blocks.0.0.attn.qkv.weight", "blocks.1.0.attn.qkv.weight"]
    path = tmp_path / "f.pth"
    torch.save({name: torch.full((3, 1), float(place)) for place, name in enumerate(names)}, path)
    assert refused(path) == (
        "two tensors of RUN/f.pth become one once their prefixes are stripped\n"
        "  expected: one tensor for each name of the model\n"
        "  found: 'blocks.0.0.attn.qkv.weight' and 'blocks.1.0.attn.qkv.weight', both 'blocks.0.attn.qkv.weight'\n"
        "  likely cause: two models or a wrapped and an unwrapped copy were merged into one state dict\n"
        "  try: save the model that you mean on its own, or remove the other copy's entries"
    )


def test_stages_and_blocks_of_another_network_stay_as_they_are(tmp_path) -> None:
    names = ["blocks.0.0.conv.weight", "blocks.1.0.conv.weight"]
    torch.save({name: torch.full((3, 1), float(place)) for place, name in enumerate(names)}, tmp_path / "f.pth")
    with open_checkpoint(tmp_path / "f.pth") as checkpoint:
        [state] = state_dicts(checkpoint)
    assert list(state.tensors) == names

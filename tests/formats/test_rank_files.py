"""What DINOv2's training saves: whole teachers, files of a single process, and files of one rank of several."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributed._shard.sharded_tensor.api import ShardedTensor

from dinoport.errors import CheckpointError, PlanError
from dinoport.finding.unwrap import state_dicts
from dinoport.formats.opening import open_checkpoint
from dinoport.networks.vit.architecture import ViT
from tests import formula, goldens
from tests.error_text import error_text
from tests.models import V2, V2_BARE, V2_SWIGLU, dinov2

SINGLE = goldens.FOLDER / "dinov2/trained_a/model_final.rank_0.pth"
TEACHER = goldens.FOLDER / "dinov2/trained_a/teacher_checkpoint.pth"
SMALL = {"width": 32, "depth": 2, "heads": 1, "mlp_hidden": 64, "patch_size": 8, "image_size": 32}

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


class Unit:
    """One rank's part of an FSDP unit, as torch pickles it; torch itself makes one in a process group alone."""

    def __init__(self, rank: int, ranks: int) -> None:
        self._process = ShardedTensor.ProcessGroupState(rank, rank, ranks, ranks)

    def __reduce__(self) -> tuple[object, ...]:
        size = (torch.float32, (6,), (1,), 0, torch.strided, torch.device("cpu"), True)
        made = (torch._utils._rebuild_wrapper_subclass, ShardedTensor, (ShardedTensor, *size))
        return torch._tensor._rebuild_from_type_v2, (*made, ([], None, self._process, None, False))


def save_ranks(folder: Path, whole: dict[str, torch.Tensor], ranks: int = 3, iteration: int = 29) -> list[Path]:
    """A file for each rank: of every tensor a piece, some of them empty."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"model_{iteration:07}.rank_{rank}.pth" for rank in range(ranks)]
    for rank, path in enumerate(paths):
        model: dict[str, object] = {"teacher.backbone._flat_param": Unit(rank, ranks)}
        for place, (name, tensor) in enumerate(whole.items()):
            first = tensor.numel() * (place % 4) // 3
            cuts = [0, first, max(first, tensor.numel() * 2 // 3), tensor.numel()]
            model[f"teacher.{name}"] = tensor.flatten()[cuts[rank] : cuts[rank + 1]].clone()
        model["dino_loss.center"] = torch.ones(1, 4)
        torch.save({"model": model, "iteration": iteration}, path)
    return paths


def backbone(model: ViT) -> dict[str, torch.Tensor]:
    state = {name: torch.tensor(formula.tensor(name, shape)) for name, shape in model.tensors().items()}
    return {f"backbone.{name}": values for name, values in state.items()} | {
        "dino_head.mlp.0.weight": torch.arange(12.0).reshape(3, 4)
    }


@pytest.mark.parametrize("model", [V2, V2_SWIGLU, V2_BARE, dinov2(**SMALL, registers=4, channels=4)])
def test_the_files_of_all_ranks_are_one_model(tmp_path, model: ViT) -> None:
    whole = backbone(model)
    paths = save_ranks(tmp_path, whole)
    if model.channels != 3:
        (tmp_path / "config.yaml").write_text("{student: {arch: narrow, patch_size: 8}, teacher: {}}")
    for place in (paths[1], tmp_path):
        with open_checkpoint(place) as checkpoint:
            [state] = state_dicts(checkpoint)
            assert state.branch == "teacher"
            assert {
                name: tensor.shape for name, tensor in state.tensors.items() if "head" not in name
            } == model.tensors()
            for name, tensor in whole.items():
                read = state.tensors[name.removeprefix("backbone.")].read()
                assert np.array_equal(read.ravel(), tensor.numpy().ravel()), name
            assert (checkpoint.format, len(checkpoint.sources)) == ("files of 3 ranks", 3)
            assert checkpoint.remarks == (
                "put together from the files of 3 ranks: model_0000029.rank_0.pth to model_0000029.rank_2.pth",
            )


def test_a_rank_that_is_missing_is_named(tmp_path) -> None:
    paths = save_ranks(tmp_path / "run", backbone(V2))
    paths[1].unlink()
    assert error_text(CheckpointError, lambda: open_checkpoint(paths[2])).replace(str(tmp_path), "") == (
        "/run/model_0000029.rank_2.pth holds one rank's part of a model that was trained on several\n"
        "  expected: the files of all ranks in one folder, under the names that the run gave them\n"
        "  found: 1 tensors of which it has a part, such as teacher.backbone._flat_param; of 3 ranks, the file of rank "
        "1 is missing\n"
        "  likely cause: FSDP saves a file for each rank; all of them together hold the model\n"
        "  try: put the missing files beside it, or give eval/<iteration>/teacher_checkpoint.pth, the whole teacher"
    )


def unlike(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(path)
    message = str(caught.value).replace(str(path.parent), "RUN")
    head, *rest = message.split("\n")
    assert head == f"RUN/{path.name} and the files of the other ranks do not belong together"
    return rest[1].removeprefix("  found: ")


def test_files_that_are_not_of_one_save_are_refused(tmp_path) -> None:
    paths = save_ranks(tmp_path, backbone(V2))
    whole = paths[2].read_bytes()
    other = save_ranks(tmp_path / "other", backbone(V2), iteration=30)[2]
    shutil.copy(other, paths[2])
    assert unlike(paths[0]) == ("the iteration 29 in RUN/model_0000029.rank_0.pth, 30 in RUN/model_0000029.rank_2.pth")
    paths[2].write_bytes(whole)
    shutil.copy(paths[1], paths[2])
    assert unlike(paths[0]) == "in RUN/model_0000029.rank_2.pth the part of rank 1 of 3"


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda state: state.pop("backbone.norm.bias"), "'teacher.backbone.norm.bias' in one of ranks 0 and 1 alone"),
        (
            lambda state: state.update({"backbone.norm.bias": state["backbone.norm.bias"].double()}),
            "'teacher.backbone.norm.bias' as float32 with 1 axes, float64 with 1 axes",
        ),
    ],
)
def test_ranks_that_name_their_tensors_otherwise_are_refused(tmp_path, change, found: str) -> None:
    paths, other = save_ranks(tmp_path, backbone(V2)), backbone(V2)
    change(other)
    shutil.copy(save_ranks(tmp_path / "other", other)[1], paths[1])
    assert unlike(paths[0]) == found


def test_sizes_that_are_no_network_s_are_refused(tmp_path) -> None:
    state = backbone(V2) | {"backbone.blocks.1.mlp.fc2.bias": torch.ones(63)}
    with open_checkpoint(save_ranks(tmp_path, state)[0]) as checkpoint, pytest.raises(PlanError) as caught:
        state_dicts(checkpoint)
    assert str(caught.value).replace(str(tmp_path), "RUN") == (
        "RUN/model_0000029.rank_0.pth cannot be put together\n"
        "  - blocks.1.mlp.fc2.bias has 63 elements, (64) was expected\n"
        "  likely cause: a rank's file is missing or of another save, or a network with parts that are not known\n"
        "  try: give eval/<iteration>/teacher_checkpoint.pth of the run, which holds the whole teacher"
    )


def test_a_genuine_file_of_one_rank_names_the_whole_teacher_where_it_lies(tmp_path) -> None:
    path = Path(shutil.copy(ONE_OF_TWO, tmp_path))
    for iteration in (9, 19):
        (tmp_path / f"eval/training_{iteration}").mkdir(parents=True)
        (tmp_path / f"eval/training_{iteration}/teacher_checkpoint.pth").touch()
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(path)
    message = str(caught.value).replace(str(tmp_path), "RUN")
    assert "_flat_param; of 2 ranks, the file of rank 0 is missing\n" in message
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

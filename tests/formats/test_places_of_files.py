"""Where frameworks put the files of a model: accelerate's and DeepSpeed's folders, and weights with an index."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from dinoport.errors import CheckpointError
from dinoport.finding.unwrap import state_dicts
from dinoport.formats.opening import open_checkpoint

WEIGHTS = {
    "cls_token": torch.arange(6.0).reshape(1, 1, 6),
    "patch_embed.proj.weight": torch.arange(36.0).reshape(6, 1, 2, 3) + 50,
    "norm.weight": torch.arange(6.0) + 900,
}


def save(path: Path, tree: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(tree, path)
    return path


def where(place: Path) -> str:
    """The file of a place that is read, after its tensors were compared."""
    with open_checkpoint(place) as checkpoint:
        [state] = state_dicts(checkpoint)
        assert state.tensors.keys() == WEIGHTS.keys()
        assert all(np.array_equal(tensor.read(), WEIGHTS[name].numpy()) for name, tensor in state.tensors.items())
        return checkpoint.where


def refused(place: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(place)
    return str(caught.value).replace(str(place), "RUN")


def test_accelerate_and_a_trainer_keep_more_beside_the_model(tmp_path) -> None:
    path = save(tmp_path / "pytorch_model.bin", WEIGHTS)
    for name in ("optimizer.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth", "scaler.pt", "random_states_0.pt"):
        save(tmp_path / name, {"state": {}})
    assert where(tmp_path) == str(path)


def shards(folder: Path, index: str = "pytorch_model.bin.index.json") -> Path:
    files = {name: f"pytorch_model-0000{1 + place % 2}-of-00002.bin" for place, name in enumerate(WEIGHTS)}
    for file in set(files.values()):
        save(folder / file, {name: tensor for name, tensor in WEIGHTS.items() if files[name] == file})
    (folder / index).write_text(json.dumps({"weight_map": files}))
    return folder / index


def test_shards_without_a_config_are_put_together_by_their_index(tmp_path) -> None:
    index = shards(tmp_path)
    assert where(tmp_path) == where(index) == str(index)
    with open_checkpoint(index) as checkpoint:
        assert (checkpoint.format, len(checkpoint.sources)) == ("weights in several files", 2)
        assert checkpoint.remarks == ()


def test_an_index_that_lies_is_refused(tmp_path) -> None:
    index = shards(tmp_path)
    index.write_text(json.dumps({"weight_map": {**json.loads(index.read_text())["weight_map"], "head": "../x.bin"}}))
    assert "found: a shard outside the folder: '../x.bin'\n" in refused(index)


def deepspeed(folder: Path, *names: str) -> Path:
    for name in names:
        save(folder / "global_step10" / name, {"module": {f"module.{name}": each for name, each in WEIGHTS.items()}})
    (folder / "latest").write_text("global_step10\n")
    return folder / "global_step10"


OPTIMIZER = "bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt"


def test_the_module_of_a_deepspeed_run_is_read_where_latest_says(tmp_path) -> None:
    inner = deepspeed(tmp_path, "mp_rank_00_model_states.pt", OPTIMIZER)
    save(tmp_path / "global_step5/mp_rank_00_model_states.pt", {"module": {}})
    assert where(tmp_path) == where(inner) == str(inner / "mp_rank_00_model_states.pt")


def test_a_gathered_file_goes_before_pieces(tmp_path) -> None:
    deepspeed(tmp_path, "zero_pp_rank_0_mp_rank_00_model_states.pt")
    path = save(tmp_path / "pytorch_model.bin", WEIGHTS)
    assert where(tmp_path) == str(path)


def test_stage_3_is_refused_by_its_name(tmp_path) -> None:
    inner = deepspeed(tmp_path, *(f"zero_pp_rank_{rank}_mp_rank_00_model_states.pt" for rank in range(4)), OPTIMIZER)
    rest = (
        " holds parts of a model that DeepSpeed split among its ranks (ZeRO stage 3)\n"
        "  expected: whole tensors, as stages 0 to 2 save them in mp_rank_00_model_states.pt\n"
        "  found: zero_pp_rank_0_mp_rank_00_model_states.pt{more}\n"
        "  likely cause: in stage 3 each rank saves a piece of every tensor\n"
        "  try: in the run's folder, where DeepSpeed put it: python zero_to_fp32.py . pytorch_model.bin\n"
        "       give that file"
    )
    others = ", zero_pp_rank_1_mp_rank_00_model_states.pt, zero_pp_rank_2_mp_rank_00_model_states.pt, and 1 more"
    assert refused(tmp_path) == "RUN" + rest.format(more=others)
    assert refused(inner) == "RUN" + rest.format(more=others)
    assert refused(inner / "zero_pp_rank_0_mp_rank_00_model_states.pt") == "RUN" + rest.format(more="")


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("mp_rank_01_model_states.pt", "tensor parallelism"),
        ("layer_03-model_00-model_states.pt", "pipeline parallelism"),
    ],
)
def test_a_module_in_parts_is_refused_by_what_split_it(tmp_path, name: str, what: str) -> None:
    deepspeed(tmp_path, "mp_rank_00_model_states.pt", name)
    message = refused(tmp_path)
    assert message.startswith(f"RUN holds parts of a model that DeepSpeed split among its ranks ({what})\n")
    assert message.endswith("try: load the model as the run does, and save its state_dict() on one rank")


@pytest.mark.parametrize("name", ["global_step10", "..", "../elsewhere", ""])
def test_a_latest_that_names_no_folder_is_said(tmp_path, name: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run/latest").write_text(name)
    assert refused(tmp_path / "run") == (
        "RUN/latest names no folder beside it\n"
        "  expected: the name of the folder of the last save, such as global_step1000\n"
        f"  found: {name!r}\n"
        "  likely cause: a copy that left the folder out, or a file that is not DeepSpeed's\n"
        "  try: give the folder or the file that you mean: ls RUN"
    )

"""A tensor that a model can do without is absent only where the whole of the checkpoint was read."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.error_text import error_text

torch = pytest.importorskip("torch")
# ruff: noqa: E402 (imports below need torch, which a minimal installation lacks)

from safetensors.torch import save_file

from dinoport import convert, plan
from dinoport.errors import CheckpointError
from dinoport.finding.completeness import TENSOR_NAME
from dinoport.finding.unwrap import state_dicts
from dinoport.formats.checkpoint import Checkpoint
from dinoport.formats.opening import open_checkpoint
from dinoport.formats.torch.stand_ins import Opaque
from dinoport.tensor import ArrayValues, TensorRef
from tests import formula, tiny
from tests.fixtures.mapping import cases
from tests.formats.memory import Memory
from tests.models import V2

RECORDED = sorted(Path(cases.__file__).parent.glob("*.json"))


def names() -> Iterator[str]:
    """Every name that a codebase has for a tensor of a network, by the lists that were recorded from its behaviour."""
    for path in RECORDED:
        for entry in json.loads(path.read_text(encoding="utf-8"))["entries"]:
            yield from (str(entry[side]) for side in ("source", "target") if "(" not in str(entry.get(side, "(")))


NAMES = sorted({*names(), "reg_token", "blocks.0.gamma_1", "blocks.0.attn.q_bias", "head.last_layer.weight_g"})


def tensor(number: float) -> TensorRef:
    values = np.full(2, number, np.float32)
    return TensorRef("", values.dtype, values.shape, ArrayValues(values))


def refused(tree: object) -> str:
    with pytest.raises(CheckpointError) as caught:
        state_dicts(Checkpoint("file.pth", "torch zip file", tree, (Memory(bytes(1000)),)))
    return str(caught.value)


def test_every_recorded_name_is_known_for_a_tensor_s():
    assert len(NAMES) > 100
    assert [name for name in NAMES if not TENSOR_NAME.fullmatch(name)] == []


OTHERS = {
    "an array": Opaque("numpy._core.multiarray._reconstruct"),
    "a quantised tensor": Opaque("torch._utils._rebuild_qtensor", is_tensor=True),
    "an empty dict": {},
    "a dict with a tensor": {"data": tensor(-1.0)},
    "values and their scale": {"qdata": tensor(-2.0), "scale": tensor(-3.0)},
    "a number": 1.5,
    "nothing": None,
}


@pytest.mark.parametrize("other", OTHERS)
def test_whatever_stands_under_the_name_of_a_tensor(other):
    for name in NAMES:
        tree = {"some.other": tensor(1.0), name: OTHERS[other]}
        assert refused(tree).startswith(f"file.pth holds {name} in a form that is not read")
        assert refused({"teacher": tree, "epoch": 1}).startswith(f"file.pth holds {name} in a form that is not read")


BESIDE = {
    "a random state of NumPy's": np.random.RandomState(0).get_state(),
    "a history": np.arange(3.0),
    "a dict of arrays": {"loss": np.arange(3.0)},
    "a list of arrays": [np.arange(3.0)],
    "words": np.array(["cat", "dog"]),
    "a sparse matrix": torch.eye(3).to_sparse(),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("other", BESIDE)
def test_an_array_of_a_run_is_no_part_of_its_model(tmp_path: Path, other: str, zipped: bool):
    """As many runs keep beside their model: none of it has the name of a tensor."""
    state = {name: torch.from_numpy(values) for name, values in formula.state_dict(tiny.ARCHITECTURE.tensors()).items()}
    tree = {"model": state, "rng": BESIDE[other], "epoch": 3}
    torch.save(tree, tmp_path / "run.pth", _use_new_zipfile_serialization=zipped)
    assert not convert(tmp_path / "run.pth", tmp_path / "out", tiny.REQUEST, level="exact").verdict.failed
    torch.save({"model": {**state, "mask_token": BESIDE[other]}}, tmp_path / "other.pth")
    assert "mask_token in a form that is not read" in error_text(CheckpointError, lambda: plan(tmp_path / "other.pth"))


def folder_of(path: Path, weights: str = "model.safetensors", **others: object) -> dict[str, torch.Tensor]:
    """A folder of Transformers, whose weights are given back."""
    convert(tiny.write(path.parent / "vit.pth"), path, tiny.REQUEST, level="exact")
    from safetensors.torch import load_file

    state = load_file(path / "model.safetensors")
    if weights != "model.safetensors":
        (path / "model.safetensors").unlink()
        torch.save({**state, **others}, path / weights)
    return state


@pytest.mark.parametrize("other", [np.ones(3, np.float32), {"data": torch.ones(3)}, 1.5, None])
def test_a_folder_of_pickled_weights_is_tensors_alone(tmp_path, other):
    key = "encoder.layer.0.attention.attention.query.bias"
    folder_of(tmp_path / "vit", "pytorch_model.bin", **{key: other})
    with pytest.raises(CheckpointError) as caught:
        convert(tmp_path / "vit", tmp_path / "back", to="original", level="exact")
    assert f"found: {key!r}, which is not read as a tensor" in str(caught.value)


def test_an_index_that_leaves_out_a_shard(tmp_path):
    state = folder_of(tmp_path / "vit")
    (tmp_path / "vit" / "model.safetensors").rename(tmp_path / "vit" / "model-00001-of-00002.safetensors")
    index = {"weight_map": dict.fromkeys(state, "model-00001-of-00002.safetensors")}
    (tmp_path / "vit" / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "found: 1 of 2 shards" in error_text(CheckpointError, lambda: open_checkpoint(tmp_path / "vit"))


@pytest.mark.parametrize("index", ["model.safetensors.index.json", "pytorch_model.bin.index.json"])
def test_a_file_that_an_index_beside_it_lists_with_others(tmp_path, index):
    save_file({"blocks.0.w": torch.ones(2)}, tmp_path / "first.safetensors")
    weight_map = {"blocks.0.w": "first.safetensors", "blocks.1.w": "second.safetensors"}
    (tmp_path / index).write_text(json.dumps({"weight_map": weight_map}))
    message = error_text(CheckpointError, lambda: open_checkpoint(tmp_path / "first.safetensors"))
    assert message.startswith(f"{tmp_path / 'first.safetensors'} is one shard of 2")
    assert message.endswith(f"give the folder that they are in: {tmp_path}")


@pytest.mark.parametrize("index", ["{}", "no JSON", '{"weight_map": {"blocks.0.w": "first.safetensors"}}'])
def test_an_index_of_other_files_says_nothing(tmp_path, index):
    save_file({"blocks.0.w": torch.ones(2)}, tmp_path / "first.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with open_checkpoint(tmp_path / "first.safetensors") as checkpoint:
        assert list(checkpoint.tensors) == ["blocks.0.w"]


@pytest.mark.parametrize("part", ["register_tokens", "blocks.1.attn.qkv.bias", "blocks.0.ls1.gamma"])
@pytest.mark.parametrize("lead", ["", "model."])
def test_a_part_of_the_backbone_under_another_prefix(tmp_path, part, lead):
    whole = replace(V2, registers=4) if part == "register_tokens" else V2
    state = {name: torch.from_numpy(values) for name, values in formula.state_dict(whole.tensors()).items()}
    kind = part.replace("blocks.0.", "").replace("blocks.1.", "")
    strays = {name: state.pop(name) for name in list(state) if name.endswith(kind)}
    torch.save(
        {**{f"module.{name}": each for name, each in state.items()}, f"{lead}{part}": strays[part]}, tmp_path / "f"
    )
    assert error_text(CheckpointError, lambda: convert(tmp_path / "f", tmp_path / "out", level="exact")) == (
        f"{tmp_path / 'f'} holds a part of its backbone under another prefix than the rest\n"
        "  expected: all tensors of the model under one prefix\n"
        f"  found: {lead}{part}\n"
        "  likely cause: state dicts that were merged, or names that were changed\n"
        "  try: save the state dict of the backbone on its own with torch.save"
    )


@pytest.mark.parametrize("name", ["register_tokens", "mask_token", "blocks.0.attn.qkv.bias", "norm.weight"])
@pytest.mark.parametrize("prefix", ["module.", "backbone.", "module.backbone."])
def test_two_tensors_of_which_one_is_the_backbone_s(tmp_path, name, prefix):
    """Neither is taken as a part of something else."""
    model = replace(V2, registers=4)
    state = {name: torch.from_numpy(values) for name, values in formula.state_dict(model.tensors()).items()}
    torch.save({**{f"{prefix}{key}": each for key, each in state.items()}, name: state[name] + 1}, tmp_path / "f")
    with pytest.raises(CheckpointError, match="become one once their prefixes are stripped"):
        convert(tmp_path / "f", tmp_path / "out", level="exact")


ABSENT = "a tensor that is not here was taken as absent, but may lie elsewhere: "


@pytest.mark.parametrize("name", ["model.rank_0.pth", "model_world_size_8_rank_3.pt"])
def test_the_file_of_a_rank_is_not_known_to_be_whole(tmp_path, name):
    verdict = plan(tiny.write(tmp_path / name), tiny.REQUEST).verdict
    assert verdict.warnings == (f"{ABSENT}{name} is named as the file of one rank of several",)


@pytest.mark.parametrize("name", ["model.pth", "frankfurt.pth", "a-00001-of-00001.pth"])
def test_other_files_are_whole(tmp_path, name):
    assert plan(tiny.write(tmp_path / name), tiny.REQUEST).verdict.warnings == ()


class Loop:
    """What a training code may pickle beside its model."""

    def __init__(self, weight: torch.Tensor) -> None:
        self.weight = weight


@pytest.mark.parametrize(("key", "warnings"), [
    ("loops", (f"{ABSENT}loops is not read: an object of the class {__name__}.Loop with tensors in it",)),
    ("optimizer", ()),
])  # fmt: skip
def test_parts_with_tensors_that_are_not_read_are_told(tmp_path, key, warnings):
    state = {name: torch.from_numpy(formula.tensor(name, shape)) for name, shape in tiny.ARCHITECTURE.tensors().items()}
    torch.save({"model": state, key: Loop(torch.full((3,), -1.0))}, tmp_path / "file.pth")
    assert plan(tmp_path / "file.pth", tiny.REQUEST).verdict.warnings == warnings

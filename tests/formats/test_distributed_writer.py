"""A distributed folder that is written here is what torch.distributed.checkpoint reads."""

from pathlib import Path

import numpy as np
import pytest

from dinoport.formats.distributed.writer import write_distributed
from dinoport.formats.opening import open_checkpoint
from dinoport.tensor import BFLOAT16
from tests.writing.stub_tensors import Stub, tensor

torch = pytest.importorskip("torch")
dcp = pytest.importorskip("torch.distributed.checkpoint")

NAMES = {
    "cls_token": "model.backbone.cls_token",
    "periods": "model.backbone.rope_embed.periods",
    "scale": "model.scale",
}


def tensors() -> list[Stub]:
    return [
        tensor("cls_token", np.arange(6, dtype=np.float32).reshape(1, 1, 6)),
        tensor("periods", np.array([1.5, 2.5, 3.25], dtype=BFLOAT16)),
        tensor("scale", np.array(7.5, dtype=np.float64)),
    ]


def test_torch_loads_what_is_written(tmp_path: Path) -> None:
    write_distributed(tmp_path, tensors(), NAMES)
    state = {
        "iteration": None,
        "model": {
            "backbone.cls_token": torch.zeros(1, 1, 6),
            "backbone.rope_embed.periods": torch.zeros(3, dtype=torch.bfloat16),
            "scale": torch.zeros((), dtype=torch.float64),
        },
    }
    dcp.load(state, checkpoint_id=tmp_path, no_dist=True)
    assert state["iteration"] == 0
    assert state["model"]["backbone.cls_token"].flatten().tolist() == [0, 1, 2, 3, 4, 5]
    assert state["model"]["backbone.rope_embed.periods"].tolist() == [1.5, 2.5, 3.25]
    assert float(state["model"]["scale"]) == 7.5


def test_a_tensor_of_another_name_or_shape_is_refused_by_torch(tmp_path: Path) -> None:
    write_distributed(tmp_path, tensors(), NAMES)
    for model in ({"backbone.other": torch.zeros(2)}, {"backbone.cls_token": torch.zeros(1, 1, 7)}):
        with pytest.raises(dcp.api.CheckpointException, match=r"[Mm]issing|[Ss]ize mismatch"):
            dcp.load({"model": model}, checkpoint_id=tmp_path, no_dist=True)


def test_what_is_written_is_read_here_too(tmp_path: Path) -> None:
    files = write_distributed(tmp_path, tensors(), NAMES)
    assert [file.name for file in files] == ["__0_0.distcp", ".metadata"]
    with open_checkpoint(tmp_path) as folder:
        found = {name: ref.read() for name, ref in folder.tensors.items()}
    assert found.keys() == set(NAMES.values())
    for stub in tensors():
        own = found[NAMES[stub.target.name]]
        assert (own.dtype, own.shape) == (stub.target.dtype, stub.target.shape)
        assert np.array_equal(own.reshape(-1), np.concatenate([block.copy() for block in stub.blocks()]))

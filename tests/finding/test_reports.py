"""Files of the kinds that public trackers ask about: each converted, or refused by what it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from dinoport.api import convert
from dinoport.errors import UnknownModelError
from dinoport.formats.opening import open_checkpoint
from tests import formula, models

State = Mapping[str, torch.Tensor]

VIT, V2 = models.VIT, models.V2


def state(model: object, prefix: str = "", shift: float = 0.0) -> dict[str, torch.Tensor]:
    found = formula.state_dict(model.tensors())  # type: ignore[attr-defined]
    return {f"{prefix}{name}": torch.from_numpy(values) + shift for name, values in found.items()}


def old_head() -> dict[str, torch.Tensor]:
    """The projection head as the first released training files of DINO name it."""
    shapes = {f"projection_head.{place}.{leaf}": (8, 64) for place in (0, 2, 4) for leaf in ("weight", "bias")}
    shapes |= {"prototypes.weight_g": (16, 1), "prototypes.weight_v": (16, 4)}
    return {f"head.{name}": torch.full(shape, 7.0) for name, shape in shapes.items()}


def first_release(folder: Path) -> Path:
    student, teacher = state(VIT, "backbone.", 1.0), state(VIT, "backbone.")
    tree = {"student": student | old_head(), "teacher": teacher | old_head(), "epoch": 3}
    return saved(folder / "checkpoint.pth", tree)


def depth_network(folder: Path) -> Path:
    head = {f"depth_head.projects.{place}.weight": torch.ones(8, 64, 1, 1) for place in range(4)}
    return saved(folder / "depth.pth", state(V2, "pretrained.") | head)


def encoder_decoder(folder: Path) -> Path:
    decoder = {"decoder.conv.weight": torch.ones(3, 64, 1, 1)}
    return saved(folder / "best.pth", {"model_state_dict": state(V2, "encoder.") | decoder, "epoch": 1})


def student_teacher(folder: Path) -> Path:
    models = state(V2, "student.vit.", 1.0) | state(V2, "teacher.vit.")
    heads = {f"{name}_head.layers.0.weight": torch.ones(8, 64) for name in ("student", "teacher")}
    tree = {"state_dict": models | heads, "hyper_parameters": {"lr": 1e-3}, "pytorch-lightning_version": "2.5.0"}
    return saved(folder / "last.ckpt", tree)


def accelerate(folder: Path) -> Path:
    saved(folder / "run/pytorch_model.bin", state(VIT))
    return saved(folder / "run/optimizer.bin", {"state": {}, "param_groups": []}).parent


def deepspeed(folder: Path) -> Path:
    module = {"module": state(VIT, "module."), "optimizer": None, "ds_version": "0.16.0", "global_steps": 10}
    saved(folder / "run/global_step10/mp_rank_00_model_states.pt", module)
    (folder / "run/latest").write_text("global_step10")
    return folder / "run"


def arrays(folder: Path) -> Path:
    np.savez(folder / "arrays.npz", **{name: tensor.numpy() for name, tensor in state(VIT).items()})
    return folder / "arrays.npz"


def saved(path: Path, tree: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(tree, path)
    return path


@pytest.mark.parametrize(
    ("write", "model", "chosen", "aside"),
    [
        (first_release, VIT, "teacher was chosen", "head.prototypes.weight_g"),
        (depth_network, V2, "", "depth_head.projects.{0…3}.weight"),
        (encoder_decoder, V2, "", "decoder.conv.weight"),
        (student_teacher, V2, "state_dict.teacher.vit was chosen", "teacher_head.layers.0.weight"),
        (accelerate, VIT, "", ""),
        (deepspeed, VIT, "", ""),
        (arrays, VIT, "", ""),
    ],
)
def test_what_people_ask_about_is_converted(
    write: Callable[[Path], Path], model: object, chosen: str, aside: str, tmp_path: Path
) -> None:
    report = convert(write(tmp_path), tmp_path / "out", level="exact")
    convert(saved(tmp_path / "bare.pth", state(model)), tmp_path / "bare", level="exact")
    with open_checkpoint(tmp_path / "out") as ours, open_checkpoint(tmp_path / "bare") as bare:
        assert ours.tensors.keys() == bare.tensors.keys()
        for name, tensor in bare.tensors.items():
            assert np.array_equal(ours.tensors[name].read(), tensor.read()), name
    assert any(remark.startswith(chosen) for remark in report.remarks) or not chosen
    assert aside in ", ".join(line.names for line in report.accounting.dropped)


def test_a_vit_of_another_codebase_is_refused_by_its_name(tmp_path: Path) -> None:
    names = ("pos_embedding", "cls_token", "to_patch_embedding.2.weight", "transformer.layers.0.0.to_qkv.weight")
    source = saved(tmp_path / "vit.pt", {name: torch.full((3, 4), float(place)) for place, name in enumerate(names)})
    with pytest.raises(UnknownModelError) as caught:
        convert(source, tmp_path / "out", level="exact")
    assert str(caught.value).startswith(
        f"{source} is a ViT of lucidrains/vit-pytorch, and no model of the DINO family\n"
    )

"""Files of the kinds that public trackers ask about, with small values: names and layers are those of the reports."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

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


def vit_pytorch(folder: Path) -> Path:
    """A ViT of lucidrains/vit-pytorch, which no DINO computes the same as."""
    block = {"0.norm.weight": (8,), "0.to_qkv.weight": (24, 8), "0.to_out.0.weight": (8, 8), "1.net.1.weight": (16, 8)}
    shapes: dict[str, tuple[int, ...]] = {"pos_embedding": (1, 5, 8), "cls_token": (1, 1, 8)}
    shapes |= {"to_patch_embedding.1.weight": (12,), "to_patch_embedding.2.weight": (8, 12)}
    shapes |= {f"transformer.layers.{place}.{name}": shape for place in range(2) for name, shape in block.items()}
    state = {name: torch.from_numpy(each) for name, each in formula.state_dict(shapes).items()}
    return saved(folder / "vit.pt", state)


def saved(path: Path, tree: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(tree, path)
    return path


WRITE: Mapping[str, Callable[[Path], Path]] = {
    each.__name__: each
    for each in (
        *(first_release, depth_network, encoder_decoder, student_teacher),
        *(accelerate, deepspeed, arrays, vit_pytorch),
    )
}

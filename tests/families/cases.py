"""Every (family, class) pair, as a checkpoint that is made for it. A new family adds cases here and no test code."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from dinoport.networks.interpolation import TO_SIZE_ANTIALIASED
from dinoport.networks.network import Features
from dinoport.networks.rotary_vit.architecture import RotaryViT
from dinoport.request import Request
from tests import formula
from tests.models import CLS_MEAN, CONVNEXT, RESNET, V2, V2_BARE, V2_SWIGLU, V3, VIT, classifying, renamed

State = Mapping[str, formula.Array]


def bare(state: State) -> object:
    return dict(state)


def teacher(state: State) -> object:
    """As `main_dino.py` writes it: prefixes, a projection head, a student, numbers besides the tensors."""
    head = {
        "head.mlp.0.weight": formula.tensor("head.mlp.0.weight", (8, 4)),
        "head.last_layer.weight_g": np.ones((3, 1)),
    }
    own = {f"backbone.{name}": values for name, values in state.items()} | head
    other = {f"module.backbone.{name}": np.asarray(values + np.ones_like(values)) for name, values in state.items()}
    return {"student": other, "teacher": own, "epoch": 3, "dino_loss": {"center": np.zeros((1, 3), np.float32)}}


def state_dict_container(state: State) -> object:
    return {"state_dict": {f"module.{name}": values for name, values in state.items()}, "epoch": 1}


def averaged(state: State) -> object:
    """As `torch.optim.swa_utils.AveragedModel` names what it averages, and counts it."""
    return {"n_averaged": np.array(7), **{f"module.{name}": values for name, values in state.items()}}


def as_it_was(state: State) -> State:
    return state


def without_masked_keys(state: State) -> State:
    """As a DINOv3 returns: the class has no place for a key bias that is masked away, nor for an unused norm, which is
    made anew, as the original's code loads strictly.
    """
    kept = {name: values.copy() for name, values in state.items()}
    for leaf, value in (("weight", 1), ("bias", 0)):
        if f"local_cls_norm.{leaf}" in kept:
            kept[f"local_cls_norm.{leaf}"][:] = value
    for name, values in kept.items():
        if f"{name}_mask" in kept:
            values[len(values) // 3 : len(values) // 3 * 2] = 0
    return kept


@dataclass(frozen=True)
class Case:
    """One model of one family, and the class that it becomes. `returned` is the state that comes back."""

    name: str
    architecture: Any
    class_name: str
    request: Request = field(default_factory=Request)
    wrap: Callable[[State], object] = bare
    head: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    classifier: str = ""
    returned: Callable[[State], State] = as_it_was

    def found(self) -> list[str]:
        """The names that the folder has a place for: all but those with a part of `dropped` in them."""
        return [name for name in self.state() if not any(part in name for part in self.dropped)]

    def state(self) -> dict[str, formula.Array]:
        """Every tensor by the original's own name."""
        return formula.state_dict(renamed(self.architecture.tensors(), "classifier", self.classifier))

    def write(self, folder: Path) -> tuple[Path, Request]:
        """Save the checkpoint (and its head, where that is a file of its own) as upstream would."""
        import torch

        folder.mkdir(parents=True, exist_ok=True)
        state = self.state()
        head = {name: state.pop(name) for name in self.head}
        path = folder / "checkpoint.pth"
        torch.save(tensors(self.wrap(state)), path)
        if not head:
            return path, self.request
        head_path = folder / "head.pth.tar"
        torch.save({"state_dict": tensors({f"module.{name}": values for name, values in head.items()})}, head_path)
        return path, replace(self.request, head=head_path)


def tensors(tree: Any) -> Any:
    import torch

    if isinstance(tree, dict):
        return {name: tensors(value) for name, value in tree.items()}
    return (
        torch.from_numpy(np.ascontiguousarray(tree).reshape(tree.shape))
        if isinstance(tree, np.ndarray | np.generic)
        else tree
    )


def teacher_of_a_run(state: State) -> object:
    """As a DINOv2 run writes its teacher: prefixes, and two projection heads."""
    heads = {
        f"{head}.{name}": formula.tensor(f"{head}.{name}", (5, 4))
        for head in ("dino_head", "ibot_head")
        for name in ("mlp.0.weight", "last_layer.weight_v")
    }
    return {"teacher": {f"backbone.{name}": values for name, values in state.items()} | heads}


LINEAR, LINEAR_HEAD = (tuple(f"{layer}.{p}" for p in ("weight", "bias")) for layer in ("linear", "linear_head"))
INTERLEAVED = Features.CLS_MEAN_INTERLEAVED
RESNET_PROBE = classifying(RESNET, 9, Features.POOLED)
V2_PROBE = classifying(V2, 5, CLS_MEAN)
SHARP = replace(V2, interpolation=TO_SIZE_ANTIALIASED)


def probe(name: str, model: Any, class_name: str, head: tuple[str, ...]) -> Case:
    """A classifier that lies in a file of its own."""
    return Case(name, model, class_name, head=head, classifier=head[0].partition(".")[0])


def dinov3(name: str, model: RotaryViT, wrap: Callable[[State], object] = bare) -> Case:
    buffers = ("rope_embed.periods", "bias_mask", "local_cls_norm")
    return Case(name, model, "DINOv3ViTModel", wrap=wrap, dropped=buffers, returned=without_masked_keys)


def convnext(name: str, **sizes: Any) -> Case:
    return Case(name, replace(CONVNEXT, **sizes), "DINOv3ConvNextModel")


CASES = (
    Case("vit", VIT, "ViTModel"),
    Case("vit-training-checkpoint", VIT, "ViTModel", wrap=teacher),
    Case("vit-state-dict-container", VIT, "ViTModel", wrap=state_dict_container),
    Case("vit-averaged", VIT, "ViTModel", wrap=averaged),
    Case("vit-no-pooler", VIT, "ViTModel", Request(pooler="none")),
    Case("vit-no-qkv-bias", replace(VIT, qkv_bias=False), "ViTModel"),
    Case("vit-patch-8-wide-mlp", replace(VIT, patch_size=8, mlp_hidden=320), "ViTModel"),
    Case("vit-heads", replace(VIT, width=48, heads=4), "ViTModel", Request(num_heads=4)),
    Case("vit-eps", replace(VIT, layer_norm_eps=1e-5), "ViTModel", Request(layer_norm_eps=1e-5)),
    Case("vit-four-channels", replace(VIT, channels=4), "ViTModel"),
    Case("vit-classifier", classifying(VIT, 7), "ViTForImageClassification", classifier="head"),
    probe("vit-cls-probe", classifying(VIT, 5), "ViTForImageClassification", LINEAR),
    probe("vit-interleaved-probe", classifying(VIT, 5, INTERLEAVED), "Dinov2ForImageClassification", LINEAR),
    Case("resnet", RESNET, "ResNetModel", wrap=teacher),
    Case("resnet-classifier", RESNET_PROBE, "ResNetForImageClassification", classifier="fc"),
    probe("resnet-probe", RESNET_PROBE, "ResNetForImageClassification", LINEAR),
    Case("dinov2", V2, "Dinov2Model"),
    Case("dinov2-teacher", V2, "Dinov2Model", wrap=teacher_of_a_run),
    Case("dinov2-swiglu", V2_SWIGLU, "Dinov2Model"),
    Case("dinov2-without-options", V2_BARE, "Dinov2Model"),
    Case("dinov2-swiglu-without-bias", replace(V2_SWIGLU, ffn_bias=False), "Dinov2Model"),
    Case("dinov2-resampling-sharply", SHARP, "Dinov2WithRegistersModel", Request(interpolation="size-antialias")),
    probe("dinov2-classifier", V2_PROBE, "Dinov2ForImageClassification", LINEAR_HEAD),
    Case("dinov2-whole-classifier", V2_PROBE, "Dinov2ForImageClassification", classifier="linear_head"),
    Case("dinov2-registers", replace(V2, registers=4), "Dinov2WithRegistersModel"),
    Case("dinov2-swiglu-registers", replace(V2_SWIGLU, registers=2), "Dinov2WithRegistersModel"),
    probe(
        "dinov2-registers-classifier",
        replace(V2_PROBE, registers=4),
        "Dinov2WithRegistersForImageClassification",
        LINEAR_HEAD,
    ),
    dinov3("dinov3", V3),
    dinov3("dinov3-teacher", V3, wrap=teacher_of_a_run),
    dinov3("dinov3-live-key-bias", replace(V3, key_bias_mask=False, registers=0)),
    dinov3("dinov3-gated", replace(V3, feed_forward="swiglu", local_cls_norm=True)),
    dinov3("dinov3-no-bias", replace(V3, qkv_bias=False, key_bias_mask=False, heads=1)),
    dinov3("dinov3-no-layer-scale", replace(V3, layer_scale=False)),
    dinov3("dinov3-few-biases", replace(V3, proj_bias=False, ffn_bias=False)),
    convnext("dinov3-convnext"),
    convnext("dinov3-convnext-no-scale", layer_scale=False),
)
BY_NAME = {case.name: case for case in CASES}

"""Whatever stands around a model, the same is found: whole where it is whole, and where it is damaged, its damage."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dinoport.api import convert
from dinoport.errors import DinoportError, SettingError
from dinoport.finding.sources import Located
from dinoport.formats.checkpoint import Checkpoint
from dinoport.formats.opening import open_checkpoint
from dinoport.request import Request
from dinoport.tensor import ArrayValues, Shape, TensorRef
from dinoport.work.conversion import Conversion
from dinoport.work.prepare import prepare
from tests import formula, models

quick = settings(
    max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)

NETWORKS = {
    "vit": models.VIT,
    "dinov2": models.V2,
    "gated": models.V2_SWIGLU,
    "dinov3": models.V3,
    "convnext": models.CONVNEXT,
    "resnet": models.RESNET,
}

CODEBASES = ("original", "transformers", "timm")

GROUPED = ("dinov2", "gated")

PARTS = st.sampled_from(
    (
        "model",
        "net",
        "encoder",
        "vit",
        "_orig_mod",
        "module",
        "backbone",
        "wrapped",
        "_model",
        "tower",
        "a1",
        "image_encoder",
    )
)

SIBLINGS: Mapping[str, Shape] = {
    "head.weight": (3, 64),
    "decoder.blocks.0.attn.qkv.weight": (96, 32),
    "decoder.blocks.0.norm1.weight": (32,),
    "decoder.norm.weight": (32,),
    "text.layers.0.attention.q_proj.weight": (16, 16),
    "text.embeddings.cls_token": (1, 1, 16),
    "neck.layer_norm.weight": (16,),
    "convs.patch_embed.proj.weight": (8, 3, 2, 2),
    "norm.weight": (12,),
    "step": (),
}
"""Names that nearly are a model's, under other prefixes."""


@cache
def shapes_of(network: str, codebase: str) -> Mapping[str, Shape]:
    """The names and shapes of a network as a codebase writes it."""
    shapes = NETWORKS[network].tensors()
    if codebase == "original":
        return shapes
    if codebase == "grouped":  # as DINOv2 writes its blocks for FSDP
        group = r"blocks.\1.\1."
        return {re.sub(r"^blocks[.](\d+)[.]", group, name): shape for name, shape in shapes.items()}
    with TemporaryDirectory() as name:
        folder = Path(name)
        state = {key: torch.from_numpy(each) for key, each in formula.state_dict(shapes).items()}
        torch.save(state, folder / "bare.pth")
        asked = {} if network in ("dinov3", "convnext", "resnet") else {"num_heads": 1}
        convert(folder / "bare.pth", folder / "out", to=codebase, level="none", **asked)
        with open_checkpoint(folder / "out") as written:
            return {key: tensor.shape for key, tensor in written.tensors.items()}


BUFFERS = {
    name.rpartition(".")[2]: values
    for name, values in formula.state_dict(models.V3.tensors()).items()
    if name.endswith(("periods", "bias_mask"))
}
"""The values that a plan reads: a DINOv3's buffers. Of a position table it looks whether that is learnt."""


def values_of(name: str, shape: Shape) -> formula.Array:
    """None where no plan reads them."""
    is_table = name.endswith(("pos_embed", "position_embeddings", "pos_embedding"))
    return BUFFERS.get(name.rpartition(".")[2], np.zeros(shape if is_table else 0, np.float32))


class _Sized:
    where, size_bytes = "file", 10**9

    def check_unchanged(self) -> None:
        """It is no file."""


def opened(shapes: Mapping[str, Shape], keys: tuple[str, ...] = ()) -> Checkpoint:
    tree: object = {
        name: TensorRef(name, np.dtype(np.float32), shape, ArrayValues(values_of(name, shape).ravel()))
        for name, shape in shapes.items()
    }
    for key in keys:
        tree = {key: tree, "epoch": 3}
    return Checkpoint("file", "torch zip file", tree, (_Sized(),))  # type: ignore[arg-type]


def planned(checkpoint: Checkpoint) -> Conversion:
    """Up to the plan, and no value read. Heads and eps are given, so that a refusal is about tensors."""
    tensors = str(checkpoint.tree)
    asked = {} if "periods" in tensors or "gamma_1" in tensors or "rope" in tensors else {"num_heads": 2}
    try:
        return prepare(Located("file"), Request(**asked), opened=checkpoint)
    except SettingError as error:
        if not error.what.startswith("`num_heads` is of no use"):
            raise
    return prepare(Located("file"), Request(), opened=checkpoint)


def outcome(checkpoint: Checkpoint) -> object:
    """The model that is read, or why there is none."""
    try:
        found = planned(checkpoint)
    except DinoportError as error:
        return error
    return found.model.family.name, found.model.architecture, {step.target.name for step in found.plan.steps}


def wrapped(shapes: Mapping[str, Shape], prefix: str, siblings: Mapping[str, Shape]) -> dict[str, Shape]:
    return {f"{prefix}{name}": shape for name, shape in shapes.items()} | dict(siblings)


prefixes = st.lists(PARTS, min_size=1, max_size=4, unique=True).map(lambda parts: f"{'.'.join(parts)}.")
beside = st.sets(st.sampled_from(sorted(SIBLINGS))).map(lambda names: {name: SIBLINGS[name] for name in sorted(names)})
keys = st.lists(st.sampled_from(("state_dict", "train_model", "weights")), max_size=2, unique=True).map(tuple)
cases = st.sampled_from(
    [
        *((network, codebase) for network in NETWORKS for codebase in CODEBASES),
        *((network, "grouped") for network in GROUPED),
    ]
)


@quick
@given(case=cases, prefix=prefixes, siblings=beside, keys=keys, order=st.randoms(use_true_random=False))
def test_what_is_whole_is_found(case, prefix, siblings, keys, order) -> None:
    shapes = shapes_of(*case)
    items = list(wrapped(shapes, prefix, siblings).items())
    order.shuffle(items)
    bare = outcome(opened(shapes))
    assert not isinstance(bare, DinoportError), bare
    assert outcome(opened(dict(items), keys)) == bare


@pytest.mark.parametrize("case", [("dinov2", "original"), *((network, "grouped") for network in GROUPED)])
@pytest.mark.parametrize("prefix", ["model.", "backbone."])
def test_what_is_whole_is_found_beside_each_other_layer(case, prefix) -> None:
    shapes = shapes_of(*case)
    bare = outcome(opened(shapes))
    for name in SIBLINGS:
        assert outcome(opened(wrapped(shapes, prefix, {name: SIBLINGS[name]}))) == bare, name


DAMAGES = ("gone", "gap", "shape", "renamed")


def damaged(shapes: Mapping[str, Shape], kind: str, name: str) -> dict[str, Shape]:
    if kind == "gone":
        return {key: shape for key, shape in shapes.items() if key != name}
    if kind == "gap":
        return {re.sub(r"(?<=[.])1(?=[.])", "2", key, count=1): shape for key, shape in shapes.items()}
    if kind == "shape":
        return {key: (*shape, 7) if key == name else shape for key, shape in shapes.items()}
    return {f"{key}_changed" if key == name else key: shape for key, shape in shapes.items()}


@quick
@given(case=cases, data=st.data(), prefix=prefixes, siblings=beside, kind=st.sampled_from(DAMAGES))
def test_what_is_damaged_is_named_and_never_taken(case, data, prefix, siblings, kind) -> None:
    shapes = shapes_of(*case)
    name = data.draw(st.sampled_from(sorted(shapes)))
    hurt = damaged(shapes, kind, name)
    bare, found = outcome(opened(hurt)), outcome(opened(wrapped(hurt, prefix, siblings)))
    if not isinstance(bare, DinoportError):
        assert found == bare, "a part that a model may lack"
        return
    assert isinstance(found, DinoportError), found
    told = str(found)
    assert any(part in told for part in (name, name.rpartition(".")[2], "blocks", "is missing")), told

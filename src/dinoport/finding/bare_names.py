"""A tensor's name on its way to the bare one: without what wrappers put in front of it, and into it."""

import re
from collections.abc import Container
from typing import NamedTuple

from dinoport.finding.branches import BRANCHES
from dinoport.finding.completeness import SKIPPED
from dinoport.tensor import TensorRef

STAGES = "stages.0.downsample_layers.0.weight"
"""The first name of a ConvNeXt of Transformers."""

ANCHORS = (
    "patch_embed.proj.weight",
    "patch_embed.projection.weight",
    "conv_proj.weight",
    "layer1.0.conv3.weight",
    "4.0.conv3.weight",
    "downsample_layers.0.0.weight",
    "stages.0.blocks.0.conv_dw.weight",
    "embeddings.patch_embeddings.projection.weight",
    "embeddings.patch_embeddings.weight",
    "embedder.embedder.convolution.weight",
    "layer_norm.weight",
    STAGES,
)
"""Names of which a model that is read here has one. What stands in front of it stands in front of all its names."""


def anchor_of(name: str) -> str | None:
    """The one of them that a name is, or that it ends in below a lead."""
    if not f".{name}".endswith(_DOTTED):
        return None
    return next(anchor for anchor, dotted in zip(ANCHORS, _DOTTED, strict=True) if f".{name}".endswith(dotted))


_DOTTED = tuple(f".{anchor}" for anchor in ANCHORS)


HEADS = frozenset({
    "head", "heads", "fc", "classifier", "linear", "mlp_head", "cls_head", "projection_head", "proj_head", "projector",
})  # fmt: skip
"""How names of a user's own classifier or projection begin. One that no table has lies beside the backbone: no feature
passes it."""

CONTAINERS = frozenset({"model", "state_dict", "network", "net"})
"""Leading names that only say that a model follows."""

WRAPPERS = frozenset(
    {"module", "backbone", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_fpw_module"}
)
"""Names that a wrapper puts anywhere into a path: DistributedDataParallel, DINO's MultiCropWrapper, torch.compile,
FSDP, activation checkpointing. Upstream's own loaders delete `module.` and `backbone.` everywhere too."""

INNER, LAYERS = "model", re.compile(r"layer\.\d+\.|stages\.\d+\.(downsample_)?layers\.")
"""What Transformers puts in memory before the layers of DINOv3's classes alone: they stand beside nothing."""


Lead = tuple[str, ...]
"""The parts of a name in front of a model."""


def without_inner(lead: Lead, names: Container[str]) -> Lead:
    """A lead without the part that Transformers puts before the layers of a class alone, and not before its norm."""
    below, beside = (".".join((*each, "layer_norm.weight")) in names for each in (lead, lead[:-1]))
    is_inner = lead[-1:] == (INNER,) and ".".join((*lead, STAGES)) in names
    return lead[:-1] if is_inner and beside and not below else lead


class NamedTensor(NamedTuple):
    """A tensor on its way to its bare name; `removed` is what was stripped from the front."""

    full_name: str
    name: str
    removed: str
    tensor: TensorRef


def bare(path: tuple[str, ...], full_name: str) -> tuple[str | None, str, str]:
    """Branch, bare name and stripped prefix of one tensor; a branch of None where it belongs to no model."""
    branch = next((part for part in reversed(path) if part in BRANCHES), "")
    parts = full_name.split(".")
    removed: list[str] = []
    while len(parts) > 1 and (parts[0] in CONTAINERS or parts[0] in WRAPPERS or parts[0] in BRANCHES):
        if parts[0] in BRANCHES:
            branch = parts[0]
        removed.append(parts.pop(0))
    if parts[0] in SKIPPED:
        return None, full_name, ""
    kept = [part for part in parts[:-1] if part not in WRAPPERS]
    removed += [part for part in parts[:-1] if part in WRAPPERS]
    return branch, ".".join([*kept, parts[-1]]), "".join(f"{part}." for part in removed)

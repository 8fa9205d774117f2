"""What the modules around a backbone say of it by their attributes: its heads, its eps, how it resamples positions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dinoport.finding.unwrap import StateDict
from dinoport.model import Stated
from dinoport.networks.interpolation import INTERPOLATIONS, Interpolation

Attributes = Mapping[str, Mapping[str, object]]
"""Plain attributes by the path of the module that has them."""

HEADS = ("num_heads", "num_attention_heads")

MAX_ABOVE = 3
"""How far above its tensors a module may stand that knows the number of heads: a projection in an attention."""


def stated_by(attributes: Attributes, state: StateDict) -> dict[str, Stated]:
    """The fields of a request that the modules of this state dict answer alike; what they differ in says nothing."""
    if not attributes:
        return {}
    root = ".".join(state.lead)
    modules = {original.rpartition(".")[0] for original in state.originals.values()}
    modules = {path for path in modules if f"{path}.".startswith(f"{root}." if root else "")}
    found = {
        "num_heads": _alike(attributes, {up for path in modules for up in _above(path, root)}, HEADS),
        "layer_norm_eps": _alike(attributes, modules, ("eps",)),
        "interpolation": _interpolation(attributes.get(root, {})),
    }
    return {name: each for name, each in found.items() if each is not None}


def _above(path: str, root: str) -> Iterator[str]:
    """A module and those that it lies in, as far as they are the backbone's own."""
    for _ in range(MAX_ABOVE):
        if path == root or not path:
            return
        yield path
        path = path.rpartition(".")[0]


def _alike(attributes: Attributes, modules: set[str], names: tuple[str, ...]) -> Stated | None:
    """The one value that all modules which have the attribute give it."""
    found = [(attributes[path][name], f"{path}.{name}") for path in sorted(modules) for name in names
             if name in attributes.get(path, {})]  # fmt: skip
    if not found or len({value for value, _ in found}) > 1:
        return None
    value, place = found[0]
    return Stated(value, f"{place} of the module")


def _interpolation(own: Mapping[str, object]) -> Stated | None:
    """How facebookresearch/dinov2's module resamples its table."""
    offset, antialias = own.get("interpolate_offset"), own.get("interpolate_antialias")
    if not isinstance(offset, int | float) or not isinstance(antialias, bool):
        return None
    rule = Interpolation(float(offset), antialias)
    name = next((name for name, known in INTERPOLATIONS.items() if known == rule), None)
    return Stated(name, "interpolate_offset and interpolate_antialias of the module") if name else None

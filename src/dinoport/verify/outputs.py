"""The outputs proof: the original's forward pass under original names, against the class that Transformers loaded.

Both run in float64, where equal means a relative difference near 1e-15 and the smallest known mistake (a LayerNorm
eps of 1e-12 for 1e-6) makes one far above the gate. Float32 figures are reported, not judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any

import numpy as np

from dinoport.families.family import Architecture, Family
from dinoport.families.interpolation import Interpolation
from dinoport.tensor import BFLOAT16, Array, TensorRef
from dinoport.verify.blocks import observed_blocks

GATE = 1e-9
"""Largest relative difference in float64 that counts as equal."""

ROUNDINGS = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}
"""One unit in the last place, relative, of each dtype that a table can be stored in."""


@dataclass(frozen=True)
class Difference:
    """Largest absolute difference of one output, and that relative to the output's largest value."""

    absolute: float
    relative: float

    @classmethod
    def between(cls, ours: Any, theirs: Any) -> Difference:
        """Compare two torch tensors; tensors of other shapes, or with NaN, differ without limit."""
        if ours.shape != theirs.shape:
            return cls(float("inf"), float("inf"))
        absolute = float((ours - theirs).abs().max())
        if not np.isfinite(absolute):
            return cls(float("inf"), float("inf"))
        return cls(absolute, absolute / max(float(ours.abs().max()), np.finfo(np.float64).tiny))


@dataclass(frozen=True)
class OutputsProof:
    """Differences by output name (`tokens`, `logits`, …) for an input of `size` (height, width) in pixels.

    `blocks` holds, by the original's name and in its order, what comes out of the embedding and of every block, in
    float64 and in float32: the proof rests on the outputs, blocks say where a difference begins. `other_sizes` holds
    the largest relative difference in float64 by size; `rounding` that of a cast to a smaller dtype; `table` that of
    a baked position table from the original's own.
    """

    size: tuple[int, int]
    picture: str
    torch_version: str
    float64: Mapping[str, Difference] = field(default_factory=dict)
    float32: Mapping[str, Difference] = field(default_factory=dict)
    blocks: Mapping[str, tuple[Difference, Difference]] = field(default_factory=dict)
    other_sizes: Mapping[tuple[int, int], Difference] = field(default_factory=dict)
    rounding: Difference | None = None
    table: float | None = None
    failure: str | None = None

    @property
    def worst(self) -> float:
        return max((difference.relative for difference in self.float64.values()), default=float("inf"))

    @property
    def passed(self) -> bool:
        return self.failure is None and self.worst <= GATE


@dataclass(frozen=True)
class Comparison:
    """Everything that the outputs proof compares.

    `model` is the loaded class in float64. `written` are the tensors in the folder, `baked` the position table's name
    there if it was resampled for `image_size`; `cast` the dtype that every weight was rounded to, if any.
    """

    family: Family
    architecture: Architecture
    originals: Mapping[str, TensorRef]
    written: Mapping[str, TensorRef]
    model: Any
    image_size: int
    cast: np.dtype[Any] | None = None
    baked: str | None = None


def prove(case: Comparison, pixels: Array, picture: str, other_sizes: tuple[tuple[int, int], ...] = ()) -> OutputsProof:
    """Run both models on `pixels`, (batch, channels, height, width), and on noise of the other sizes."""
    import torch

    forward = import_module(case.family.reference).forward
    architecture = case.architecture
    source = {name: torch_tensor(tensor).double() for name, tensor in case.originals.items() if tensor.is_float}
    state = {name: _rounded(tensor, case.cast) for name, tensor in source.items()}
    height, width = pixels.shape[-2:]
    proof = OutputsProof((height, width), picture, torch.__version__)
    with torch.inference_mode():
        if case.baked:
            written = case.written[case.baked]
            table = torch_tensor(written).double()
            own = _table_of_original(source["pos_embed"], architecture, case.image_size)
            distance = Difference.between(own, table).relative
            proof = replace(proof, table=distance)
            if distance > ROUNDINGS[written.dtype.name]:
                return replace(proof, failure="the baked position table is not the original's")
            state["pos_embed"] = table
        images = torch.from_numpy(pixels)
        blocks: dict[str, Any] = {}
        ours = forward(state, architecture, images.double(), blocks.__setitem__)
        with observed_blocks(case.model) as seen:
            theirs = outputs_of(case.model, images.double())
        proof = replace(proof, float64=compare(ours, theirs))
        in_float64 = _compare_blocks(blocks, seen)
        if case.cast is not None:
            exact = forward(source | ({"pos_embed": own} if case.baked else {}), architecture, images.double())
            proof = replace(proof, rounding=_largest(compare(exact, ours)))
        sizes = {}
        for size in other_sizes:
            noise = torch.from_numpy(_noise(pixels.shape[1], size)).double()
            sizes[size] = _largest(compare(forward(state, architecture, noise), outputs_of(case.model, noise)))
        single = case.model.float()
        floats = {name: tensor.float() for name, tensor in state.items()}
        ours = forward(floats, architecture, images.float(), blocks.__setitem__)
        with observed_blocks(single) as seen:
            theirs = outputs_of(single, images.float())
        in_float32 = _compare_blocks(blocks, seen)
        differences = {name: (in_float64[name], in_float32[name]) for name in in_float64}
    return replace(proof, float32=compare(ours, theirs), blocks=differences, other_sizes=sizes)


def torch_tensor(tensor: TensorRef) -> Any:
    """Read a tensor into torch, in its own dtype."""
    import torch

    values = tensor.read()
    if tensor.dtype == BFLOAT16:
        return torch.from_numpy(values.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(values)


def _rounded(tensor: Any, dtype: np.dtype[Any] | None) -> Any:
    import torch

    return tensor if dtype is None else tensor.to(getattr(torch, dtype.name)).double()


def _table_of_original(table: Any, architecture: Architecture, image_size: int) -> Any:
    """The original's own interpolation of its table, computed by PyTorch."""
    from dinoport.families.torch_interpolation import interpolate_table

    interpolation: Interpolation = architecture.interpolation  # type: ignore[union-attr]
    patches = image_size // architecture.patch_size  # type: ignore[union-attr]
    return interpolate_table(table, patches, patches, interpolation)


def outputs_of(model: Any, images: Any) -> dict[str, Any]:
    """The outputs of a Transformers model, under the names that the references use, from one forward pass."""
    arguments = {"interpolate_pos_encoding": True} if model.config.model_type == "vit" else {}
    seen: list[Any] = []
    hook = model.base_model.register_forward_hook(lambda module, inputs, output: seen.append(output))
    try:
        result = model(images, **arguments)
    finally:
        hook.remove()
    backbone = seen[0] if seen else result
    if model.config.model_type == "resnet":
        outputs = {"feature_map": backbone.last_hidden_state, "pooled": backbone.pooler_output.flatten(1)}
    else:
        outputs = {"tokens": backbone.last_hidden_state}
        if backbone.pooler_output is not None:
            outputs["pooled"] = backbone.pooler_output
    return outputs | ({"logits": result.logits} if "logits" in result else {})


def compare(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Difference]:
    """Differences of every output that both sides have; the CLS token stands for a pooled output that ours lacks."""
    differences = {}
    for name, output in theirs.items():
        own = ours.get(name)
        if own is None and name == "pooled":
            own = ours["tokens"][:, 0]
        differences[name] = Difference(float("inf"), float("inf")) if own is None else Difference.between(own, output)
    return differences


def _compare_blocks(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Difference]:
    return {name: Difference.between(output, theirs[name]) for name, output in ours.items() if name in theirs}


def _largest(differences: Mapping[str, Difference]) -> Difference:
    return max(differences.values(), key=lambda difference: difference.relative)


def _noise(channels: int, size: tuple[int, int]) -> Array:
    return np.random.default_rng(0).standard_normal((1, channels, *size), dtype=np.float32)


def noise_input(channels: int, size: int) -> Array:
    """An input of (1, channels, size, size) for models that no picture fits."""
    return _noise(channels, (size, size))

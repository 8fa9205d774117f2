"""The outputs proof: the original's forward pass under original names, against the class that Transformers loaded.

Both run in float64, where equal means a relative difference near 1e-15 and the smallest known mistake (a LayerNorm
eps of 1e-12 for 1e-6) makes one far above the gate. How far the class in float32 is from the original in float64, all
of it rounding where the models are equal, is reported and not judged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any

import numpy as np

from dinoport.codebases.family import Architecture, Family
from dinoport.networks.interpolation import Interpolation
from dinoport.networks.rotary_vit.architecture import DinoV3ViT
from dinoport.proofs.blocks import observed_blocks
from dinoport.proofs.class_outputs import outputs_of
from dinoport.proofs.in_float32 import InFloat32
from dinoport.proofs.rotation import Rotation, RotationProof, difference, kept_rotation
from dinoport.proofs.side_by_side import side_by_side
from dinoport.proofs.weights import Weights, floats
from dinoport.tensor import Array, TensorRef

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
        """Compare two torch tensors; tensors of other shapes, or not finite in other places, differ without limit."""
        if ours.shape != theirs.shape:
            return cls(float("inf"), float("inf"))
        absolute = float((ours - theirs).abs().max())
        if not np.isfinite(absolute):
            finite = ours.isfinite()
            if finite.all() or (finite != theirs.isfinite()).any():
                return cls(float("inf"), float("inf"))
            return cls.between(ours[finite], theirs[finite]) if finite.any() else cls(0.0, 0.0)
        return cls(absolute, absolute / max(float(ours.abs().max()), np.finfo(np.float64).tiny))


@dataclass(frozen=True)
class OutputsProof:
    """Differences by output name (`tokens`, `logits`, …) for an input of `size` (height, width) in pixels.

    `float64` and `float32` are the class's dtype; the original is in float64. `blocks` holds both, by the original's
    name and in its order, for what comes out of the embedding and of every block: the proof rests on the outputs,
    blocks say where a difference begins. `other_sizes` holds the largest relative difference in float64 by size;
    `rounding` that of a cast to a smaller dtype; `table` that of a baked position table from the original's own;
    `rotation` is the proof of DINOv3's rotary positions. `undefined` counts values of the original's own outputs that
    are not finite: they can be compared with nothing. `blind` says that the outputs do not depend on the picture: that
    they are equal then shows nothing.
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
    rotation: RotationProof | None = None
    undefined: int = 0
    blind: bool = False
    failure: str | None = None

    @property
    def worst(self) -> float:
        return max((difference.relative for difference in self.float64.values()), default=float("inf"))

    @property
    def passed(self) -> bool:
        return self.unshown is None and not self.differs

    @property
    def unshown(self) -> str | None:
        """Why outputs that do not differ show nothing, where they don't."""
        if self.differs:
            return None
        if self.undefined:
            return "the original's own are not finite"
        return "they do not depend on the picture" if self.blind else None

    @property
    def differs(self) -> bool:
        """Whether something was shown to be another; with undefined outputs, neither that nor equality may be."""
        rotated = self.rotation is not None and not self.rotation.passed
        return self.failure is not None or self.worst > GATE or rotated


@dataclass(frozen=True)
class Comparison:
    """Everything that the outputs proof compares.

    `model` is the loaded class in float64, `in_float32` what it gave on the same pixels before. `written` are the
    tensors in the folder, `baked` the position table's name there if it was resampled for `image_size`; `cast` the
    dtype that every weight was rounded to, if any. `zeros` says that a matrix of the original is zero throughout.
    """

    family: Family
    architecture: Architecture
    originals: Mapping[str, TensorRef]
    written: Mapping[str, TensorRef]
    model: Any
    in_float32: InFloat32
    image_size: int
    cast: np.dtype[Any] | None = None
    baked: str | None = None
    zeros: bool = False


def prove(case: Comparison, pixels: Array, picture: str, other_sizes: tuple[tuple[int, int], ...] = ()) -> OutputsProof:
    """Run both models on `pixels`, (batch, channels, height, width), and on noise of the other sizes."""
    import torch

    forward = import_module(case.family.reference).forward
    architecture = case.architecture
    height, width = pixels.shape[-2:]
    proof = OutputsProof((height, width), picture, torch.__version__)
    with torch.inference_mode():
        source = Weights(floats(case.originals))
        state, own = state_as_written(case), None
        if case.baked:
            own = _table_of_original(source["pos_embed"], architecture, case.image_size)
            distance = table_distance(source, state["pos_embed"], architecture, case.image_size)
            proof = replace(proof, table=distance)
            if distance > ROUNDINGS[case.written[case.baked].dtype.name]:
                return replace(proof, failure="the baked position table is not the original's")
        images = torch.from_numpy(pixels)
        double = _run(case, state, case.model, images.double())
        proof = replace(
            proof,
            float64=compare(double.ours, double.theirs),
            rotation=_rotation(case, state, double),
            undefined=sum(int((~output.isfinite()).sum()) for output in double.ours.values()),
            blind=_is_blind(case, double),
        )
        if case.cast is not None:
            weights = {**source, "pos_embed": own} if case.baked else source
            exact = forward(weights, architecture, images.double(), **double.arguments)
            proof = replace(proof, rounding=largest(compare(exact, double.ours)))
        sizes, stored = {}, Weights(floats(case.originals), case.cast)
        for size in other_sizes:
            noise = torch.from_numpy(_noise(pixels.shape[1], size)).double()
            run = _run(case, stored, case.model, noise)
            sizes[size] = largest(compare(run.ours, run.theirs))
    single = case.in_float32
    in_float64, in_float32 = (
        _compare_blocks(double.our_blocks, blocks) for blocks in (double.their_blocks, single.blocks)
    )
    blocks = {name: (difference, in_float32[name]) for name, difference in in_float64.items()}
    return replace(proof, float32=compare(double.ours, single.outputs), blocks=blocks, other_sizes=sizes)


@dataclass(frozen=True)
class _Run:
    """One input through both models: outputs, what comes out of each block, and what the original was given of the
    class's: its sines and cosines, where it has any.
    """

    images: Any
    ours: Mapping[str, Any]
    theirs: Mapping[str, Any]
    our_blocks: Mapping[str, Any]
    their_blocks: Mapping[str, Any]
    arguments: Mapping[str, Any]


def _is_blind(case: Comparison, run: _Run) -> bool:
    """Whether the class gives the same for another picture; looked at where there is a sign of it."""
    import torch

    if not (case.zeros or _alike(run.theirs)):
        return False
    another = -torch.from_numpy(_noise(run.images.shape[1], run.images.shape[2:])).double()
    differences = compare(run.theirs, outputs_of(case.model, another))
    return bool(largest(differences).relative <= GATE)


def _alike(outputs: Mapping[str, Any]) -> bool:
    """Whether the outputs of neighbouring places are the same: of the last two patches, or of a map's last corner."""
    if "feature_map" in outputs:
        last, before = outputs["feature_map"][:, :, -1, -1], outputs["feature_map"][:, :, -1, 0]
    else:
        last, before = outputs["tokens"][:, -1], outputs["tokens"][:, -2]
    return bool(Difference.between(last, before).relative <= GATE)


def _compare_blocks(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Difference]:
    return {name: Difference.between(output, theirs[name]) for name, output in ours.items() if name in theirs}


def _run(case: Comparison, state: Mapping[str, Any], model: Any, images: Any) -> _Run:
    forward = import_module(case.family.reference).forward
    blocks: dict[str, Any] = {}
    with observed_blocks(model) as seen, kept_rotation(model) as rotations:
        if isinstance(case.architecture, DinoV3ViT):  # needs the class's sines and cosines
            theirs = outputs_of(model, images)
            arguments = rotation_for(case.architecture, rotations)
            ours = forward(state, case.architecture, images, blocks.__setitem__, **arguments)
        else:
            arguments = {}
            ours, theirs = side_by_side(
                lambda: forward(state, case.architecture, images, blocks.__setitem__), lambda: outputs_of(model, images)
            )
    return _Run(images, ours, theirs, blocks, dict(seen), arguments)


def rotation_for(architecture: Architecture, rotations: Sequence[Rotation]) -> dict[str, Any]:
    """The class's sines and cosines as an argument of the reference, where they fit the original's heads."""
    fits = rotations and rotations[0][0].shape[-1] == getattr(architecture, "head_dim", None)
    return {"rotation": rotations[0]} if fits else {}


def _rotation(case: Comparison, state: Mapping[str, Any], run: _Run) -> RotationProof | None:
    """The rotary positions by themselves, and what the stored periods would change."""
    architecture = case.architecture
    if not isinstance(architecture, DinoV3ViT) or not run.arguments:
        return None
    found = RotationProof(difference(run.arguments["rotation"], architecture, run.images.shape[-2:]))
    if not architecture.rope_rounded:
        return found
    import torch

    forward = import_module(case.family.reference).forward
    low = {"rope_dtype": torch.bfloat16, "rotation_dtype": torch.bfloat16}
    stored, trained = (forward(state, architecture, run.images, **dtypes) for dtypes in ({}, low))
    moved = [largest(compare(outputs, run.theirs)).relative for outputs in (stored, trained)]
    return replace(found, stored=moved[0], in_bfloat16=moved[1])


def state_as_written(case: Comparison) -> Weights:
    """The original's weights, rounded as the folder's were, with the position table that was baked for it."""
    baked = {"pos_embed": case.written[case.baked]} if case.baked else {}
    return Weights({**floats(case.originals), **baked}, case.cast)


def table_distance(source: Mapping[str, Any], table: Any, architecture: Architecture, image_size: int) -> float:
    """How far a baked position table is from the original's own for `image_size`, relative to the largest value."""
    own = _table_of_original(source["pos_embed"], architecture, image_size)
    return Difference.between(own, table).relative


def _table_of_original(table: Any, architecture: Architecture, image_size: int) -> Any:
    """The original's own interpolation of its table, computed by PyTorch."""
    from dinoport.networks.torch_interpolation import interpolate_table

    # Only a ViT has a position table, and so a rule for it and a patch size.
    interpolation: Interpolation = architecture.interpolation  # type: ignore[union-attr]
    patches = image_size // architecture.patch_size  # type: ignore[union-attr]
    return interpolate_table(table, patches, patches, interpolation)


def compare(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Difference]:
    """Differences of every output that both sides have; the CLS token stands for a pooled output that ours lacks."""
    differences = {}
    for name, output in theirs.items():
        own = ours.get(name)
        if own is None and name == "pooled":
            differences[name] = _compare_pooled(ours["tokens"][:, 0], output)
        else:
            infinite = Difference(float("inf"), float("inf"))
            differences[name] = infinite if own is None else Difference.between(own, output)
    return differences


def _compare_pooled(tokens: Any, pooled: Any) -> Difference:
    """Of the CLS tokens that are finite: in others an identity matrix makes NaN of every value."""
    finite = tokens.isfinite().all(-1)
    if tokens.shape != pooled.shape or finite.all():
        return Difference.between(tokens, pooled)
    return Difference.between(tokens[finite], pooled[finite]) if finite.any() else Difference(0.0, 0.0)


def largest(differences: Mapping[str, Difference]) -> Difference:
    return max(differences.values(), key=lambda difference: difference.relative)


def _noise(channels: int, size: tuple[int, int]) -> Array:
    return np.random.default_rng(0).standard_normal((1, channels, *size), dtype=np.float32)


def noise_input(channels: int, size: int) -> Array:
    """An input of (1, channels, size, size) for models that no picture fits."""
    return _noise(channels, (size, size))

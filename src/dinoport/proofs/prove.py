"""The proofs in order, each on files read afresh: exact, loading, outputs, pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from dinoport.codebases.family import Architecture, Family
from dinoport.codebases.preprocessing import Preprocessing
from dinoport.mapping.resolve import backwards, claims_of_source
from dinoport.mapping.rule import Rule
from dinoport.networks.rotary_vit.architecture import DinoV3ViT
from dinoport.networks.vit.architecture import DinoViT
from dinoport.networks.vit2.architecture import DinoV2ViT
from dinoport.proofs import exact
from dinoport.proofs.diagnosis import diagnosis
from dinoport.proofs.genuine import Reference
from dinoport.proofs.verdict import Proofs
from dinoport.tensor import Array, TensorRef

if TYPE_CHECKING:
    from dinoport.proofs import outputs

Level: TypeAlias = Literal["none", "exact", "full"]


@dataclass(frozen=True)
class Case:
    """An original and a folder of Transformers that should be equal.

    `preprocessing` is None where the folder's processor is not ours to prove. `cast` is the dtype that weights were
    rounded to, `baked` the name of a resampled position table. `others` are the source's other copies of the model, by
    their labels: what a folder may hold by mistake. `returned` says that the original was made from the folder.
    `reference` is the genuine code to compare outputs with too, where that is asked for.
    """

    family: Family
    architecture: Architecture
    originals: Mapping[str, TensorRef]
    folder: Path
    written: Mapping[str, TensorRef]
    rules: Sequence[Rule]
    class_name: str
    image_size: int
    channels: int
    pooler: bool = True
    preprocessing: Preprocessing | None = None
    cast: np.dtype[np.generic] | None = None
    baked: str | None = None
    others: Mapping[str, Mapping[str, TensorRef]] = field(default_factory=dict)
    returned: bool = False
    reference: Reference | None = None


def prove(
    case: Case,
    level: Level,
    *,
    image: Path | None = None,
    all_sizes: bool = False,
    pictures: bool = False,
    on_bytes: Callable[[int], None] = lambda count: None,
) -> Proofs:
    """Try the proofs of a level, and find out why where one fails.

    Outputs are computed even where tensors differ, if the class loads: they show where the difference begins.
    `pictures` keeps what a page draws.
    """
    if level == "none":
        return Proofs()
    found = exact.prove(case.originals, case.written, case.rules, on_bytes, cast=case.cast, returned=case.returned)
    rounded = isinstance(case.architecture, DinoV3ViT) and case.architecture.rope_rounded
    by_content = None
    if not found.passed:
        by_content = diagnosis.of_tensors(case.originals, case.written, case.rules, case.others, case.cast)
    if level == "exact":
        return Proofs(found, diagnosis=by_content, rounded_periods=rounded)

    import torch

    from dinoport.proofs import genuine, loading, outputs, pixels
    from dinoport.proofs.in_float32 import run_in_float32
    from dinoport.proofs.picture import load_picture, picture_tensor, synthetic_picture
    from dinoport.proofs.widening import widen

    loaded, model = loading.load(case.folder, case.class_name, pooler=case.pooler, dtype=_widest(case.written))
    if model is None or not loaded.passed:
        return Proofs(found, loaded, diagnosis=by_content, rounded_periods=rounded)
    picture = load_picture(image) if image else synthetic_picture()
    name = str(image) if image else "a synthetic picture"
    preprocessing = (case.preprocessing or case.family.preprocessing).for_image_size(case.image_size)
    if case.channels == 3:
        values: Array = picture_tensor(picture, preprocessing)
    else:
        values, name = outputs.noise_input(case.channels, case.image_size), f"noise of {case.channels} channels"
    in_float32 = run_in_float32(model, values)
    widen(model)
    comparison = outputs.Comparison(
        family=case.family,
        architecture=case.architecture,
        originals=_of_the_model(case),
        written=case.written,
        model=model,
        in_float32=in_float32,
        image_size=case.image_size,
        cast=case.cast,
        baked=case.baked,
        zeros=bool(found.zero_matrices),
    )
    sizes = tuple(dict.fromkeys((*_notable_sizes(case), *(_other_sizes(case) if all_sizes else ()))))
    by_genuine = None
    if case.reference is not None:
        by_genuine = genuine.prove(case.reference, comparison, case.rules, torch.from_numpy(values).double())
    computed = outputs.prove(comparison, values, name, sizes)
    cause = by_content if not computed.differs else _diagnosed(case, comparison, values, computed, by_content)
    shown = None
    if case.preprocessing:
        shown = pixels.prove(case.folder, case.preprocessing, picture, name, case.channels)
    elif case.returned:
        shown = pixels.PixelsProof("not shown", reason="a file of the original's has no image processor")
    taken = None
    if pictures:
        from dinoport.proofs.pictures import take_pictures

        rgb = case.channels == 3
        taken = take_pictures(comparison, values, case.folder, picture if rgb else None, case.preprocessing)
    return Proofs(
        exact=found,
        loading=loaded,
        outputs=computed,
        pixels=shown,
        diagnosis=cause,
        pictures=taken,
        genuine=by_genuine,
        rounded_periods=rounded,
    )


def _diagnosed(
    case: Case,
    comparison: outputs.Comparison,
    values: Array,
    computed: outputs.OutputsProof,
    by_content: diagnosis.Diagnosis | None,
) -> diagnosis.Diagnosis:
    """Where both sides part, and which of the usual mistakes explains it."""
    import torch

    from dinoport.proofs import outputs
    from dinoport.proofs.blocks import observed_blocks
    from dinoport.proofs.class_outputs import outputs_of
    from dinoport.proofs.rotation import kept_rotation
    from dinoport.proofs.weights import Weights, floats

    # Kept in memory: every mistake that is tried runs on them again.
    source = dict(Weights(floats(case.originals)))
    state = dict(outputs.state_as_written(comparison))
    if computed.failure and case.baked:
        limit = outputs.ROUNDINGS[case.written[case.baked].dtype.name]
        found = diagnosis.of_table(
            lambda architecture, table: outputs.table_distance(source, table, architecture, case.image_size),
            state["pos_embed"],
            case.architecture,
            limit,
        )
        return diagnosis.completed(found, by_content, diagnosis.rules_of(found.block, case.originals, case.rules))

    model = comparison.model
    images = torch.from_numpy(values).double()
    with torch.inference_mode(), observed_blocks(model) as blocks, kept_rotation(model) as rotations:
        theirs = outputs_of(model, images)
    if computed.worst <= outputs.GATE and rotations and isinstance(case.architecture, DinoV3ViT):
        return diagnosis.of_rotation(rotations[0], case.architecture, values.shape[-2:])
    reference = import_module(case.family.reference).forward
    sides = diagnosis.Sides(
        forward=lambda state, architecture, watch: reference(
            state, architecture, images, watch, **outputs.rotation_for(architecture, rotations)
        ),
        outputs=theirs,
        blocks=blocks,
        compare=lambda ours, written: outputs.largest(outputs.compare(ours, written)).relative,
        gate=outputs.GATE,
    )
    others = {label: dict(Weights(floats(tensors))) for label, tensors in case.others.items()}
    held = None
    if by_content:
        steps = backwards(case.written, case.rules).plan.steps
        tensors = {step.target.name: step.tensor() for step in steps if step.target.name in state}
        words = by_content.cause or "the folder's weights are not the original's"
        held = words, {**state, **Weights(floats(tensors))}
    found = diagnosis.of_outputs(sides, state, case.architecture, others, held)
    return diagnosis.completed(found, by_content, diagnosis.rules_of(found.block, case.originals, case.rules))


def _widest(tensors: Mapping[str, TensorRef]) -> str:
    """The dtype to load a folder in: float32, unless that would round its weights."""
    return "float64" if any(tensor.dtype == np.float64 for tensor in tensors.values()) else "float32"


def _of_the_model(case: Case) -> Mapping[str, TensorRef]:
    """The original's tensors without what only training has a use for: a projection head is as large as a ViT-S."""
    drops = case.family.drops
    return {name: tensor for name, tensor in case.originals.items() if not claims_of_source(name, drops)}


def _notable_sizes(case: Case) -> list[tuple[int, int]]:
    """Sizes to say something of, where they are not the one that outputs match at.

    They are the one that the written processor makes of a picture, and the one that a baked table was stored for.
    """
    sizes = [case.preprocessing.size] if case.preprocessing and case.channels == 3 else []
    if isinstance(case.architecture, (DinoViT, DinoV2ViT)) and case.baked:
        sizes.append(case.architecture.image_size)
    return [(size, size) for size in sizes if size != case.image_size]


def _other_sizes(case: Case) -> tuple[tuple[int, int], ...]:
    """Two sizes beside the model's own, one of them not square, in whole patches."""
    patch = getattr(case.architecture, "patch_size", 32)
    patches = max(case.image_size // patch, 2)
    larger = (patches + max(patches // 3, 1)) * patch
    return (larger, larger), (case.image_size, max(patches - max(patches // 4, 1), 1) * patch)

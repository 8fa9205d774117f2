"""The proofs in order, each on files read afresh: exact, loading, outputs, pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from dinoport.families.family import Architecture, Family
from dinoport.families.preprocessing import Preprocessing
from dinoport.mapping.rule import Rule
from dinoport.tensor import Array, TensorRef
from dinoport.verify import exact
from dinoport.verify.verdict import Proofs

Level: TypeAlias = Literal["none", "exact", "full"]


@dataclass(frozen=True)
class Case:
    """An original and a folder of Transformers that should be equal.

    `preprocessing` is None where the folder's processor is not ours to prove. `cast` is the dtype that weights were
    rounded to, `baked` the name of a resampled position table.
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


def prove(
    case: Case,
    level: Level,
    *,
    image: Path | None = None,
    all_sizes: bool = False,
    on_bytes: Callable[[int], None] = lambda count: None,
) -> Proofs:
    """Try the proofs of a level. Later ones are left out once one has failed: they would only repeat it."""
    if level == "none":
        return Proofs()
    found = exact.prove(case.originals, case.written, case.rules, on_bytes)
    if level == "exact" or not found.passed:
        return Proofs(found)

    from dinoport.verify import loading, outputs, pixels
    from dinoport.verify.picture import load_picture, picture_tensor, synthetic_picture

    loaded, model = loading.load(case.folder, case.class_name, pooler=case.pooler)
    if model is None or not loaded.passed:
        return Proofs(found, loaded)
    picture = load_picture(image) if image else synthetic_picture()
    name = str(image) if image else "a synthetic picture"
    preprocessing = (case.preprocessing or case.family.preprocessing).for_image_size(case.image_size)
    if case.channels == 3:
        values: Array = picture_tensor(picture, preprocessing)
    else:
        values, name = outputs.noise_input(case.channels, case.image_size), f"noise of {case.channels} channels"
    comparison = outputs.Comparison(
        case.family, case.architecture, case.originals, case.written, model, case.image_size, case.cast, case.baked
    )
    sizes = (*_processed_size(case), *(_other_sizes(case) if all_sizes else ()))
    computed = outputs.prove(comparison, values, name, sizes)
    shown = None
    if case.preprocessing:
        shown = pixels.prove(case.folder, case.preprocessing, picture, name, case.channels)
    return Proofs(found, loaded, computed, shown)


def _processed_size(case: Case) -> tuple[tuple[int, int], ...]:
    """What the written processor makes of a picture, where that is another size than the one that outputs match at."""
    size = case.preprocessing.size if case.preprocessing else case.image_size
    return () if size == case.image_size else ((size, size),)


def _other_sizes(case: Case) -> tuple[tuple[int, int], ...]:
    """Two sizes beside the model's own, one of them not square, in whole patches."""
    patch = getattr(case.architecture, "patch_size", 32)
    patches = max(case.image_size // patch, 2)
    larger = (patches + max(patches // 3, 1)) * patch
    return (larger, larger), (case.image_size, max(patches - max(patches // 4, 1), 1) * patch)

"""What a page shows of one picture: attention, patch tokens and pixels of the original and of the folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dinoport.codebases.preprocessing import Preprocessing
from dinoport.proofs.attention import attention_of_original, kept_attention
from dinoport.proofs.class_outputs import outputs_of
from dinoport.proofs.outputs import Comparison, rotation_for, state_as_written
from dinoport.proofs.rotation import kept_rotation
from dinoport.tensor import Array

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Pair:
    """The same thing of both sides."""

    original: Array
    converted: Array

    @property
    def difference(self) -> float:
        """The largest absolute difference."""
        return float(abs(self.original.astype(np.float64) - self.converted).max())


@dataclass(frozen=True)
class Pictures:
    """`attention` is (heads, rows, columns), the CLS token's in the last block over the patches, of each side's own
    heads; `patches` are the final tokens, (rows, columns, width), or the last feature map. `pixels` are (height, width,
    3), as the models see them before the normalisation, in grey levels; `before` is the picture that they were made of.

    Each is None where a model has none of it.
    """

    attention: Pair | None = None
    patches: Pair | None = None
    pixels: Pair | None = None
    before: Array | None = None


def take_pictures(
    case: Comparison, values: Array, folder: Path, picture: Image | None, preprocessing: Preprocessing | None
) -> Pictures:
    """Run both models once more on `values`, (1, channels, height, width), and keep what can be drawn.

    `picture` and `preprocessing` are None where the folder's processor is not for this model.
    """
    import torch

    model = case.model
    state = state_as_written(case)
    images = torch.from_numpy(values).double()
    blocks: dict[str, Any] = {}
    with torch.inference_mode():
        with kept_attention(model) as rows, kept_rotation(model) as rotations:
            theirs = outputs_of(model, images)
        given = rotation_for(case.architecture, rotations)
        ours = import_module(case.family.reference).forward(
            state, case.architecture, images, blocks.__setitem__, **given
        )
        own_row = attention_of_original(state, case.architecture, blocks, given.get("rotation"))
    grid, prefix = grid_of(ours, case.architecture, values.shape[-2:])
    attention = None
    if rows and own_row is not None and own_row.shape[-1] == rows[-1].shape[-1]:
        attention = Pair(*(row[0, :, prefix:].reshape(-1, *grid).numpy() for row in (own_row, rows[-1])))
    patches = Pair(*(patch_tokens(outputs, grid, prefix) for outputs in (ours, theirs)))
    pixels = _pixels(folder, picture, preprocessing) if picture and preprocessing else None
    return Pictures(attention, patches, pixels, np.asarray(picture.convert("RGB")) if picture else None)


def grid_of(outputs: Mapping[str, Any], architecture: Any, size: tuple[int, ...]) -> tuple[tuple[int, int], int]:
    """Rows and columns of patches, and how many tokens stand before them."""
    if "feature_map" in outputs:
        return outputs["feature_map"].shape[-2:], 0
    patch_size = getattr(architecture, "patch_size", 32)
    return (size[0] // patch_size, size[1] // patch_size), 1 + getattr(architecture, "registers", 0)


def patch_tokens(outputs: Mapping[str, Any], grid: tuple[int, int], prefix: int) -> Array:
    """The final tokens of the patches as (rows, columns, width), without CLS token and registers."""
    if "feature_map" in outputs:
        features: Array = outputs["feature_map"][0].permute(1, 2, 0).numpy()
        return features
    tokens: Array = outputs["tokens"][0, prefix:].reshape(*grid, -1).numpy()
    return tokens


def _pixels(folder: Path, picture: Image, preprocessing: Preprocessing) -> Pair | None:
    """What both transforms make of the picture, in grey levels; None where the folder's fails or gives another size."""
    from dinoport.proofs.picture import picture_tensor
    from dinoport.proofs.pixels import processed

    original = picture_tensor(picture, preprocessing)
    try:
        converted = processed(folder, picture)
    except Exception:  # the pixels proof has said why
        return None
    if converted.shape != original.shape:
        return None
    std, mean = np.array(preprocessing.std), np.array(preprocessing.mean)
    return Pair(*((values[0].transpose(1, 2, 0) * std + mean) * 255 for values in (original, converted)))

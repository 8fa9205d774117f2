"""What a page shows of one picture: attention, patch tokens and pixels of the original and of the folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dinoport.networks.network import Architecture
from dinoport.networks.preprocessing import Preprocessing
from dinoport.proofs.comparison import Comparison, state_as_written
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
    case: Comparison,
    values: Array,
    folder: Path | None,
    picture: Image | None,
    preprocessing: Preprocessing | None,
    load: Callable[[Path], Any] | None = None,
) -> Pictures:
    """Run both sides once more on `values`, (1, channels, height, width), and keep what can be drawn.

    `picture` and `preprocessing` are None where the folder's processor is not for this model.
    """
    import torch

    state, architecture = state_as_written(case), case.architecture
    images = torch.from_numpy(values).double()
    with torch.inference_mode():
        theirs, their_row = case.runner.attention(images)
        shared = case.shared(theirs)
        ours = case.forward(state, images, shared)
        own_row = architecture.network.code.last_attention(state, architecture, ours.blocks, **shared)
    grid, prefix = grid_of(ours.outputs, architecture, values.shape[-2:]), architecture.prefix_tokens
    attention = None
    if their_row is not None and own_row is not None and own_row.shape[-1] == their_row.shape[-1]:
        attention = Pair(*(row[0, :, prefix:].reshape(-1, *grid).numpy() for row in (own_row, their_row)))
    patches = Pair(*(patch_tokens(side.outputs, grid, prefix) for side in (ours, theirs)))
    pixels = _pixels(folder, picture, preprocessing, load) if folder and picture and preprocessing else None
    return Pictures(attention, patches, pixels, np.asarray(picture.convert("RGB")) if picture else None)


def grid_of(outputs: Mapping[str, Any], architecture: Architecture, size: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of patches."""
    if "feature_map" in outputs:
        rows, columns = outputs["feature_map"].shape[-2:]
        return rows, columns
    return size[0] // architecture.cell, size[1] // architecture.cell


def patch_tokens(outputs: Mapping[str, Any], grid: tuple[int, int], prefix: int) -> Array:
    """The final tokens of the patches as (rows, columns, width), without CLS token and registers."""
    if "feature_map" in outputs:
        features: Array = outputs["feature_map"][0].permute(1, 2, 0).numpy()
        return features
    tokens: Array = outputs["tokens"][0, prefix:].reshape(*grid, -1).numpy()
    return tokens


def _pixels(
    folder: Path, picture: Image, preprocessing: Preprocessing, load: Callable[[Path], Any] | None
) -> Pair | None:
    """What both transforms make of the picture, in grey levels; None where the folder's fails or gives another size."""
    from dinoport.proofs.picture import picture_tensor
    from dinoport.proofs.pixels import processed

    original = picture_tensor(picture, preprocessing)
    try:
        converted = processed(folder, picture, load)
    except Exception:  # the pixels proof has said why
        return None
    if converted.shape != original.shape:
        return None
    std, mean = np.array(preprocessing.std), np.array(preprocessing.mean)
    return Pair(*((values[0].transpose(1, 2, 0) * std + mean) * 255 for values in (original, converted)))

"""The originals' own resampling of a position table, by PyTorch: what NumPy's is compared with.

Imported only to verify.
"""

from math import isqrt
from typing import Any

import torch
from torch.nn import functional

from dinoport.networks.interpolation import Interpolation


def interpolate_table(
    table: torch.Tensor, rows: int, columns: int, interpolation: Interpolation, first: int = 1
) -> torch.Tensor:
    """Resample a (1, first + side², width) table to (1, first + rows·columns, width), in the table's dtype.

    The `first` rows belong to the CLS token and its like, and are kept. Always resamples: that a table of the right
    size is taken as it is is for the caller to decide, because the originals look at pixels, not patches.
    Source: `interpolate_pos_encoding` of facebookresearch/dino and dinov2. Raises ValueError where the table is not
    a square, or PyTorch rounds the scaled size to another one.
    """
    side = isqrt(table.shape[1] - first)
    if side * side != table.shape[1] - first:
        raise ValueError(
            f"a position table of {table.shape[1]} rows: {first} and {table.shape[1] - first}, which is not a square"
        )
    patches = table[:, first:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    wanted: dict[str, Any] = {"size": (rows, columns)}
    if interpolation.offset:
        wanted = {"scale_factor": [(rows + interpolation.offset) / side, (columns + interpolation.offset) / side]}
    resampled = functional.interpolate(patches, **wanted, mode=interpolation.kernel, antialias=interpolation.antialias)
    if resampled.shape[-2:] != (rows, columns):
        raise ValueError(f"resampling to {rows}×{columns} patches made {tuple(resampled.shape[-2:])}")
    return torch.cat([table[:, :first], resampled.flatten(2).transpose(1, 2)], dim=1)

"""How an original resamples its table of position embeddings when the input has another size than training had."""

from typing import Literal, NamedTuple


class Interpolation(NamedTuple):
    """Resampling of a square table, corners not aligned; bicubic with a = -0.75 where nothing else is said.

    With an `offset` the sampling grid is driven by the scale factor (patches + offset) / table side, per axis;
    with offset 0 by the target size alone. `antialias` widens the kernel when the table shrinks.
    Source: `interpolate_pos_encoding` of facebookresearch/dino and dinov2.
    """

    offset: float
    antialias: bool
    kernel: Literal["bicubic", "bilinear"] = "bicubic"

    def __str__(self) -> str:
        rule = f"scale factor with offset {self.offset:g}" if self.offset else "to the exact size"
        return f"{self.kernel}, {rule}, {'with' if self.antialias else 'without'} antialias"


SCALE_WITH_OFFSET = Interpolation(offset=0.1, antialias=False)
"""DINO, DINOv2 without registers, and DINOv2's own training default."""

TO_SIZE_ANTIALIASED = Interpolation(offset=0.0, antialias=True)
"""Released DINOv2 models with registers."""

TO_SIZE = Interpolation(offset=0.0, antialias=False)

BILINEAR_ANTIALIASED = Interpolation(offset=0.0, antialias=True, kernel="bilinear")
"""TIPS."""

INTERPOLATIONS: dict[str, Interpolation] = {
    "offset": SCALE_WITH_OFFSET,
    "size": TO_SIZE,
    "size-antialias": TO_SIZE_ANTIALIASED,
    "bilinear-antialias": BILINEAR_ANTIALIASED,
}
"""The rules by the names that `--interpolation` takes."""

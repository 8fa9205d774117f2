"""How an original turns a picture into an input when it evaluates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

SATELLITE_MEAN = (0.430, 0.411, 0.296)
SATELLITE_STD = (0.213, 0.156, 0.143)
"""Statistics of the satellite pictures that DINOv3's SAT models were trained on (README of facebookresearch/dinov3)."""


@dataclass(frozen=True)
class Preprocessing:
    """Convert to RGB, resize, crop, scale to [0, 1], normalise. Sizes are in pixels, statistics one a channel.

    With a `crop`, the shortest side becomes `resize` pixels and the centre is cropped; without one the picture becomes
    a square of `resize` pixels, whatever its proportions. All originals resize 8-bit values, with antialiasing: dino
    and dinov2 a PIL `picture`, dinov3 a `tensor` of torch. These two round otherwise, which is one grey level, two
    where the picture is enlarged, and scale otherwise, which is the last bit of a float32. `official` says that the
    processor is the one that DINOv3's own repositories name. Above `crops_to` pixels, if given, nothing is cropped
    away. `reason` says in words whose transform it is; `stored` who says those fields that come from elsewhere than the
    tensors. `margin` is `resize` over `crop` as it was before it was rounded for this size.
    """

    resize: int
    crop: int | None
    resample: Literal["bicubic", "bilinear"]
    resizes: Literal["picture", "tensor"] = "picture"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    official: bool = False
    crops_to: int | None = None
    reason: str = "as in facebookresearch/dino's eval transform"
    stored: Mapping[str, str] = field(default_factory=dict, hash=False)
    margin: float | None = field(default=None, compare=False)

    @property
    def size(self) -> int:
        return self.crop or self.resize

    def for_image_size(self, size: int) -> Preprocessing:
        """The same transform for another input size: a margin that is cropped away keeps its proportion."""
        if size == self.size:
            return self
        stored = {name: who for name, who in self.stored.items() if name not in ("resize", "crop")}
        reason = f"{self.reason}, scaled from {self.size} pixels" if "resize" in self.stored else self.reason
        if self.crop is None:
            return replace(self, resize=size, stored=stored, reason=reason)
        own = self.margin or self.resize / self.crop
        margin = own if self.crops_to is None or size <= self.crops_to else 1
        return replace(self, resize=round(size * margin), crop=size, stored=stored, reason=reason, margin=own)

    def as_said(self, said: Preprocessing, *, ours: bool) -> Preprocessing:
        """What something besides the tensors says of the transform, where it is not this one.

        A folder of `ours` has no place for what is resized and for DINOv3's own processor: with the same steps these
        stay.
        """
        own = self.for_image_size(said.size)
        if not ours or (said.resize, said.crop, said.resample) != (own.resize, own.crop, own.resample):
            return said
        if (said.mean, said.std) == (own.mean, own.std):
            return own
        return replace(said, resizes=own.resizes, official=own.official, crops_to=own.crops_to, margin=own.margin)

    def with_statistics(self, mean: tuple[float, ...] | None, std: tuple[float, ...] | None) -> Preprocessing:
        """The same transform with other means and standard deviations, where they are given."""
        return replace(self, mean=mean or self.mean, std=std or self.std)

    def with_stored(self, mean: tuple[float, ...], std: tuple[float, ...], who: str) -> Preprocessing:
        """The same transform with the statistics that something besides the tensors says."""
        return replace(self, mean=mean, std=std, stored={**self.stored, "mean": who, "std": who})


EVALUATION = Preprocessing(resize=256, crop=224, resample="bicubic")
"""`eval_linear.py` and `eval_knn.py` of facebookresearch/dino."""

DINOV2_EVALUATION = replace(EVALUATION, reason="as in facebookresearch/dinov2's eval transform")
"""`make_classification_eval_transform` in `dinov2/data/transforms.py` of facebookresearch/dinov2: the same."""

DINOV3_PROCESSOR = Preprocessing(
    resize=224,
    crop=None,
    resample="bilinear",
    resizes="tensor",
    official=True,
    reason="as in DINOv3's official image processors",
)
"""`make_transform` in the README of facebookresearch/dinov3, which resizes to 256, at the 224 pixels of the official
Transformers repositories' preprocessor_config.json."""

DINOV3_SAT = replace(
    DINOV3_PROCESSOR,
    mean=SATELLITE_MEAN,
    std=SATELLITE_STD,
    reason="as in the README of facebookresearch/dinov3 for satellite models",
)
"""The README's `make_transform` for SAT-493M weights. `convert_dinov3_vit_to_hf.py` of Transformers would write
ImageNet's statistics for them too."""

"""The pixels proof: the written image processor against the original's own transform."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import floor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dinoport.networks.preprocessing import Preprocessing
from dinoport.proofs.picture import Resize, picture_tensor, pil_resize, tensor_resize
from dinoport.proofs.samples import Sample, as_rgb, kind_samples, on_white, rows_as_channels, size_samples
from dinoport.shown.packages import missing
from dinoport.shown.text import counted
from dinoport.tensor import Array

if TYPE_CHECKING:
    from PIL.Image import Image

Status = Literal[
    "equal",
    "one grey level",
    "two grey levels",
    "one pixel",
    "on white",
    "rows as channels",
    "different",
    "not shown",
]

ROUNDING_GREY_LEVELS = 1e-4
"""What counts as no difference, but for PIL's form, which takes DINO's own steps and is given nothing. Torchvision's
joins the rescale and the normalisation, which moves float32 by 1.4e-5 grey levels (DINOv3's, which resizes floats, by
4.1e-5); 0.2290 for 0.2291 in `std` moves 0.06."""

ROUNDING = {
    ("picture", "torchvision"): "torchvision rounds otherwise than PIL when it resizes",
    ("tensor", "torchvision"): "the processor resizes floats, where the original keeps whole grey levels",
    ("tensor", "PIL"): "PIL rounds otherwise than the original when it resizes",
}
"""By what the original resizes, and the processor's backend."""


@dataclass(frozen=True)
class PixelClass:
    """What was found on one picture of a class: all sizes that are resized and cropped alike, or a kind of pictures.

    `share` is the part of all sizes that the class holds; kinds of pictures have none. `picture` is the size in pixels.
    """

    name: str
    picture: str
    status: Status
    max_grey_levels: float | None = None
    share: float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class PixelsProof:
    """The largest difference, in normalised units and in grey levels (of 255), and the backend that was measured.

    Some differences are known, and are only said where taking the same step makes both equal:

    - `one grey level`, `two grey levels`: torchvision resizes tensors, with coarser weights than PIL's; and DINOv3's
      processor resizes floats, where the original resizes and rounds to whole grey levels.
    - `one pixel`: where the margin to be cropped is odd, the original rounds half of it to even and Transformers
      rounds it down, so every second such picture is cropped one pixel off.
    - `on white`: Transformers 5 lays transparent pictures on white, the originals' loaders drop the transparency.
    - `rows as channels`: Transformers 4, without torchvision, takes the rows of a picture 1 or 3 pixels high for them.

    Where there is nothing to compare, a `different` proof has no difference, and says in `reason` what there is.
    `classes` are what stands for all other pictures: see `samples`.
    """

    status: Status
    backend: str = ""
    max_difference: float | None = None
    max_grey_levels: float | None = None
    picture: str = ""
    reason: str | None = None
    classes: tuple[PixelClass, ...] = ()

    @property
    def failures(self) -> tuple[str, ...]:
        """What is different and not known to be, in words: the picture's own difference, else the first class's."""
        found = [(self.max_grey_levels, self.reason, "")] if self.status == "different" else []
        found += [
            (one.max_grey_levels, one.reason, f" on a picture of {one.picture} pixels ({one.name})")
            for one in self.classes
            if one.status == "different"
        ]
        for levels, reason, where in found[:1]:
            differ = f"differ by up to {levels:.1f} grey levels" if levels is not None else "were not compared"
            return (f"pixel values {differ}{where}" + (f": {reason}" if reason else ""),)
        return ()

    @property
    def exceptions(self) -> tuple[str, ...]:
        """The known differences in words, one for each, with how large and how common they are."""
        return tuple(self._exceptions())

    def _exceptions(self) -> Iterator[str]:
        rounded: list[Status] = [status for status in ("two grey levels", "one grey level") if self._levels(status)]
        if rounded:
            where = f" at {_share_text(self._share(*rounded))}" if self.classes else ""
            yield f"for pixel values (resized by {self.backend}, they differ by up to {rounded[0]}{where})"
        aside = self._levels("one pixel")
        if aside:
            where = f"at {_share_text(self._share('one pixel'))}" if self.classes else "of this picture"
            levels = counted(f"{max(aside):.0f}", "grey level")
            yield f"for the crop ({where} it is one pixel off: values differ by up to {levels})"
        white = self._levels("on white")
        if white:
            levels = counted(f"{max(white):.0f}", "grey level")
            how = f"laid on white, where the original drops the transparency: up to {levels}"
            yield f"for transparent pictures ({how})"
        if self._levels("rows as channels"):
            yield "for pictures 1 or 3 pixels high (the processor takes their rows for channels)"

    def _levels(self, status: str) -> list[float]:
        found = [(self.status, self.max_grey_levels), *((one.status, one.max_grey_levels) for one in self.classes)]
        return [levels or 0.0 for known, levels in found if known == status]

    def _share(self, *statuses: str) -> float:
        return sum(one.share or 0.0 for one in self.classes if one.status in statuses)


def _share_text(share: float) -> str:
    """How common something is among sizes, in words where there are any."""
    for part, words in ((0.25, "a quarter"), (0.5, "half"), (0.75, "three quarters")):
        if abs(share - part) < 0.03:
            return f"{words} of all picture sizes"
    most = "every picture size" if share > 0.995 else "nearly every picture size"
    return most if share > 0.95 else f"{share:.1%} of all picture sizes"


def prove(
    folder: Path,
    preprocessing: Preprocessing,
    picture: Image,
    name: str,
    channels: int = 3,
    load: Callable[[Path], Any] | None = None,
) -> PixelsProof:
    """Compare the pixel values that the folder's processor gives with the original's. `name` is the picture's.

    `load` gives the processor of a folder, where that is not one of Transformers.

    Where the picture shows no difference but a known one, all classes of sizes and of pictures are compared too.
    """
    if channels != 3:
        return PixelsProof("not shown", reason=f"no image processor is written for a model of {channels} channels")
    from dinoport.codebases.transformers.running import quiet

    with quiet:
        try:
            processor = (load or _load)(folder)
        except Exception as error:  # whatever a processor raises is the proof's finding
            if "torchvision" in str(error).lower() and missing("torchvision"):
                return PixelsProof("not shown", reason="the processor needs torchvision")
            return PixelsProof("different", picture=name, reason=f"the processor fails: {_first_line(error)}")
        found = replace(_compared(processor, as_rgb(picture), preprocessing), picture=name)
        if found.status == "different":
            return found
        samples = (*size_samples(preprocessing), *kind_samples())
        return replace(found, classes=tuple(_class(processor, sample, preprocessing) for sample in samples))


def processed(folder: Path, picture: Image, load: Callable[[Path], Any] | None = None) -> Array:
    """The pixel values that the folder's processor gives, in float64. Raises whatever the processor raises."""
    from dinoport.codebases.transformers.running import quiet

    with quiet:
        return _processed((load or _load)(folder), picture)


def _processed(processor: Any, picture: Image) -> Array:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow advises RGBA for palettes
        # Torchvision's classes of 4.57 return nothing but PyTorch's tensors.
        values: Array = processor(picture, return_tensors="pt")["pixel_values"].numpy().astype(np.float64)
    return values


def _class(processor: Any, sample: Sample, preprocessing: Preprocessing) -> PixelClass:
    """What is found on a picture as it is: where it is not as the original's, whether a known step explains it."""
    found = _compared(processor, sample.picture, preprocessing)
    status, reason = found.status, found.reason
    steps: dict[Status, Callable[[Image], Image | None]] = {"on white": on_white, "rows as channels": rows_as_channels}
    for known, step in steps.items():
        taken = step(sample.picture) if status == "different" else None
        if taken and _compared(processor, sample.picture, preprocessing, taken).status != "different":
            status, reason = known, None
    if sample.picture.height == 1 and found.backend == "PIL" and found.max_difference is None:
        status = "rows as channels"
    size = "×".join(map(str, sample.picture.size))
    return PixelClass(sample.name, size, status, found.max_grey_levels, sample.share, reason)


def _compared(processor: Any, picture: Image, preprocessing: Preprocessing, taken: Image | None = None) -> PixelsProof:
    """The processor on a picture against the original on the same, or on what the processor may have `taken` it for."""
    backend, size = _backend(processor), preprocessing.size
    try:
        theirs = _processed(processor, picture)
    except Exception as error:  # whatever a processor raises is the proof's finding
        return PixelsProof("different", backend, reason=f"the processor fails: {_first_line(error)}")
    if theirs.shape != (1, 3, size, size):
        reason = f"the processor gives {'×'.join(map(str, theirs.shape))} values, the original 1×3×{size}×{size}"
        return PixelsProof("different", backend, reason=reason)
    return _compare(theirs, taken or as_rgb(picture), preprocessing, backend)


def _compare(theirs: Array, picture: Image, preprocessing: Preprocessing, backend: str) -> PixelsProof:
    def grey_levels(ours: Array) -> float:
        return float((abs(theirs - ours) * 255 * np.array(preprocessing.std)[None, :, None, None]).max())

    original = picture_tensor(picture, preprocessing)
    worst = grey_levels(original)
    measured = PixelsProof("equal", backend, float(abs(theirs - original).max()), worst)
    own_steps = backend == "PIL" and preprocessing.resizes == "picture"
    rounding = 0.0 if own_steps else ROUNDING_GREY_LEVELS
    if worst <= rounding:
        return measured
    resize = _resize(preprocessing, backend)
    if worst < 2.5 and grey_levels(picture_tensor(picture, preprocessing, resize)) <= rounding:
        reason = f"{ROUNDING[preprocessing.resizes, backend]}; with its resize there is no difference"
        return replace(measured, status="one grey level" if worst < 1.5 else "two grey levels", reason=reason)
    rest = grey_levels(picture_tensor(picture, preprocessing, crop_offset=floor))
    if rest < 2.5 and grey_levels(picture_tensor(picture, preprocessing, resize, floor)) <= rounding:
        reason = f"the centre is cropped one pixel off; with the same crop the difference is {rest:.2g} grey levels"
        return replace(measured, status="one pixel", reason=reason)
    return replace(measured, status="different")


def _load(folder: Path) -> Any:
    from dinoport.codebases.transformers.writing import processor

    return processor(folder)


def _backend(processor: Any) -> Literal["PIL", "torchvision"]:
    """Which library resizes: Transformers 5 says so, 4.57 tells its torchvision classes by `Fast`."""
    named = getattr(processor, "backend", None)
    if isinstance(named, str):
        return "torchvision" if named == "torchvision" else "PIL"
    return "torchvision" if type(processor).__name__.endswith("Fast") else "PIL"


def _resize(preprocessing: Preprocessing, backend: str) -> Resize:
    """The resize that the processor is known to do."""
    if backend == "PIL":
        return pil_resize
    return tensor_resize if preprocessing.resizes == "picture" else _rescaled_resize


def _rescaled_resize(levels: Array, size: tuple[int, int], resample: str) -> Array:
    """As DINOv3's processor, which rescales first (`_preprocess` in its image_processing_dinov3_vit.py).

    Its sums over numbers up to 1 round otherwise than sums over grey levels, visibly so where many pixels become one.
    """
    return tensor_resize(levels.astype(np.float32) * np.float32(1 / 255), size, resample) * np.float32(255)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).split("\n")[0]

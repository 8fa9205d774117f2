"""The pixels proof: the written image processor against the original's own transform, on one picture."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from math import floor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dinoport.networks.preprocessing import Preprocessing
from dinoport.proofs.picture import Resize, picture_tensor, pil_resize, tensor_resize
from dinoport.tensor import Array

if TYPE_CHECKING:
    from PIL.Image import Image

Status = Literal["equal", "one grey level", "two grey levels", "one pixel", "different", "not shown"]

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
class PixelsProof:
    """The largest difference, in normalised units and in grey levels (of 255), and the backend that was measured.

    Three differences are known, and are only said where taking the same step makes both equal:

    - `one grey level`, `two grey levels`: torchvision resizes tensors, with coarser weights than PIL's; and DINOv3's
      processor resizes floats, where the original resizes and rounds to whole grey levels.
    - `one pixel`: where the margin to be cropped is odd, the original rounds half of it to even and Transformers
      rounds it down, so every second such picture is cropped one pixel aside.

    Where there is nothing to compare, a `different` proof has no difference, and says in `reason` what there is.
    """

    status: Status
    backend: str = ""
    max_difference: float | None = None
    max_grey_levels: float | None = None
    picture: str = ""
    reason: str | None = None


def prove(folder: Path, preprocessing: Preprocessing, picture: Image, name: str, channels: int = 3) -> PixelsProof:
    """Compare the pixel values that the folder's processor gives with the original's. `name` is the picture's."""
    if channels != 3:
        return PixelsProof("not shown", reason=f"no image processor is written for a model of {channels} channels")
    from dinoport.codebases.transformers.running import quiet

    picture = picture.convert("RGB")
    backend = ""
    try:
        with quiet():
            processor = _load(folder)
            backend = _backend(processor)
            theirs = _processed(processor, picture)
    except Exception as error:  # whatever a processor raises is the proof's finding
        if "torchvision" in str(error).lower() and find_spec("torchvision") is None:
            return PixelsProof("not shown", reason="the processor needs torchvision")
        return _nothing_to_compare(backend, name, f"the processor fails: {_first_line(error)}")
    size = preprocessing.size
    if theirs.shape != (1, 3, size, size):
        reason = f"the processor gives {'×'.join(map(str, theirs.shape))} values, the original 1×3×{size}×{size}"
        return _nothing_to_compare(backend, name, reason)
    return _compare(theirs, picture, preprocessing, backend, name)


def processed(folder: Path, picture: Image) -> Array:
    """The pixel values that the folder's processor gives, in float64. Raises whatever the processor raises."""
    from dinoport.codebases.transformers.running import quiet

    with quiet():
        return _processed(_load(folder), picture)


def _processed(processor: Any, picture: Image) -> Array:
    # Torchvision's classes of 4.57 return nothing but PyTorch's tensors.
    values: Array = processor(picture, return_tensors="pt")["pixel_values"].double().numpy()
    return values


def _compare(theirs: Array, picture: Image, preprocessing: Preprocessing, backend: str, name: str) -> PixelsProof:
    def grey_levels(ours: Array) -> float:
        return float((abs(theirs - ours) * 255 * np.array(preprocessing.std)[None, :, None, None]).max())

    original = picture_tensor(picture, preprocessing)
    worst = grey_levels(original)
    measured = (backend, float(abs(theirs - original).max()), worst, name)
    own_steps = backend == "PIL" and preprocessing.resizes == "picture"
    rounding = 0.0 if own_steps else ROUNDING_GREY_LEVELS
    if worst <= rounding:
        return PixelsProof("equal", *measured)
    resize = _resize(preprocessing, backend)
    if worst < 2.5 and grey_levels(picture_tensor(picture, preprocessing, resize)) <= rounding:
        reason = f"{ROUNDING[preprocessing.resizes, backend]}; with its resize there is no difference"
        return PixelsProof("one grey level" if worst < 1.5 else "two grey levels", *measured, reason)
    rest = grey_levels(picture_tensor(picture, preprocessing, crop_offset=floor))
    if rest < 2.5 and grey_levels(picture_tensor(picture, preprocessing, resize, floor)) <= rounding:
        reason = f"the centre is cropped one pixel aside; with the same crop the difference is {rest:.2g} grey levels"
        return PixelsProof("one pixel", *measured, reason)
    return PixelsProof("different", *measured)


def _nothing_to_compare(backend: str, name: str, reason: str) -> PixelsProof:
    return PixelsProof("different", backend, picture=name, reason=reason)


def _load(folder: Path) -> Any:
    from transformers import AutoImageProcessor

    return AutoImageProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


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

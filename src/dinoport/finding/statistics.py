"""The statistics of pixels that a module keeps as buffers: EoMT's `pixel_mean`, MoGe's and Pi3's `image_mean`."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from dinoport.finding.unwrap import StateDict
from dinoport.model import Stated
from dinoport.tensor import TensorRef

BUFFER = re.compile(r"(?:.*\.)?(?:(?:pixel|image|img)_)?(mean|std)")
"""A buffer's name: which of the two it holds."""

CHANNELS = 3

LEAST = 1e-4
"""Of a deviation, where pixels are from 0 to 1."""

STATISTICS = "the statistics of pixels, which the code around the model takes"


def is_buffer(name: str, tensor: TensorRef) -> bool:
    """Whether a tensor is one of the two."""
    is_float = np.issubdtype(tensor.dtype, np.floating)
    return bool(is_float and tensor.size == CHANNELS and len(tensor.shape) in (1, 3, 4) and BUFFER.fullmatch(name))


def buffered(state: StateDict) -> Mapping[str, Stated]:
    """Means and deviations that lie beside a model, both or none; none where there are several."""
    around = {**state.outside, **state.tensors}
    found: dict[str, list[tuple[str, tuple[float, ...]]]] = {"mean": [], "std": []}
    for name, tensor in around.items():
        told = BUFFER.fullmatch(name) if is_buffer(name, tensor) else None
        if told:
            values = tuple(round(float(value), 6) for value in tensor.read().ravel())
            found[told[1]].append((state.originals.get(name, name), values))
    if any(len(each) != 1 for each in found.values()):
        return {}
    [(of_mean, mean)], [(of_std, std)] = found["mean"], found["std"]
    if max(*mean, *std) > 1:
        mean, std = (tuple(round(value / 255, 6) for value in each) for each in (mean, std))
    fits = all(0 <= value <= 1 for value in mean) and all(LEAST <= value <= 1 for value in std)
    where = f"{of_mean} and {of_std} in the file"
    return {"image_mean": Stated(mean, where), "image_std": Stated(std, where)} if fits else {}

"""The class as people run it, in float32: what the outputs proof reports beside float64, and does not judge."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dinoport.proofs.blocks import observed_blocks
from dinoport.proofs.class_outputs import outputs_of
from dinoport.tensor import Array


@dataclass(frozen=True)
class InFloat32:
    """One pass of the class: its outputs, and what came out of the embedding and every block, by original names."""

    outputs: Mapping[str, Any]
    blocks: Mapping[str, Any]


def run_in_float32(model: Any, pixels: Array) -> InFloat32:
    """Run the class on `pixels`, (batch, channels, height, width); a model of another dtype is copied for it."""
    import torch

    narrow = model if model.dtype == torch.float32 else copy.deepcopy(model).float()
    with torch.inference_mode(), observed_blocks(narrow) as blocks:
        return InFloat32(outputs_of(narrow, torch.from_numpy(pixels).float()), blocks)

"""A DINOv2 that puts its registers behind the patches: what the original does not do."""

from __future__ import annotations

from typing import Any

import torch
from dinoport.networks.vit2 import forward as reference


def forward(state: Any, architecture: Any, *arguments: Any, **options: Any) -> dict[str, torch.Tensor]:
    outputs = reference.forward(state, architecture, *arguments, **options)
    tokens, first = outputs["tokens"], 1 + architecture.registers
    return outputs | {"tokens": torch.cat([tokens[:, :1], tokens[:, first:], tokens[:, 1:first]], dim=1)}

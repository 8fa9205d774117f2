"""A DINOv2 that puts its registers behind the patches: what the original does not do."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch

from dinoport.networks.network import Network
from dinoport.networks.vit import forward as vit
from dinoport.networks.vit.architecture import ViT


@dataclass(frozen=True)
class RegistersLast(ViT):
    network: ClassVar[Network] = ViT.network._replace(module=__name__)

    @classmethod
    def like(cls, model: ViT) -> RegistersLast:
        return cls(**{field.name: getattr(model, field.name) for field in fields(model)})


def forward(state: Any, architecture: Any, *arguments: Any, **options: Any) -> dict[str, torch.Tensor]:
    outputs = vit.forward(state, architecture, *arguments, **options)
    tokens, first = outputs["tokens"], 1 + architecture.registers
    return outputs | {"tokens": torch.cat([tokens[:, :1], tokens[:, first:], tokens[:, 1:first]], dim=1)}

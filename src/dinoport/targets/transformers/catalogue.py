"""Which class an architecture becomes."""

from __future__ import annotations

from dinoport.errors import UnknownModelError
from dinoport.families.dino.architecture import DinoViT
from dinoport.families.dino_resnet.architecture import DinoResNet
from dinoport.families.family import Architecture
from dinoport.families.probe import Features
from dinoport.targets.target import Choices, Target
from dinoport.targets.transformers import dinov2, resnet, vit


def choose(model: Architecture, choices: Choices) -> Target:
    """The class of Transformers that computes what this model computes."""
    match model:
        case DinoViT() if model.probe and model.probe.features is Features.CLS_MEAN_INTERLEAVED:
            return dinov2.target_for_probe(model, choices)
        case DinoViT():
            return vit.target(model, choices)
        case DinoResNet():
            return resnet.target(model, choices)
        case _:
            raise UnknownModelError(f"{type(model).__name__} has no class of Transformers yet")

"""Which class an architecture becomes."""

from __future__ import annotations

from dinoport.codebases.family import Architecture
from dinoport.codebases.preprocessing import Preprocessing
from dinoport.codebases.probe import Features
from dinoport.codebases.transformers import dinov2, dinov3_convnext, dinov3_vit, resnet, vit
from dinoport.codebases.transformers.target import Choices, Target
from dinoport.networks.convnext.architecture import DinoV3ConvNext
from dinoport.networks.resnet.architecture import DinoResNet
from dinoport.networks.rotary_vit.architecture import DinoV3ViT
from dinoport.networks.vit.architecture import DinoViT
from dinoport.networks.vit2.architecture import DinoV2ViT


def choose(model: Architecture, preprocessing: Preprocessing, choices: Choices) -> Target:
    """The class of Transformers that computes what this model computes; `preprocessing` is the original's."""
    match model:
        case DinoViT() if model.probe and model.probe.features is Features.CLS_MEAN_INTERLEAVED:
            return dinov2.target_for_probe(model, preprocessing, choices)
        case DinoViT():
            return vit.target(model, preprocessing, choices)
        case DinoResNet():
            return resnet.target(model, preprocessing, choices)
        case DinoV2ViT():
            return dinov2.target(model, preprocessing, choices)
        case DinoV3ViT():
            return dinov3_vit.target(model, preprocessing, choices)
        case DinoV3ConvNext():
            return dinov3_convnext.target(model, preprocessing, choices)

"""ViTMSNModel, a class of MSN's own that computes what ViTModel does, and has no pooler."""

from __future__ import annotations

from collections.abc import Mapping

from dinoport.codebases.target import Target
from dinoport.codebases.transformers import vit as of_vit
from dinoport.errors import SettingError
from dinoport.mapping.rule import Rule, copy
from dinoport.model import Model
from dinoport.networks.vit.architecture import ViT
from dinoport.request import Request

KIND = of_vit.ViTClasses("vit_msn", "ViTMSNModel", "", (*of_vit.RULES, *of_vit.ATTENTION))


arguments = of_vit.arguments


def target(model: Model, request: Request, labels: Mapping[int, str] | None) -> Target:
    """Raises SettingError for a classifier, which has another class."""
    if model.architecture.classifier is not None:
        raise SettingError(f"{KIND.backbone} has no classifier")
    return of_vit.target(model, request, labels, KIND)


def sketch(where: str, config: Mapping[str, object]) -> tuple[str, tuple[Rule, ...]]:
    return "msn", (copy(ViT.positions, of_vit.POSITIONS), *KIND.rules)

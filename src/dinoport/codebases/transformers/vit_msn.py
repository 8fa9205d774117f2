"""ViTMSNModel and ViTMSNForImageClassification: classes of MSN's own that compute what ViTModel and its sibling do, and
have no pooler.
"""

from collections.abc import Mapping

from dinoport.codebases.target import Target
from dinoport.codebases.transformers import vit as of_vit
from dinoport.codebases.transformers.forms import class_name_of
from dinoport.mapping.rule import Rule, copy
from dinoport.model import Model
from dinoport.networks.vit.architecture import ViT
from dinoport.request import Request

KIND = of_vit.ViTClasses("vit_msn", "ViTMSNModel", "ViTMSNForImageClassification", of_vit.VIT.rules, below="vit.")

OUTSIDE = tuple(rule for rule in KIND.rules if all(name.startswith("encoder.") for name in rule.names))
"""Transformers 5 saves the layers of the one that classifies without what stands before all its other names."""

arguments = of_vit.arguments


def target(model: Model, request: Request, labels: Mapping[int, str] | None) -> Target:
    return of_vit.target(model, request, labels, KIND)


def sketch(where: str, config: Mapping[str, object]) -> tuple[str, tuple[Rule, ...]]:
    backbone = (copy(ViT.positions, of_vit.POSITIONS), *KIND.rules)
    if class_name_of(config) != KIND.classifying:
        return "msn", backbone
    return "msn", (*of_vit.classifying(KIND, backbone), *OUTSIDE)


OWN_CLASSIFIER = of_vit.OWN_CLASSIFIER

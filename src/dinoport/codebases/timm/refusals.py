"""What timm's classes do not compute, refused by name."""

from collections.abc import Sequence

from dinoport.errors import UnknownModelError
from dinoport.model import Model
from dinoport.networks.network import Features


def refuse_head(model: Model) -> None:
    """Raise UnknownModelError for a classifier that looks at more than one pooled vector."""
    classifier = model.architecture.classifier
    if classifier is None or classifier.features in (Features.CLS, Features.POOLED):
        return
    raise UnknownModelError(
        f"{model.where} cannot be written for timm with its classifier",
        where=f"{model.classifier}.weight",
        expected="a classifier over the CLS token: timm's head takes one pooled vector",
        found=f"a classifier over {classifier.features.value}",
        next_step="give the backbone alone, or leave `head` out; `to='transformers'` has a class for DINO's and "
        "DINOv2's heads",
    )


def refuse_eps(model: Model, eps: float, known: Sequence[float]) -> None:
    """Raise UnknownModelError for an epsilon of LayerNorm that no builder of timm's has."""
    if eps in known:
        return
    raise UnknownModelError(
        f"{model.where} cannot be written for timm: no builder has the epsilon of its LayerNorm",
        where="eps",
        expected=" or ".join(f"{each:g}" for each in known),
        found=f"{eps:g}",
        cause="a builder's norm is Python, which timm's config.json cannot change",
        next_step="`to='transformers'`, whose config says it; or `layer_norm_eps`, where the value is wrong",
    )


def refuse(model: Model, what: str, found: str) -> UnknownModelError:
    """The error for a `what` of this model that timm does not have."""
    return UnknownModelError(
        f"{model.where} cannot be written for timm: no class of it has {what}",
        expected="a model that timm computes",
        found=found,
        next_step="`to='transformers'` or `to='original'`",
    )

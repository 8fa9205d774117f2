"""All published names, and what to say of one that is not among them."""

import re

from dinoport.codebases.dino.published import PUBLISHED as DINO
from dinoport.codebases.dinov2.published import PUBLISHED as DINOV2
from dinoport.codebases.dinov3.published import PUBLISHED as DINOV3
from dinoport.codebases.published import PublishedModel
from dinoport.codebases.relatives.published import PUBLISHED as RELATIVES
from dinoport.errors import UnknownModelError

PUBLISHED: tuple[PublishedModel, ...] = (*DINO, *DINOV2, *DINOV3, *RELATIVES)

LIKE_A_NAME = re.compile(
    r"(?:dino|mae_vit_|deit_|msn_vit|moco_v3_|ijepa_vit|franca_vit|webssl_|tips_v[12]_)[A-Za-z0-9_-]*", re.IGNORECASE
)
"""A source that can only have been meant as a published name, where no file is called so."""

SLIPPED = re.compile(r"[A-Za-z0-9_-]{8,60}")
"""A source that may be a published name with a slip at its beginning."""

ADAPTERS = (
    (
        "_lc",
        "torch.hub gives it the classifier over four blocks, which no class of Transformers or timm computes; "
        "`head='imagenet'` adds the one-layer classifier where there is one",
    ),
    ("_ld", "a linear depth estimator, which Transformers has no class for"),
    ("_dd", "a DPT depth estimator, whose head this program does not convert"),
    ("_de", "a detector, whose head this program does not convert"),
    ("_ms", "a segmentor, whose head this program does not convert"),
    ("_chmv2", "a canopy height model, whose head this program does not convert"),
    ("_dinotxt_tet1280d20h24l", "a pair of vision and text towers, which this program does not convert"),
    ("_reg4_dinotxt_tet1280d20h24l", "a pair of vision and text towers, which this program does not convert"),
)
"""Entries of torch.hub that are a backbone with something on top, by how their names go on."""


def model_named(name: str) -> PublishedModel | None:
    return next((model for model in PUBLISHED if model.name == name), None)


def published(name: str) -> PublishedModel | None:
    """The model of that name; None for a name that is nothing like one.

    Raises UnknownModelError for one that is known and cannot be converted, and for one that is nearly right.
    """
    found = model_named(name)
    if found is not None:
        if found.refusal is not None:
            raise UnknownModelError(
                f"{name} cannot be converted, and was not downloaded",
                cause=found.refusal,
                next_step="look into the list of what can be converted: dinoport models",
            )
        return found
    for suffix, reason in ADAPTERS:
        backbone = next((model for model in PUBLISHED if name == f"{model.name}{suffix}"), None)
        if backbone is not None:
            raise UnknownModelError(
                f"{name} cannot be converted, and was not downloaded",
                cause=backbone.no_head if suffix == "_lc" and backbone.head_url is None else reason,
                next_step=f"convert its backbone, {backbone.name}",
            )
    if LIKE_A_NAME.fullmatch(name) or (SLIPPED.fullmatch(name) and _close(name, 0.85)):
        raise _unknown(name)
    return None


def published_file(file_name: str) -> PublishedModel | None:
    return next((model for model in PUBLISHED if model.file_name == file_name), None)


AT_HUB = {
    f"dinov2_{size}": f"dinov2_{name}14"
    for size, name in (("small", "vits"), ("base", "vitb"), ("large", "vitl"), ("giant", "vitg"))
}
"""What the Hub calls DINOv2's models."""


def _close(name: str, cutoff: float = 0.75) -> list[str]:
    from difflib import get_close_matches

    names = [model.name for model in PUBLISHED if model.refusal is None]
    # As the Hub writes them, too: dinov2-vits14, dino-vits16, DINOv3_ViTS16, dinov2-base.
    word = name.lower().replace("-", "_")
    return get_close_matches(AT_HUB.get(word, word), names, n=3, cutoff=cutoff)


def _unknown(name: str) -> UnknownModelError:
    close = _close(name)
    return UnknownModelError(
        f"{name} is neither a file nor a published name",
        did_you_mean=" or ".join(close) or None,
        next_step="look into the list of published names: dinoport models",
    )

"""Every codebase whose files are told by their names. Adding one is a line here."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from dinoport.codebases.codebase import Naming
from dinoport.codebases.dino import signs as dino
from dinoport.codebases.dinov2 import signs as dinov2
from dinoport.codebases.dinov3 import signs as dinov3
from dinoport.codebases.mmpretrain import signs as mmpretrain
from dinoport.codebases.timm import signs as timm
from dinoport.codebases.torchvision import signs as torchvision
from dinoport.codebases.transformers import signs as transformers
from dinoport.model import Family
from dinoport.tensor import Shape


def _of_transformers(names: str, recognises: Callable[[Mapping[str, Shape]], bool]) -> Naming:
    module = f"dinoport.codebases.transformers.{names}"
    return Naming("Transformers", module, recognises, classifier_beside=transformers.classifier_beside)


NAMINGS: tuple[Naming, ...] = (
    # Names that are nearly an original's come first: theirs is the closer look.
    Naming("NVIDIA TAO", "dinoport.codebases.timm.dinov2:TAO", timm.is_of_tao),
    Naming("timm", "dinoport.codebases.timm.dinov2:NAMES", timm.is_dinov2),
    Naming("timm", "dinoport.codebases.timm.dinov3_vit:NAMES", timm.is_dinov3_vit),
    Naming("timm", "dinoport.codebases.timm.dinov3_convnext:NAMES", timm.is_convnext),
    Naming("torchvision", "dinoport.codebases.torchvision.names:VIT", torchvision.is_vit),
    Naming("torchvision", "dinoport.codebases.torchvision.names:SEQUENTIAL", torchvision.is_sequential_resnet),
    Naming("MMPretrain", "dinoport.codebases.mmpretrain.vit:VIT", mmpretrain.is_vit),
    Naming("MMPretrain", "dinoport.codebases.mmpretrain.vit:DINOV2", mmpretrain.is_dinov2),
    Naming("MMSegmentation", "dinoport.codebases.mmpretrain.vit:SEGMENTER", mmpretrain.is_segmenter),
    _of_transformers("names:VIT", transformers.is_vit),
    _of_transformers("names:IJEPA", transformers.is_ijepa),
    _of_transformers("names:DINOV2", transformers.is_dinov2),
    _of_transformers("other_names:DINOV3", transformers.is_dinov3_vit),
    _of_transformers("other_names:CONVNEXT", transformers.is_convnext),
    _of_transformers("other_names:RESNET", transformers.is_resnet),
    Naming("facebookresearch/dino", "dinoport.codebases.dino.vit", dino.is_vit, "dino"),
    Naming("facebookresearch/ijepa", "dinoport.codebases.relatives.dino:IJEPA", dino.has_patches_alone, "ijepa"),
    Naming("facebookresearch/dino", "dinoport.codebases.dino.resnet", dino.is_resnet, "dino_resnet"),
    Naming("facebookresearch/dinov2", "dinoport.codebases.dinov2.vit", dinov2.is_vit, "dinov2"),
    Naming("facebookresearch/dinov3", "dinoport.codebases.dinov3.vit", dinov3.is_vit, "dinov3"),
    Naming("facebookresearch/dinov3", "dinoport.codebases.dinov3.convnext", dinov3.is_convnext, "dinov3_convnext"),
)


# fmt: off
RELATIVES: dict[str, dict[str, str]] = {
    "dino": {
        "ibot": "dino", "simdino": "dino", "moco_v3": "dino", "mae": "dino", "msn": "dino",
        "deit3": "supervised", "deit": "supervised", "timm_vit": "supervised",
    },
    "dinov2": {
        "tips": "dinov2", "deit3": "supervised", "franca": "dinov2", "webssl_dino": "dinov2",
        "simdinov2": "dinov2", "xray_dino": "dinov2", "cell_dino": "dinov2", "timm_vit": "supervised",
    },
    "dinov3": {"eupe": "dinov3", "lingbot": "dinov3"},
    "dinov3_convnext": {"eupe_convnext": "dinov3", "timm_convnext": "supervised"},
}
# fmt: on
"""Others' models under the names of a family, the closer look first, and the module in `relatives/` that has each by
its name in capitals. It is imported once a file has those names."""

UNTOLD = {"dino": "vit", "dino_resnet": "resnet"}
"""The family of a model whose codebase is unknown, by that whose names it has."""


def relatives(family: str) -> Iterator[Naming]:
    """Whose a model with this family's names may be beside the family's own."""
    for name in RELATIVES.get(family, ()):
        naming = _relative(name)
        yield replace(naming, given=naming.code.under(family))


def naming_in(codebase: str, family: str) -> Naming | None:
    """How a codebase names the models of another one's family: as that does, where it has no table of its own.

    A relative has the names that the family has whose names it has everywhere.
    """
    theirs = {naming.code.FAMILY.name: naming for naming in NAMINGS if naming.codebase == codebase}
    original = naming_of(family)
    like = next((each for each, names in RELATIVES.items() if family in names and each in theirs), None)
    if family in theirs or like is None or original is None:
        return theirs.get(family) or original
    return replace(theirs[like], given=theirs[like].code.of(original.code))


def naming_of(family: str) -> Naming | None:
    """The codebase whose own models a family is; None for a name that is not known."""
    if family in UNTOLD.values() or any(family in names for names in RELATIVES.values()):
        return _relative(family)
    return next((naming for naming in NAMINGS if naming.family == family), None)


def naming_named(family: str) -> Naming:
    """The same for a name that is known."""
    naming = naming_of(family)
    if naming is None:
        raise ValueError(f"no codebase has the family {family}")
    return naming


def family_by_names(naming: Naming) -> Family:
    """The family of a model of which the names alone were looked at: of no known codebase, where several have them."""
    unknown = UNTOLD.get(naming.family)
    family: Family = (naming_named(unknown) if unknown else naming).code.FAMILY
    return family


def _relative(name: str) -> Naming:
    module = next((names[name] for names in RELATIVES.values() if name in names), "dino")
    place = f"dinoport.codebases.relatives.{module}:{name.upper()}"
    return Naming(name, place, lambda shapes: False, name)

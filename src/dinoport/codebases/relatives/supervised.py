"""Models that were trained on labels, under the names of DINO's ViT or of DINOv3's ConvNeXt."""

from collections.abc import Mapping
from dataclasses import replace

from dinoport.codebases.clues import Clues, Signs, called
from dinoport.codebases.codebase import Facts, canonical_rules
from dinoport.codebases.drops import AVERAGED
from dinoport.codebases.relative import Relative
from dinoport.codebases.relatives.layer_scale import own_scales, scaled
from dinoport.codebases.shapes import square_side
from dinoport.mapping.operations import DropClsRow
from dinoport.mapping.rule import Rule, change, copy
from dinoport.model import Family
from dinoport.networks.interpolation import TO_SIZE, TO_SIZE_ANTIALIASED
from dinoport.networks.preprocessing import EVALUATION
from dinoport.tensor import Shape

DISTILLED = {f"{layer}.{leaf}" for layer in ("head_dist", "classifier_dist") for leaf in ("weight", "bias")}


def _distilled(names: Mapping[str, Shape], classifier: str | None) -> tuple[Rule, ...]:
    """A distilled one has a second classifier, for the token that learns from a teacher."""
    others = [name for name in names if name not in DISTILLED and not name.startswith("classifier.")]
    second = (copy("classifier_dist.{p}", "head_dist.{p}"),) if DISTILLED & names.keys() else ()
    return (*canonical_rules(others, classifier), *second)


BY_DEIT = replace(EVALUATION, reason="as in DeiT's eval transform")

DEIT = Relative(
    Family("deit", "DeiT ViT", "facebookresearch/deit", (AVERAGED,), BY_DEIT, ("head",)),
    about="DeiT (facebookresearch/deit): timm's ViT under DINO's names, with a classifier.",
    like="dino",
    facts=Facts("DeiT", interpolation=TO_SIZE, rule="as in DeiT's fine-tuning for another size"),
    signs=Signs(
        names=("dist_token", "head_dist."), builders=("deit_",), files=("deit_tiny_", "deit_small_", "deit_base_")
    ),
    copies=("model",),
    why="what its own main.py evaluates and publishes",
    written=_distilled,
    sizes={
        "deit_tiny_patch16": (192, 12, 3, 16),
        "deit_small_patch16": (384, 12, 6, 16),
        "deit_base_patch16": (768, 12, 12, 16),
    },
)


def _without_cls_row(names: Mapping[str, Shape], classifier: str | None) -> tuple[Rule, ...]:
    """The CLS token joins behind the positions (`models_v2.py`): a row of zeros in front of them computes the same."""
    others = {name: shape for name, shape in names.items() if name != "pos_embed"}
    return (*scaled(others, classifier), change("pos_embed", "pos_embed", DropClsRow()))


SCALED = "layer scales, and no position of the CLS token"


def _is_scaled(clues: Clues) -> str | None:
    """Layer scales, and a position table without a row for the CLS token."""
    rows = clues.shapes.get("pos_embed", (0, 0))[1]
    scales = {"blocks.0.gamma_1", "blocks.0.ls1.gamma"} & clues.shapes.keys() and "cls_token" in clues.shapes
    bare = not {"mask_token", "register_tokens"} & clues.shapes.keys()
    return SCALED if scales and bare and square_side(rows) else None


def _like_a_rope_vit(clues: Clues) -> str | None:
    """A RoPE-ViT with a table (naver-ai/rope-vit) is trained by this code, and turns queries and keys besides."""
    named = clues.architecture or clues.arguments or clues.file_name.startswith("deit_3_")
    renamed = "blocks.0.gamma_1" not in clues.shapes  # as timm names these, and no RoPE-ViT
    return None if named or renamed else "a RoPE-ViT with a table, whose attention rotates too"


BY_DEIT3 = replace(EVALUATION, resize=224, reason="as in DeiT III's evaluation, which crops no margin")

DEIT3 = Relative(
    Family("deit3", "DeiT III ViT", "facebookresearch/deit", (AVERAGED,), BY_DEIT3, ("head",)),
    about="DeiT III (facebookresearch/deit): a ViT with layer scale, whose CLS token has no position.",
    like="dino",
    facts=Facts(
        "DeiT III",
        heads={(1280, 32): 16},
        interpolation=TO_SIZE,
        rule="DeiT III takes no other size; as Transformers resamples",
        takes_one_size=True,
    ),
    signs=Signs(builders=("deit3_",), tells=_is_scaled, files=("deit_3_",)),
    copies=("model",),
    why="what its own main.py evaluates and publishes",
    written=_without_cls_row,
    arranged=lambda tensors: own_scales(tensors, "DeiT III"),  # `deit3_*` in timm
    always_told=SCALED,
    alike=_like_a_rope_vit,
)

OWN = ("vit_", "test_vit", "eva_large_")
OF_OTHERS = ("dino", "_tips", "_lingbot")
"""How builders of supervised ViTs are called, and parts of what timm calls those of others."""


def _strange_part(clues: Clues) -> str | None:
    """A part that no supervised ViT of timm has; where it has layer scale, its patches are not DINOv2's."""
    parts = ("mask_token", "register_tokens", "blocks.0.mlp.w12.weight")
    if found := next((name for name in parts if name in clues.shapes), None):
        return found
    scales = "blocks.0.ls1.gamma" in clues.shapes
    return "patches of 14 and layer scale" if scales and clues.patch_size == 14 else None


def _named_by_timm(clues: Clues) -> str | None:
    """A folder's own config.json, or what timm's train.py keeps; timm's DINOs are named as such."""
    trained = clues.arguments.get("model") if {"arch", "args", "state_dict"} <= clues.keys else None
    for where, name in (("config.json", clues.architecture), ("args of timm's train.py", trained)):
        if isinstance(name, str) and name.startswith(OWN) and not any(part in name for part in OF_OTHERS):
            return f"{where}, {name}"
    return None


def _filed_as_augreg(clues: Clues) -> str | None:
    """A file that is called as timm calls the weights of AugReg, which is not a proof."""
    return "the file's name" if clues.file_name.startswith("vit_") and ".augreg" in clues.file_name else None


HALF = (0.5, 0.5, 0.5)

AUGREG = replace(EVALUATION, resize=248, mean=HALF, std=HALF, reason="as timm evaluates its AugReg models")

TIMM_VIT = Relative(
    Family("timm_vit", "timm ViT", "huggingface/pytorch-image-models", (AVERAGED,), AUGREG, ("head",)),
    about="Supervised ViTs of timm (AugReg among them): DINO's names, mean and deviation 0.5.",
    like="dino",
    facts=Facts(
        "timm",
        heads={(1280, 32): 16, (1408, 40): 16, (1664, 48): 16},
        interpolation=TO_SIZE_ANTIALIASED,
        rule="as timm resamples when it loads",
    ),
    signs=Signs(tells=_named_by_timm, guesses=_filed_as_augreg),
    contradicts=_strange_part,
)


def _convnext_of_timm(clues: Clues) -> str | None:
    """What timm's config.json calls a ConvNeXt, where it does not say DINOv3."""
    return None if ".dinov3" in clues.architecture else called(clues, "convnext_")


BY_TIMM = replace(EVALUATION, reason="as timm evaluates its ConvNeXts")

TIMM_CONVNEXT = Relative(
    Family("timm_convnext", "timm ConvNeXt", "huggingface/pytorch-image-models", (AVERAGED,), BY_TIMM),
    about="Supervised ConvNeXts of timm without their classifier: the names and shapes of timm's DINOv3 ConvNeXts.",
    like="dinov3_convnext",
    facts=Facts("timm"),
    signs=Signs(tells=_convnext_of_timm),
)

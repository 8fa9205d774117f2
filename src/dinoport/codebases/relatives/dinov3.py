"""Others' models under the names of DINOv3."""

from dataclasses import replace

from dinoport.codebases.clues import Clues, Signs, called
from dinoport.codebases.codebase import Facts
from dinoport.codebases.drops import OF_DINOV3, with_or_without_mask
from dinoport.codebases.relative import Relative
from dinoport.mapping.rule import drop
from dinoport.model import Family
from dinoport.networks.preprocessing import DINOV3_PROCESSOR

PROJECTORS = "a projector to one of its teachers; no class has a place for it"

BY_EUPE = replace(DINOV3_PROCESSOR, resize=256, official=False, reason="as in EUPE's README")

OF_EUPE = (*OF_DINOV3, drop("projectors.{r}", because=PROJECTORS))


EUPE_CONVNEXT = Relative(
    Family("eupe_convnext", "EUPE ConvNeXt", "facebookresearch/EUPE", OF_EUPE, BY_EUPE),
    about="EUPE's ConvNeXts (facebookresearch/EUPE): DINOv3's, learnt from several teachers.",
    like="dinov3_convnext",
    facts=Facts("EUPE"),
    signs=Signs(names=("projectors.",), files=("EUPE-",), tells=lambda clues: called(clues, ".eupe")),
)

EUPE = Relative(
    Family("eupe", "EUPE ViT", "facebookresearch/EUPE", OF_EUPE, BY_EUPE),
    about="EUPE (facebookresearch/EUPE): DINOv3's ViT, learnt from several teachers.",
    like="dinov3",
    written=with_or_without_mask,
    facts=EUPE_CONVNEXT.facts,
    signs=EUPE_CONVNEXT.signs._replace(  # no published DINOv3 has this width, which is not a proof
        guesses=lambda clues: "the width of EUPE's ViT-T" if clues.size[0] == 192 else None
    ),
    sizes={
        "EUPE-ViT-T": (192, 12, 3, 16),
        "EUPE-ViT-S": (384, 12, 6, 16),
        "EUPE-ViT-B": (768, 12, 12, 16),
    },
)

BY_LINGBOT = replace(DINOV3_PROCESSOR, resize=512, official=False, reason="as in LingBot-Vision's README")

GIANT = (1536, 40)


def _is_plain_giant(clues: Clues) -> str | None:
    """The giant's size without biases, of which DINOv3 published no model; it is not a proof."""
    plain = "blocks.0.attn.qkv.bias" not in clues.shapes
    return "the size of LingBot-Vision's giant, without biases" if plain and clues.size == GIANT else None


LINGBOT = Relative(
    Family("lingbot", "LingBot-Vision ViT", "Robbyant/lingbot-vision", OF_DINOV3, BY_LINGBOT),
    about="LingBot-Vision (Robbyant/lingbot-vision): DINOv3's ViT, evaluated on squares of 512 pixels.",
    like="dinov3",
    written=with_or_without_mask,
    facts=Facts("LingBot-Vision"),
    signs=Signs(files=("lingbot",), guesses=_is_plain_giant, tells=lambda clues: called(clues, "_lingbot")),
    sizes={
        "lingbot-vision-vit-small": (384, 12, 6, 16),
        "lingbot-vision-vit-base": (768, 12, 12, 16),
        "lingbot-vision-vit-large": (1024, 24, 16, 16),
        "lingbot-vision-vit-giant": (1536, 40, 24, 16),
    },
)

"""MAE (facebookresearch/mae) and WebSSL-MAE (facebookresearch/webssl): an encoder under DINO's names, a fixed table."""

from __future__ import annotations

from dataclasses import replace

from dinoport.codebases.clues import Clues, Signs
from dinoport.codebases.codebase import Facts
from dinoport.codebases.drops import AVERAGED
from dinoport.codebases.relative import Relative, Whole
from dinoport.mapping.rule import drop
from dinoport.model import Family
from dinoport.networks.interpolation import TO_SIZE
from dinoport.networks.preprocessing import EVALUATION

DECODER = "the decoder of masked training, which features do not pass"

PROBE = "a linear probe with a BatchNorm before it, which no class of Transformers computes"

WEB_SIZES = {(2688, 24): 21, (3072, 26): 24}
"""Of WebSSL-MAE 2B and 3B, by width and depth: no other plain ViT has been published in these sizes."""


def tells(clues: Clues) -> str | None:
    """A position table of sines and cosines, columns first. Fine-tuned tables have moved."""
    if clues.architecture.endswith(".mae"):
        return f"config.json, {clues.architecture}"
    return "a position table of sines and cosines, columns first" if clues.fixed_table == "column" else None


def guesses(clues: Clues) -> str | None:
    """A size that WebSSL-MAE alone has, or a norm of the patches' mean in place of the last one: timm has that too."""
    if clues.size in WEB_SIZES:
        return "the size of a WebSSL-MAE"
    pooled = "fc_norm.weight" in clues.shapes and "norm.weight" not in clues.shapes
    return "fc_norm in the place of norm, as MAE is fine-tuned" if pooled else None


RELATIVE = Relative(
    family=Family(
        name="mae",
        title="MAE ViT",
        upstream="facebookresearch/mae",
        drops=(
            *(drop(f"decoder_{part}.{{r}}", because=DECODER) for part in ("embed", "norm", "pred", "blocks")),
            drop("decoder_pos_embed", because=DECODER),
            drop("mask_token", because=DECODER),
            *(drop(f"head.{layer}.{{p}}", because=PROBE) for layer in (0, 1)),
            AVERAGED,
        ),
        preprocessing=replace(EVALUATION, crops_to=224, reason="as in MAE's eval transform"),
        classifiers=("head",),
    ),
    like="dino",
    facts=Facts(
        "MAE",
        heads={(1280, 32): 16, **WEB_SIZES},
        decoder_heads={(512, 8): 16},  # of all three in `models_mae.py`, dec512d8b
        interpolation=TO_SIZE,
    ),
    signs=Signs(
        names=("decoder_blocks.", "decoder_embed.", "decoder_pred."),
        arguments=("mask_ratio", "norm_pix_loss", "global_pool"),
        builders=("mae_vit_",),
        tells=tells,
        files=("mae_pretrain_", "mae_finetuned_", "mae_visualize_", "webssl_mae"),
        guesses=guesses,
    ),
    wholes={
        "ViTMAEForPreTraining": Whole(("decoder_", "mask_token"), "the decoder too, and hides patches at random"),
    },
)

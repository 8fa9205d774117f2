"""Others' models that were trained without labels, under the names of DINO's ViT; and plain models of nobody known."""

from dataclasses import replace

from dinoport.codebases.clues import Clues, Signs
from dinoport.codebases.codebase import Facts
from dinoport.codebases.drops import AVERAGED, OF_DINO, OF_DINO_VIT, with_frozen_norms
from dinoport.codebases.relative import Relative, Whole
from dinoport.codebases.relatives.layer_scale import own_scales, scaled
from dinoport.codebases.shapes import square_side
from dinoport.mapping.rule import drop
from dinoport.model import Family
from dinoport.networks.interpolation import SCALE_WITH_OFFSET, TO_SIZE
from dinoport.networks.preprocessing import EVALUATION

PATCHES = "the projection head for masked patches; no class has a place for it"

OF_IBOT = (
    drop("head.last_layer2.{p}", because=PATCHES),
    drop("head.mlp2.{k}.{p}", because=PATCHES),
    drop("masked_embed", because="the token of masked patches; it is used for training alone"),
)


def _scaled_beside_a_row(clues: Clues) -> str | None:
    """Of those whose layer scales are called so, DeiT III has no position of the CLS token, BEiT no bias in `qkv`."""
    rows = clues.shapes.get("pos_embed", (0, 0))[1]
    own = {"blocks.0.gamma_1", "blocks.0.attn.qkv.bias", "cls_token"} <= clues.shapes.keys()
    return "layer scales called gamma_1, and a position of the CLS token" if own and square_side(rows - 1) else None


BY_IBOT = replace(EVALUATION, reason="as in iBOT's eval transform")

IBOT = Relative(
    Family("ibot", "iBOT ViT", "bytedance/ibot", (*OF_DINO_VIT, *OF_IBOT), BY_IBOT),
    about="iBOT (bytedance/ibot): DINO's ViT and head, a second head for masked patches, layer scale where asked.",
    like="dino",
    facts=Facts("iBOT", interpolation=SCALE_WITH_OFFSET, says_builder=True),
    signs=Signs(
        names=("head.last_layer2.", "head.mlp2.", "masked_embed"),
        keys=(frozenset({"ibot_loss"}),),
        arguments=("patch_out_dim", "pred_ratio"),
        guesses=_scaled_beside_a_row,
    ),
    arranged=lambda tensors: own_scales(tensors, "iBOT"),
    written=scaled,  # `init_values` gives it layer scales (`models/vision_transformer.py`)
)


def _headless(clues: Clues) -> str | None:
    """A projection head that ends in its bottleneck: its loss compares features, and no prototypes."""
    own = "head.mlp.0.weight" in clues.shapes and not any(name.startswith("head.last_layer") for name in clues.shapes)
    return "a projection head without a last layer" if own else None


SIMDINO = Relative(
    Family("simdino", "SimDINO ViT", "RobinWu218/SimDINO", OF_DINO_VIT, EVALUATION, ("linear", "head")),
    about="SimDINO (RobinWu218/SimDINO): DINO's ViT and head, without that head's last layer.",
    like="dino",
    facts=Facts("SimDINO", interpolation=SCALE_WITH_OFFSET, says_builder=True),
    signs=Signs(arguments=("use_simdino", "expa_type"), tells=_headless, files=("simdino_", "SimDINO")),
)

OF_MSN = tuple(
    drop(f"fc.{layer}{{k}}.{{p}}", because="the projector of training; no class has a place for it")
    for layer in ("fc", "bn")
)
BY_MSN = replace(EVALUATION, resample="bilinear", reason="as in MSN's eval transform")

MSN = Relative(
    Family("msn", "MSN ViT", "facebookresearch/msn", (*OF_MSN, AVERAGED), BY_MSN, ("head",)),
    about="MSN (facebookresearch/msn): DeiT's ViT under DINO's names, and prototypes beside it.",
    like="dino",
    facts=Facts("MSN", interpolation=TO_SIZE),
    signs=Signs(
        names=("fc.fc1.", "fc.bn1.", "fc.fc3."),
        keys=(frozenset({"prototypes", "target_encoder"}),),
        files=("vits16_800ep", "vitb16_600ep", "vitl16_600ep", "vitb4_300ep", "vitl7_200ep"),
    ),
    copies=("target_encoder", "encoder"),
    why="what its own scripts evaluate",
)


def _rows_first(clues: Clues) -> str | None:
    """A table of sines and cosines, rows first; or `arch` beside `state_dict`, as `main_lincls.py` writes it.

    timm's train.py writes `arch` too, beside `args`.
    """
    arch = clues.arguments.get("arch")
    if isinstance(arch, str) and arch.startswith("vit_") and "state_dict" in clues.keys and "args" not in clues.keys:
        return f"arch = {arch} beside state_dict"
    return "a position table of sines and cosines, rows first" if clues.fixed_table == "row" else None


OF_MOCO_V3 = drop("head.{k}.{p}", because="the projector of contrastive training; no class has a place for it")
BY_MOCO_V3 = replace(EVALUATION, resample="bilinear", reason="as in MoCo v3's eval transform")

MOCO_V3 = Relative(
    Family("moco_v3", "MoCo v3 ViT", "facebookresearch/moco-v3", (OF_MOCO_V3, AVERAGED), BY_MOCO_V3, ("head",)),
    about="MoCo v3 (facebookresearch/moco-v3): DINO's names, a fixed position table, and 12 heads of 32 in its ViT-S.",
    like="dino",
    facts=Facts(
        "MoCo v3",
        heads={(384, 12): 12},
        interpolation=TO_SIZE,
        rule="MoCo v3 takes no other size; as Transformers resamples",
        takes_one_size=True,
    ),
    signs=Signs(places=("base_encoder", "momentum_encoder"), tells=_rows_first, files=("vit-s-300ep", "vit-b-300ep")),
    copies=("base_encoder",),
    why="what both of its own scripts evaluate",
)


def _like_a_siglip(clues: Clues) -> str | None:
    """Told by what its training writes, by its fixed table, or by a name."""
    trained = "target_encoder" in clues.place or {"encoder", "predictor"} <= clues.keys
    named = clues.architecture or clues.file_name.startswith(("IN1K-vit", "IN22K-vit"))
    if trained or named or clues.fixed_table == "column":
        return None
    return "a SigLIP without its pooling, which has other pixel statistics and, mostly, another GELU"


BY_IJEPA = replace(
    EVALUATION, reason="I-JEPA has no transform for evaluation; ImageNet's statistics, as in its training"
)

IJEPA = Relative(
    Family("ijepa", "I-JEPA ViT", "facebookresearch/ijepa", (AVERAGED,), BY_IJEPA),
    about="I-JEPA (facebookresearch/ijepa): a ViT without a CLS token, with a fixed position table.",
    like="dino",
    facts=Facts(
        "I-JEPA",
        heads={(1280, 32): 16, (1408, 40): 16},
        interpolation=TO_SIZE,
        rule="I-JEPA takes no other size; as Transformers resamples",
        takes_one_size=True,
    ),
    signs=Signs(),
    copies=("target_encoder", "encoder"),
    why="what its paper evaluates",
    alike=_like_a_siglip,
    remark="Transformers' own converter and timm take the copy called encoder, and so do the folders on the Hub",
)

DECODER = "the decoder of masked training, which features do not pass"

PROBE = "a linear probe with a BatchNorm before it, which no class of Transformers computes"

OF_MAE = (
    *(drop(f"decoder_{part}.{{r}}", because=DECODER) for part in ("embed", "norm", "pred", "blocks")),
    drop("decoder_pos_embed", because=DECODER),
    drop("mask_token", because=DECODER),
    *(drop(f"head.{layer}.{{p}}", because=PROBE) for layer in (0, 1)),
)

WEB_SIZES = {(2688, 24): 21, (3072, 26): 24}
"""Heads of WebSSL-MAE 2B and 3B, by width and depth: no other plain ViT has been published in these sizes."""


def _columns_first(clues: Clues) -> str | None:
    """A position table of sines and cosines, columns first. Fine-tuned tables have moved."""
    if clues.architecture.endswith(".mae"):
        return f"config.json, {clues.architecture}"
    return "a position table of sines and cosines, columns first" if clues.fixed_table == "column" else None


def _like_an_mae(clues: Clues) -> str | None:
    """A size that WebSSL-MAE alone has, or a norm of the patches' mean in place of the last one: timm has that too."""
    if clues.size in WEB_SIZES:
        return "the size of a WebSSL-MAE"
    pooled = "fc_norm.weight" in clues.shapes and "norm.weight" not in clues.shapes
    return "fc_norm in the place of norm, as MAE is fine-tuned" if pooled else None


BY_MAE = replace(EVALUATION, crops_to=224, reason="as in MAE's eval transform")

MAE = Relative(
    Family("mae", "MAE ViT", "facebookresearch/mae", (*OF_MAE, AVERAGED), BY_MAE, ("head",)),
    about="MAE (facebookresearch/mae) and WebSSL-MAE (facebookresearch/webssl): an encoder with a fixed table.",
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
        tells=_columns_first,
        files=("mae_pretrain_", "mae_finetuned_", "mae_visualize_", "webssl_mae"),
        guesses=_like_an_mae,
    ),
    wholes={
        "ViTMAEForPreTraining": Whole(("decoder_", "mask_token"), "the decoder too, and hides patches at random"),
    },
)

AS_DINO = replace(EVALUATION, reason="as in DINO")

# Models of an unknown codebase: converted with DINO's values, claimed for nobody.
VIT = Relative(
    Family("vit", "ViT (codebase not known)", "", OF_DINO_VIT, AS_DINO, ("linear", "head"), values="DINO"),
    about="A plain ViT of an unknown codebase: converted with DINO's values, claimed for nobody.",
    like="dino",
    facts=Facts(
        "DINO",
        heads={(1280, 32): 16, (1408, 40): 16, (1664, 48): 16},
        interpolation=SCALE_WITH_OFFSET,
        says_builder=True,
    ),
    signs=Signs(),
)

RESNET = Relative(
    Family("resnet", "ResNet-50 (codebase not known)", "", OF_DINO, AS_DINO, ("linear", "fc"), values="DINO"),
    about="A plain ResNet-50 of an unknown codebase: converted with DINO's values, claimed for nobody.",
    like="dino_resnet",
    facts=Facts("DINO"),
    signs=Signs(),
    written=with_frozen_norms,
)

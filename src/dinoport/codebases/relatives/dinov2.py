"""Others' models under the names of DINOv2."""

from dataclasses import replace

from dinoport.codebases.clues import Clues, Signs, called
from dinoport.codebases.codebase import Facts
from dinoport.codebases.drops import AVERAGED, OF_DINOV2, projection_heads
from dinoport.codebases.relative import Relative
from dinoport.model import Family
from dinoport.networks.interpolation import BILINEAR_ANTIALIASED
from dinoport.networks.preprocessing import DINOV2_EVALUATION, EVALUATION, Preprocessing

XRAY_DINO = Relative(
    Family("xray_dino", "XRay-DINO ViT", "facebookresearch/dinov2", OF_DINOV2, DINOV2_EVALUATION),
    about="XRay-DINO (facebookresearch/dinov2): DINOv2's ViT-L for X-ray pictures, with a table for 512 pixels.",
    like="dinov2",
    facts=Facts("XRay-DINO"),
    signs=Signs(files=("xray_dino",)),
    sizes={"xray_dino_vitl16": (1024, 24, 16, 16)},
)

CELL_DINO = Relative(
    Family("cell_dino", "Cell-DINO ViT", "facebookresearch/dinov2", OF_DINOV2, DINOV2_EVALUATION),
    about="Cell-DINO (facebookresearch/dinov2): for microscopy, of four or five channels, or one at a time.",
    like="dinov2",
    facts=Facts("Cell-DINO"),
    signs=Signs(files=("cell_dino", "channel_adaptive_dino")),
    sizes={
        "cell_dino_hpa_vitl16": (1024, 24, 16, 16),
        "cell_dino_hpa_vitl14": (1024, 24, 16, 14),
        "cell_dino_cp_vits8": (384, 12, 6, 8),
        "channel_adaptive_dino_vitl16": (1024, 24, 16, 16),
    },
)


def _headless(clues: Clues) -> str | None:
    """A projection head that ends in its bottleneck, or was cut there, so it is not a proof."""
    own = "dino_head.mlp.0.weight" in clues.shapes
    last = any(name.startswith("dino_head.last_layer") for name in clues.shapes)
    return "a projection head without a last layer" if own and not last else None


SIMDINOV2 = Relative(
    Family("simdinov2", "SimDINOv2 ViT", "RobinWu218/SimDINO", OF_DINOV2, DINOV2_EVALUATION),
    about="SimDINOv2 (RobinWu218/SimDINO): DINOv2's ViT and head, without that head's last layer.",
    like="dinov2",
    facts=Facts("SimDINOv2"),
    signs=Signs(files=("simdinov2", "SimDINOv2"), guesses=_headless),
)


def _ungated(clues: Clues) -> str | None:
    """What Franca and WebSSL-DINO never have: both have SwiGLU in every size, and no registers."""
    if "register_tokens" in clues.shapes:
        return "register_tokens"
    return None if _is_gated(clues) else "feed-forward layers without a gate"


def _is_gated(clues: Clues) -> bool:
    return "blocks.0.mlp.w12.weight" in clues.shapes


BASE = (768, 12)
"""Franca's larger sizes are WebSSL-DINO's too, and all compute alike."""


def _is_base_and_gated(clues: Clues) -> str | None:
    """SwiGLU in a size that DINOv2 publishes with a plain MLP, which is not a proof."""
    return "SwiGLU in the size of a Franca" if _is_gated(clues) and clues.size == BASE else None


OF_FRANCA = projection_heads(
    "dino_head", "ibot_head", parts=("matryoshka_projections.{r}", "mlps.{r}", "last_layers.{r}")
)
BY_FRANCA = replace(EVALUATION, reason="as in Franca's eval transform")

FRANCA = Relative(
    Family("franca", "Franca ViT", "valeoai/Franca", (*OF_DINOV2, *OF_FRANCA), BY_FRANCA),
    about="Franca (valeoai/Franca): DINOv2's ViT with SwiGLU in all sizes, and heads of several widths.",
    like="dinov2",
    facts=Facts("Franca"),
    signs=Signs(names=("matryoshka_projections.",), files=("franca_",), guesses=_is_base_and_gated),
    contradicts=_ungated,
)

WEB_HEADS = {(2688, 24): 21, (3072, 26): 24, (3584, 32): 28, (4096, 32): 32}
"""Of 2B, 3B, 5B and 7B, by width and depth: DINOv2 was published in none of these sizes."""

WEB_SMALLER = ((1024, 24), (1536, 40))
"""300M and 1B: DINOv2's sizes, but with SwiGLU in both and a table for 224 pixels."""


def _has_web_size(clues: Clues) -> str | None:
    """SwiGLU in a size that DINOv2 does not have, or with a table for 224 pixels, which is not a proof."""
    rows = clues.shapes.get("pos_embed", (0, 0))[1]
    known = clues.size in WEB_HEADS or (clues.size in WEB_SMALLER and rows == 257)
    return "the size of a WebSSL-DINO" if _is_gated(clues) and known else None


BY_WEBSSL = replace(EVALUATION, reason="as in WebSSL's README")

WEBSSL_DINO = Relative(
    Family("webssl_dino", "WebSSL-DINO ViT", "facebookresearch/webssl", OF_DINOV2, BY_WEBSSL),
    about="WebSSL-DINO (facebookresearch/webssl): DINOv2's ViT with SwiGLU, up to 7B, with wide heads from 2B on.",
    like="dinov2",
    facts=Facts("WebSSL-DINO", heads=WEB_HEADS),
    signs=Signs(files=("webssl_dino",), guesses=_has_web_size),
    contradicts=_ungated,
)

RAW = Preprocessing(
    resize=448,
    crop=None,
    resample="bilinear",
    resizes="tensor",
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    reason="as in TIPS's demo: a square, and pixels from 0 to 1",
)

ONE_REGISTER = "exactly one register"


def _one_register(clues: Clues) -> str | None:
    """Exactly one register, which no published DINOv2 has; it is not a proof."""
    registers = clues.shapes.get("register_tokens", ())
    return ONE_REGISTER if len(registers) == 3 and registers[1] == 1 else None


TIPS = Relative(
    Family("tips", "TIPS ViT", "google-deepmind/tips", (AVERAGED,), RAW),
    about="TIPS and TIPS v2 (google-deepmind/tips): DINOv2 with one register, raw pixels, and bilinear resampling.",
    like="dinov2",
    facts=Facts("TIPS", heads={(1152, 27): 16}, interpolation=BILINEAR_ANTIALIASED),
    signs=Signs(
        places=("vision_encoder",),
        files=("tips_",),
        guesses=_one_register,
        tells=lambda clues: called(clues, "_tips"),
    ),
    always_told=ONE_REGISTER,
)

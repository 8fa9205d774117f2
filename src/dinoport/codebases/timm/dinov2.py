"""timm's names for DINOv2 (`_convert_dinov2` in `timm/models/vision_transformer.py`)."""

from collections.abc import Mapping, Sequence

from dinoport.codebases.dinov2 import vit
from dinoport.codebases.names import Names
from dinoport.codebases.shapes import square_side
from dinoport.codebases.timm.biases import lacking, whole_table
from dinoport.codebases.timm.signs import is_gated
from dinoport.mapping.computation import added, without_rows
from dinoport.mapping.constants import zeros
from dinoport.mapping.operations import AddAxis, DropClsRow
from dinoport.mapping.rule import Rule, change, copy, drop
from dinoport.model import Origin, Stated, Wishes
from dinoport.tensor import Shape, TensorRef

# fmt: off
SHARED: tuple[Rule, ...] = (
    copy("cls_token",                "cls_token"),
    copy("patch_embed.proj.{p}",     "patch_embed.proj.{p}"),
    copy("blocks.{i}.norm{n}.{p}",   "blocks.{i}.norm{n}.{p}"),
    copy("blocks.{i}.attn.qkv.{p}",  "blocks.{i}.attn.qkv.{p}"),
    copy("blocks.{i}.attn.proj.{p}", "blocks.{i}.attn.proj.{p}"),
    copy("blocks.{i}.ls{n}.gamma",   "blocks.{i}.ls{n}.gamma"),
    copy("norm.{p}",                 "norm.{p}"),
)
MLP: tuple[Rule, ...] = (
    copy("blocks.{i}.mlp.fc{n}.{p}", "blocks.{i}.mlp.fc{n}.{p}"),
)
SWIGLU: tuple[Rule, ...] = (
    copy("blocks.{i}.mlp.w12.{p}",   "blocks.{i}.mlp.fc1.{p}"),
    copy("blocks.{i}.mlp.w3.{p}",    "blocks.{i}.mlp.fc2.{p}"),
)
# With registers, timm's table has no row for the CLS token: the row is part of timm's cls_token.
REGISTERS: tuple[Rule, ...] = (
    copy("register_tokens",          "reg_token"),
    change("pos_embed",              "pos_embed", DropClsRow()),
)
POSITIONS: tuple[Rule, ...] = (
    copy("pos_embed",                "pos_embed"),
)
# fmt: on


def rules(shapes: Mapping[str, Shape], wishes: Wishes) -> tuple[Rule, ...]:
    width = shapes["cls_token"][-1] if shapes.get("cls_token") else 0
    masked = wishes.record.get("mask_token") is True
    mask = (drop("mask_token", because=TRAINING, returns=zeros(1, width)),) if masked else ()
    rows = shapes.get("pos_embed", (1, 0, width))[1]
    folded = "reg_token" in shapes and square_side(rows) is not None
    whole = (copy("register_tokens", "reg_token"),) if "reg_token" in shapes and not folded else ()
    own, bare = (
        (*table(is_gated(shapes), REGISTERS if folded else POSITIONS), *whole, *mask),
        lacking(wishes.record.get("without")),
    )
    return whole_table(own, shapes, bare, classifies=bool(wishes.record.get("classifier")))


TRAINING = "it is used for training alone, and timm has no place for it: it returns as zeros"


ROWS_ADDED = "the rows of pos_embed for the registers are added to reg_token, in float32, as timm does in each pass"


CLS_ROW_ADDED = (
    "timm keeps no row of pos_embed for the CLS token: cls_token holds their sum, and the row is taken as all 0, which "
    "computes the same"
)


def arranged(tensors: Mapping[str, TensorRef]) -> tuple[Mapping[str, TensorRef], tuple[str, ...]]:
    """The same model where the table has rows for the registers too (`no_embed_class` off): they are added to them.

    Such a table has 1 + R + N² rows. One without any prefix row has N², and nothing is to be done.
    """
    registers, positions = tensors.get("reg_token"), tensors.get("pos_embed")
    if registers is None or positions is None or len(registers.shape) != 3 or len(positions.shape) != 3:
        return tensors, ()
    count, (_, rows, width) = registers.shape[1], positions.shape
    if square_side(rows) is not None:
        return tensors, (CLS_ROW_ADDED,)
    if square_side(rows - 1 - count) is None or registers.shape[2] != width:
        return tensors, ()
    moved = {"reg_token": added(registers, positions, width), "pos_embed": without_rows(positions, 1, 1 + count)}
    return {**tensors, **moved}, (ROWS_ADDED,)


def table(gated: bool, positions: Sequence[Rule]) -> tuple[Rule, ...]:
    """The table of a backbone, with the rules of its `positions`."""
    return (*SHARED, *(SWIGLU if gated else MLP), *positions)


NAMES = Names(vit, rules, arranged)

# NVIDIA's TAO trains timm's blocks, and calls registers and mask as DINOv2 does (`ssl/nvdinov2/model/vit.py`). Its code
# has the registers behind the patches; no position tells them, so all other tokens are the same.
BESIDE_POSITIONS: tuple[Rule, ...] = (
    *POSITIONS,
    copy("register_tokens", "register_tokens"),
    change("mask_token", "mask_token", AddAxis()),
)
OF_TAO = Stated(1e-5, "as NVIDIA TAO trains NV-DINOv2; its downstream code takes 1e-6", Origin.ASSUMED, doubted=True)
RESAMPLED = Stated("offset", "as NVIDIA TAO resamples", Origin.INFERRED)

TAO = Names(
    vit,
    lambda shapes, wishes: table(is_gated(shapes), BESIDE_POSITIONS),
    stated=lambda evidence: {"layer_norm_eps": OF_TAO, "interpolation": RESAMPLED},
)

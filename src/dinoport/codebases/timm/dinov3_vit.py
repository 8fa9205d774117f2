"""timm's names for DINOv3's ViTs (`checkpoint_filter_fn` in `timm/models/eva.py`).

timm keeps neither periods nor mask nor mask token: the periods follow from a base that is 100 in all of its own models,
keys have no bias in any released model, and the mask token is used for training alone.
"""

from collections.abc import Mapping

from dinoport.codebases.dinov3 import vit as dinov3
from dinoport.codebases.dinov3.periods import assumed_head_dim, buffers
from dinoport.codebases.drops import unmasked
from dinoport.codebases.names import Names
from dinoport.codebases.shapes import count_blocks
from dinoport.codebases.timm.biases import lacking, whole_table
from dinoport.codebases.vit_sizes import MAX_DEPTH
from dinoport.mapping.rule import Rule, copy, split_rows
from dinoport.model import Wishes
from dinoport.networks.rotary_vit.architecture import RotaryViT
from dinoport.networks.rotary_vit.rope import UNKNOWN_BASE
from dinoport.tensor import Shape

# fmt: off
SHARED: tuple[Rule, ...] = (
    copy("cls_token",                  "cls_token"),
    copy("storage_tokens",             "reg_token"),
    copy("patch_embed.proj.{p}",       "patch_embed.proj.{p}"),
    copy("blocks.{i}.norm{n}.{p}",     "blocks.{i}.norm{n}.{p}"),
    copy("blocks.{i}.attn.qkv.weight", "blocks.{i}.attn.qkv.weight"),
    copy("blocks.{i}.attn.proj.{p}",   "blocks.{i}.attn.proj.{p}"),
    copy("blocks.{i}.ls{n}.gamma",     "blocks.{i}.gamma_{n}"),
    copy("norm.{p}",                   "norm.{p}"),
)
BIAS = copy("blocks.{i}.attn.qkv.bias", "blocks.{i}.attn.qkv.bias")
MASKED_BIAS = split_rows("blocks.{i}.attn.qkv.bias", ("blocks.{i}.attn.q_bias", None, "blocks.{i}.attn.v_bias"),
                         because="timm has no bias for keys")
MLP: tuple[Rule, ...] = (
    copy("blocks.{i}.mlp.fc{n}.{p}",   "blocks.{i}.mlp.fc{n}.{p}"),
)
SWIGLU: tuple[Rule, ...] = (
    copy("blocks.{i}.mlp.w1.{p}",      "blocks.{i}.mlp.fc1_g.{p}"),
    copy("blocks.{i}.mlp.w2.{p}",      "blocks.{i}.mlp.fc1_x.{p}"),
    copy("blocks.{i}.mlp.w3.{p}",      "blocks.{i}.mlp.fc2.{p}"),
)
# fmt: on


def rules(shapes: Mapping[str, Shape], wishes: Wishes) -> tuple[Rule, ...]:
    """Raises SettingError where the number of heads does not follow from the width."""
    record = wishes.record
    masked, whole = (f"blocks.0.attn.{bias}" in shapes for bias in ("q_bias", "qkv.bias"))
    is_open = whole and not masked and record.get("open_key_mask") is True
    width = shapes["cls_token"][-1] if shapes.get("cls_token") else 0
    vit = RotaryViT(
        width=width,
        depth=min(count_blocks(shapes), MAX_DEPTH),
        heads=width // assumed_head_dim(width, wishes),
        mlp_hidden=1,
        patch_size=1,
        feed_forward="swiglu" if "blocks.0.mlp.fc1_g.weight" in shapes else "mlp",
        qkv_bias=masked or whole,
        key_bias_mask=masked or is_open,
        live_key_bias=is_open,
        rope_theta=wishes.rope_theta or UNKNOWN_BASE,
        rope_rounded=record.get("rounded_periods") is True,
    )
    bare = lacking(record.get("without"))
    return whole_table(backbone(vit), shapes, bare, classifies=bool(record.get("classifier")))


def backbone(vit: RotaryViT) -> tuple[Rule, ...]:
    """The table of a backbone, with what timm keeps no place for."""
    bias = (BIAS if vit.key_bias else MASKED_BIAS,) if vit.qkv_bias else ()
    buffered = buffers(vit, "timm computes them from its base", "timm has no bias for keys")
    return (*SHARED, *bias, *(SWIGLU if vit.feed_forward == "swiglu" else MLP), unmasked(vit.width), *buffered)


NAMES = Names(dinov3, rules)

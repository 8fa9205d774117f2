"""A ViT under the names of MMPretrain (`models/backbones/vision_transformer.py`), whose last norm is `ln1` too.

MMSelfSup builds its models of the same class. MMSegmentation has one of its own (`mmseg/models/backbones/vit.py`).
"""

from collections.abc import Mapping

from dinoport.codebases.dino import vit as dino
from dinoport.codebases.dinov2 import vit as dinov2
from dinoport.codebases.names import Names
from dinoport.mapping.rule import Rule, copy
from dinoport.model import Origin, Stated

# fmt: off
TABLE: tuple[Rule, ...] = (
    copy("cls_token",                "cls_token"),
    copy("mask_token",               "mask_token"),
    copy("pos_embed",                "pos_embed"),
    copy("patch_embed.proj.{p}",     "patch_embed.projection.{p}"),
    copy("blocks.{i}.norm1.{p}",     "layers.{i}.ln1.{p}"),
    copy("blocks.{i}.attn.qkv.{p}",  "layers.{i}.attn.qkv.{p}"),
    copy("blocks.{i}.attn.proj.{p}", "layers.{i}.attn.proj.{p}"),
    copy("blocks.{i}.ls1.gamma",     "layers.{i}.attn.gamma1.weight"),
    copy("blocks.{i}.norm2.{p}",     "layers.{i}.ln2.{p}"),
    copy("blocks.{i}.mlp.fc1.{p}",   "layers.{i}.ffn.layers.0.0.{p}"),
    copy("blocks.{i}.mlp.fc2.{p}",   "layers.{i}.ffn.layers.1.{p}"),
    copy("blocks.{i}.ls2.gamma",     "layers.{i}.ffn.gamma2.weight"),
    copy("norm.{p}",                 "ln1.{p}"),
)
OF_TORCH: Mapping[str, str] = {
    "layers.{i}.attn.qkv.{p}":  "layers.{i}.attn.attn.in_proj_{p}",
    "layers.{i}.attn.proj.{p}": "layers.{i}.attn.attn.out_proj.{p}",
}
"""What MMSegmentation calls otherwise."""
# fmt: on


def _resampled(by: str) -> dict[str, Stated]:
    return {"interpolation": Stated("size", f"as {by} resamples", Origin.INFERRED)}


EPS = Stated(1e-6, "as configs of MMSegmentation set it; 1e-5 where they do not", Origin.ASSUMED, doubted=True)

VIT = Names(dino, TABLE, stated=lambda evidence: _resampled("MMPretrain"))
DINOV2 = Names(dinov2, TABLE, stated=lambda evidence: _resampled("MMPretrain"))
SEGMENTER = Names(
    dino,
    tuple(rule.spelled(lambda template: OF_TORCH.get(template, template)) for rule in TABLE),
    stated=lambda evidence: {**_resampled("MMSegmentation"), "layer_norm_eps": EPS},
)

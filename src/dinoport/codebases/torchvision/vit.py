"""A ViT under the names of torchvision (`models/vision_transformer.py`), which lightly's examples train too."""

from __future__ import annotations

from dinoport.codebases.dino import vit as dino
from dinoport.codebases.names import Names
from dinoport.mapping.rule import Rule, copy

# fmt: off
TABLE: tuple[Rule, ...] = (
    copy("cls_token",                 "class_token"),
    copy("pos_embed",                 "encoder.pos_embedding"),
    copy("patch_embed.proj.{p}",      "conv_proj.{p}"),
    copy("blocks.{i}.norm1.{p}",      "encoder.layers.encoder_layer_{i}.ln_1.{p}"),
    copy("blocks.{i}.attn.qkv.weight", "encoder.layers.encoder_layer_{i}.self_attention.in_proj_weight"),
    copy("blocks.{i}.attn.qkv.bias",  "encoder.layers.encoder_layer_{i}.self_attention.in_proj_bias"),
    copy("blocks.{i}.attn.proj.{p}",  "encoder.layers.encoder_layer_{i}.self_attention.out_proj.{p}"),
    copy("blocks.{i}.norm2.{p}",      "encoder.layers.encoder_layer_{i}.ln_2.{p}"),
    copy("blocks.{i}.mlp.fc1.{p}",    "encoder.layers.encoder_layer_{i}.mlp.0.{p}"),
    copy("blocks.{i}.mlp.fc2.{p}",    "encoder.layers.encoder_layer_{i}.mlp.3.{p}"),
    copy("norm.{p}",                  "encoder.ln.{p}"),
    copy("classifier.{p}",            "heads.head.{p}"),
)
# fmt: on

CLASSIFIER = "heads.head"
"""Looks at the CLS token. Where another framework trains the network inside of it, nothing says that it was trained."""

VIT = Names(dino, TABLE, classifier=CLASSIFIER)

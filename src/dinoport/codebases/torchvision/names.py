"""The names of torchvision: of its ViT (`models/vision_transformer.py`), which lightly's examples train too, and of a
ResNet-50 as a sequence of its children, without the last one: so these examples cut it off.
"""

from dinoport.codebases.dino import resnet, vit
from dinoport.codebases.names import Names
from dinoport.mapping.rule import Rule, copy

# fmt: off
OF_VIT: tuple[Rule, ...] = (
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
OF_CHILDREN: tuple[Rule, ...] = (
    copy("conv1.{p}",                   "0.{p}"),
    copy("bn1.{p}",                     "1.{p}"),
    *(rule for stage, place in enumerate(range(4, 8), start=1) for rule in (
        copy(f"layer{stage}.{{i}}.conv{{n}}.{{p}}",       f"{place}.{{i}}.conv{{n}}.{{p}}"),
        copy(f"layer{stage}.{{i}}.bn{{n}}.{{p}}",         f"{place}.{{i}}.bn{{n}}.{{p}}"),
        copy(f"layer{stage}.{{i}}.downsample.{{n}}.{{p}}", f"{place}.{{i}}.downsample.{{n}}.{{p}}"),
    )),
)
# fmt: on

CLASSIFIER = "heads.head"
"""Looks at the CLS token. Where another framework trains the network inside of it, nothing says that it was trained."""

VIT = Names(vit, OF_VIT, classifier=CLASSIFIER)

SEQUENTIAL = Names(resnet, resnet.counted_or_frozen(OF_CHILDREN))

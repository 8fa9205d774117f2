"""What tells a stranger where no single name does: each gives what it was told by, or None."""

import re
from collections.abc import Mapping

from dinoport.codebases.timm.signs import is_dinov3_vit
from dinoport.tensor import Shape, shape_text

Shapes = Mapping[str, Shape]


def named(shapes: Shapes, *endings: str) -> str | None:
    """The first name with one of these endings."""
    return next((name for name in shapes if name.endswith(endings)), None)


def is_pixio(shapes: Shapes) -> str | None:
    own = "blocks.0.attn.qkv.weight" in shapes
    cls = shapes.get("cls_token", ()) if own else shapes.get("embeddings.cls_token", ())
    return f"cls_token of {shape_text(cls)}" if len(cls) == 3 and cls[1] > 1 else None


def takes_video(shapes: Shapes) -> str | None:
    name, kernel = _kernel(shapes)
    return f"{name} of {shape_text(kernel)}" if len(kernel) == 5 else None


def takes_volumes(shapes: Shapes) -> str | None:
    """A cube of one channel; patches of video are thinner than wide."""
    name, kernel = _kernel(shapes)
    return f"{name} of {shape_text(kernel)}" if len(kernel) == 5 and kernel[2] == kernel[3] == kernel[4] else None


def takes_channels(shapes: Shapes) -> str | None:
    """A kernel that sees one channel at a time."""
    name, kernel = _kernel(shapes)
    return f"{name} of {shape_text(kernel)}" if len(kernel) == 5 and kernel[1] == kernel[2] == 1 else None


def _kernel(shapes: Shapes) -> tuple[str, Shape]:
    name = named(shapes, "patch_embed.proj.weight", "patch_embeddings.proj.weight", "embeddings.projection.weight")
    return (name, shapes[name]) if name else ("", ())


def has_views(shapes: Shapes) -> str | None:
    """A token for cameras among a backbone's own; VGGT has one beside its backbone."""
    found = (name for name in shapes if f".{name}".endswith(".camera_token"))
    return next((name for name in found if name.replace("camera_token", "cls_token") in shapes), None)


def has_own_biases(shapes: Shapes) -> str | None:
    """A bias for queries and one for values; timm's DINOv3 has them too."""
    return None if "reg_token" in shapes or is_dinov3_vit(shapes) else named(shapes, "attn.q_bias")


def is_beit(shapes: Shapes) -> str | None:
    scaled = named(shapes, ".gamma_1", "lm_head.weight")
    return named(shapes, ".lambda_1") or (has_own_biases(shapes) if scaled else None)


def is_data2vec(shapes: Shapes) -> str | None:
    head = shapes.get("lm_head.weight", ())
    return "lm_head.weight, which is square" if len(head) == 2 and head[0] == head[1] else None


def is_eva02(shapes: Shapes) -> str | None:
    """A bias for queries and one for values; or a gate behind queries and keys of their own, without registers."""
    gated = "reg_token" not in shapes and "blocks.0.attn.q_proj.weight" in shapes
    return has_own_biases(shapes) or (named(shapes, "mlp.fc1_g.weight") if gated else None)


def rotates(shapes: Shapes) -> str | None:
    """Layer scales as in EVA without a table of positions, and without what a DINOv3 has in its place."""
    without = not {"pos_embed", "rope_embed.periods"} & shapes.keys() and "patch_embed.proj.weight" in shapes
    return "no position table" if without and not is_dinov3_vit(shapes) and "blocks.0.gamma_1" in shapes else None


def pools_patches(shapes: Shapes) -> str | None:
    """No CLS token, and a part that an I-JEPA has not."""
    patches = {"pos_embed", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight"} <= shapes.keys()
    if not patches or {"cls_token", "mask_token", "register_tokens"} & shapes.keys():
        return None
    return next((name for name in ("fc_norm.weight", "reg_token", "blocks.0.ls1.gamma") if name in shapes), None)


def is_radio(shapes: Shapes) -> str | None:
    """Registers and no norm behind the blocks."""
    whole = {"cls_token", "reg_token", "pos_embed", "blocks.0.ls1.gamma"} <= shapes.keys()
    return "reg_token without a norm" if whole and not {"norm.weight", "fc_norm.weight"} & shapes.keys() else None


def is_of_jax(shapes: Shapes) -> str | None:
    """Two layers that are called kernels: torch has none."""
    kernels = [name for name, shape in shapes.items() if KERNEL.search(name) and len(shape) > 1]
    return kernels[0] if len(kernels) > 1 else None


KERNEL = re.compile(r"(?:^|[./])kernel(?::0)?$")


def is_timm_clip(shapes: Shapes) -> str | None:
    bare = "patch_embed.proj.weight" in shapes and "patch_embed.proj.bias" not in shapes
    return named(shapes, "norm_pre.weight") if bare else None


def norms_patches(shapes: Shapes) -> str | None:
    """A norm without a bias after the patches; those of hierarchical ViTs have one."""
    bare = "patch_embed.norm.weight" in shapes and "patch_embed.norm.bias" not in shapes
    return "patch_embed.norm.weight" if bare else None


def biases_in_stages(shapes: Shapes) -> str | None:
    """Relative positions in one of several stages: CoAtNet, MaxViT, GC ViT."""
    found = (name for name in shapes if name.startswith("stages.") and "relative_position_bias_table" in name)
    return next(found, None)


def is_other_resnet(shapes: Shapes) -> str | None:
    """A block more than a ResNet-50 has, a first layer of other sizes, or attention in a block.

    One below another name may stand beside a model that is read.
    """
    deeper, first = (next((name for name in names if name in shapes), None) for names in (DEEPER, FIRST))
    if first is None or deeper:
        return deeper
    other = shapes[first] != (64, 64, 1, 1)
    return f"{first} of {shape_text(shapes[first])}" if other else named(shapes, "layer1.0.se.fc1.weight")


OF_STAGES = ("encoder.stages", "resnet.encoder.stages", "stages")
DEEPER = ("layer3.6.conv1.weight", *(f"{each}.2.layers.6.layer.0.convolution.weight" for each in OF_STAGES))
FIRST = ("layer1.0.conv1.weight", *(f"{each}.0.layers.0.layer.0.convolution.weight" for each in OF_STAGES))


def strides_elsewhere(shapes: Shapes) -> str | None:
    """A head of convolutions over a ResNet whose last stages do not stride: they dilate for DeepLab, PAN and
    torchvision's FCN.

    Re-identification keeps the last stage's map large, and puts a norm without a layer behind it.
    """
    if not any(name.endswith(("layer4.0.conv3.weight", "7.0.conv3.weight")) for name in shapes):
        return None
    heads = (name for name, shape in shapes.items() if NECK.search(name) or (len(shape) == 4 and MAPS.search(name)))
    return next(heads, None)


MAPS = re.compile(r"(?:^|\.)(?:aux_classifier|classifier\.0\.convs|decoder\.0\.convs|aspp(?:_modules)?|fpa)\.")
NECK = re.compile(r"(?:^|\.)(?:bottleneck\w*|feat_bn)\.running_mean$")
"""The norm in front of a re-identifier's classifier."""

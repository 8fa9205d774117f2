"""How the names of Transformers are told, on disk and in memory, with or without a config.json beside them."""

from collections.abc import Collection, Mapping

from dinoport.tensor import Shape

PATCHES = "embeddings.patch_embeddings.projection.weight"

ROTARY_PATCHES = "embeddings.patch_embeddings.weight"

INNER = "model."
"""What version 5 puts before the layers of DINOv3's classes in memory, and before nothing else of them."""

OF_VIT, OF_DINOV2 = ".layernorm_before.weight", ".layer_scale1.lambda1"

CLASSIFYING = {
    "vit.": "classifier.",
    "dinov2.": "classifier.",
    "dinov2_with_registers.": "classifier.",
    "resnet.": "classifier.1.",
}
"""What the classes with a classifier call their backbone, and where the classifier stands beside it."""


def is_vit(shapes: Mapping[str, Shape]) -> bool:
    return _has(shapes, PATCHES, OF_VIT)


def is_ijepa(shapes: Mapping[str, Shape]) -> bool:
    """Whether these are the names of a ViT without a CLS token."""
    whole = {PATCHES, "embeddings.position_embeddings", "layernorm.weight"} <= shapes.keys()
    return whole and "embeddings.cls_token" not in shapes and any(name.endswith(OF_VIT) for name in shapes)


def is_dinov2(shapes: Mapping[str, Shape]) -> bool:
    return _has(shapes, PATCHES, OF_DINOV2)


def is_dinov3_vit(shapes: Mapping[str, Shape]) -> bool:
    return _has(shapes, ROTARY_PATCHES, ".attention.k_proj.weight")


def is_convnext(shapes: Mapping[str, Shape]) -> bool:
    stages = ("stages.0.", f"{INNER}stages.0.")
    parts = ("downsample_layers.0.weight", "layers.0.depthwise_conv.weight")
    return any(all(stage + part in shapes for part in parts) for stage in stages)


def is_resnet(shapes: Mapping[str, Shape]) -> bool:
    """Whether these are the names of a ResNet with bottleneck blocks."""
    third = "encoder.stages.0.layers.0.layer.2.convolution.weight"
    return "embedder.embedder.convolution.weight" in shapes and third in shapes


def classifier_beside(prefix: str, names: Collection[str], *, whole: bool) -> str | None:
    """Where a class keeps its classifier, whose backbone is below `prefix`; None where it is not a class with one.

    The class is told by what stands beside the backbone: its classifier and nothing else. A module of the user's own
    may look so too, but not in a file that is a `whole` state dict of its own.
    """
    own = next((each for each in CLASSIFYING if f".{prefix}".endswith(f".{each}")), None)
    if own is None:
        return None
    outer = prefix.removesuffix(own)
    layer = outer + CLASSIFYING[own]
    beside = {name for name in names if name.startswith(outer) and not name.startswith(prefix)}
    is_class = beside == {f"{layer}weight", f"{layer}bias"} and f"{prefix}pooler.dense.weight" not in names
    return layer if is_class and (outer or whole) else None


def _has(shapes: Mapping[str, Shape], patches: str, ending: str) -> bool:
    """Whether there are this patch kernel, a CLS token, and blocks with a name of this ending."""
    return patches in shapes and "embeddings.cls_token" in shapes and any(name.endswith(ending) for name in shapes)

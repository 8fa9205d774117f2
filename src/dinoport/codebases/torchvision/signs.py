"""How models of torchvision are told by their names."""

from collections.abc import Mapping

from dinoport.tensor import Shape


def is_vit(shapes: Mapping[str, Shape]) -> bool:
    return all(name in shapes for name in ("class_token", "conv_proj.weight", "encoder.pos_embedding"))


def is_sequential_resnet(shapes: Mapping[str, Shape]) -> bool:
    """Whether these are the children of a ResNet with bottleneck blocks, by their places."""
    return len(shapes.get("0.weight", ())) == 4 and all(
        name in shapes for name in ("1.running_var", "4.0.conv3.weight")
    )

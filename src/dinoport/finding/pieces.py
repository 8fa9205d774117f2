"""Tensors that were put together from flat pieces get the shapes that their network has."""

from collections.abc import Mapping
from dataclasses import replace

from dinoport.codebases import catalogue
from dinoport.errors import PlanError
from dinoport.formats.run_config import RunConfig
from dinoport.tensor import TensorRef, shape_text


def shaped(where: str, tensors: Mapping[str, TensorRef], config: RunConfig | None) -> dict[str, TensorRef]:
    """Flat tensors in the shapes of the network that their names are; others as they are.

    Raises PlanError where no network has these sizes.
    """
    # Signs look at axes, which flat tensors have lost: a table of positions says that they are a model's.
    saving = (each.code for each in catalogue.NAMINGS if each.family and "pos_embed" in tensors)
    find = next((code.whole_shapes for code in saving if hasattr(code, "whole_shapes")), None)
    if find is None:
        return dict(tensors)
    shapes = find({name: tensor.size for name, tensor in tensors.items()}, where, config)
    unlike = [
        f"{name} has {tensors[name].size} elements, {shape_text(shape)} was expected"
        for name, shape in shapes.items()
        if name in tensors and tensors[name].size != replace(tensors[name], shape=shape).size
    ]
    if unlike:
        raise PlanError(
            f"{where} cannot be put together",
            unlike,
            cause="a rank's file is missing or of another save, or a network with parts that are not known",
            next_step="give eval/<iteration>/teacher_checkpoint.pth of the run, which holds the whole teacher",
        )
    return {name: replace(each, shape=shapes.get(name, each.shape)) for name, each in tensors.items()}

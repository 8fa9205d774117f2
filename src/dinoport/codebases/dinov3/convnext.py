"""Recognise a DINOv3 ConvNeXt: all of its sizes are in the shapes."""

from __future__ import annotations

from collections.abc import Mapping

from dinoport.codebases.dinov3.vit import DROPS
from dinoport.codebases.family import Evidence, Family, Reading
from dinoport.codebases.preprocessing import DINOV3_PROCESSOR
from dinoport.codebases.run import contradictions, input_size
from dinoport.codebases.setting import Origin, Setting, eps_setting
from dinoport.codebases.shapes import count_blocks, required
from dinoport.codebases.timm.dinov3_convnext import TIMM
from dinoport.codebases.vit_sizes import MAX_DEPTH
from dinoport.errors import PlanError
from dinoport.mapping.resolve import compare_shapes
from dinoport.networks.convnext.architecture import DinoV3ConvNext
from dinoport.tensor import Shape

STAGES = 4


def recognises(shapes: Mapping[str, Shape]) -> bool:
    """Whether these names are a DINOv3 ConvNeXt's; `norms.3` tells it from the ConvNeXts of other codebases."""
    return "downsample_layers.0.0.weight" in shapes and "norms.3.weight" in shapes


def read(evidence: Evidence) -> Reading:
    """The architecture of a DINOv3 ConvNeXt. Raises PlanError where its sizes cannot be read."""
    shapes = {name: tensor.shape for name, tensor in evidence.tensors.items()}
    stem = required(shapes, "downsample_layers.0.0.weight", 4, evidence.where)
    later = [f"downsample_layers.{stage}.1.weight" for stage in range(1, STAGES)]
    widths = (stem[0], *(required(shapes, name, 4, evidence.where)[0] for name in later))
    depths = tuple(count_blocks(shapes, f"stages.{stage}.") for stage in range(STAGES))
    if max(depths) > MAX_DEPTH:
        problem = f"blocks are numbered up to {max(depths) - 1}, more than any model has"
        raise PlanError(f"{evidence.where} cannot be converted", [problem])
    eps = eps_setting(evidence.wishes, 1e-6, Origin.ASSUMED, "as in all DINOv3 ConvNeXts")
    architecture = DinoV3ConvNext(
        depths=depths,
        widths=widths,
        channels=stem[1],
        layer_scale="stages.0.0.gamma" in shapes,
        layer_norm_eps=eps.value,
    )
    size = input_size(evidence)
    settings: tuple[Setting[object], ...] = (
        Setting("depths", "-".join(map(str, depths)), Origin.STORED, "numbered blocks"),
        Setting("widths", "-".join(map(str, widths)), Origin.STORED, "downsample_layers"),
        Setting("channels", stem[1], Origin.STORED, "downsample_layers.0.0.weight"),
        eps,
        Setting("activation", "exact gelu", Origin.ASSUMED, "as in all DINOv3 ConvNeXts"),
        *((size,) if size else ()),
    )
    problems = tuple(compare_shapes(shapes, architecture.tensors()))
    remarks = contradictions(evidence, {"student.in_chans": architecture.channels})
    preprocessing = DINOV3_PROCESSOR.for_image_size(size.value if size else DINOV3_PROCESSOR.size)
    return Reading(architecture, settings, problems, remarks, preprocessing)


FAMILY = Family(
    name="dinov3_convnext",
    title="DINOv3 ConvNeXt",
    upstream="facebookresearch/dinov3",
    recognises=recognises,
    read=read,
    drops=DROPS,
    preprocessing=DINOV3_PROCESSOR,
    reference="dinoport.networks.convnext.forward",
    classifier="linear_head",
    dialects=(TIMM,),
)

"""Read a DINOv3 ConvNeXt: all of its sizes are in the shapes."""

from collections.abc import Iterator

from dinoport.codebases.clues import Signs, called
from dinoport.codebases.codebase import Evidence, HubEntry, Reading
from dinoport.codebases.dinov3.projection import made_before as made_before
from dinoport.codebases.drops import OF_DINOV3
from dinoport.codebases.run import contradictions, full_precision, input_size, number, statistics
from dinoport.codebases.shapes import count_blocks, required
from dinoport.codebases.vit_sizes import MAX_DEPTH
from dinoport.errors import PlanError
from dinoport.mapping.claims import compare_shapes
from dinoport.model import Family, Origin, Setting, eps_setting, fixed
from dinoport.networks.convnext.architecture import ConvNeXt
from dinoport.networks.preprocessing import DINOV3_PROCESSOR

STAGES = 4

SIGNS = Signs(files=("dinov3_",), tells=lambda clues: called(clues, ".dinov3"))

BESIDE = ("dino_head.", "ibot_head.")
"""What training keeps beside a backbone: relatives are published without."""

FIXED = {"activation": "exact gelu", "resized features": "none"}
"""What `convnext.py` computes with, and no tensor shows. With a patch size it resizes its feature maps to a ViT's."""


def read(evidence: Evidence) -> Reading:
    """The architecture of a DINOv3 ConvNeXt. Raises PlanError where its sizes cannot be read."""
    shapes = evidence.shapes
    stem = required(shapes, "downsample_layers.0.0.weight", 4, evidence.where)
    later = [f"downsample_layers.{stage}.1.weight" for stage in range(1, STAGES)]
    widths = (stem[0], *(required(shapes, name, 4, evidence.where)[0] for name in later))
    depths = tuple(count_blocks(shapes, f"stages.{stage}.") for stage in range(STAGES))
    if max(depths) > MAX_DEPTH:
        problem = f"blocks are numbered up to {max(depths) - 1}, more than any model has"
        raise PlanError(f"{evidence.where} cannot be converted", [problem])
    size = input_size(evidence)
    usual = (evidence.facts.preprocessing if evidence.facts else None) or DINOV3_PROCESSOR
    own = (evidence.preprocessing or usual).size
    preprocessing = statistics(evidence, usual.for_image_size(size.value if size else own))
    eps = eps_setting(evidence.wishes, 1e-6, Origin.ASSUMED, "as in all DINOv3 ConvNeXts")
    architecture = ConvNeXt(
        depths=depths,
        widths=widths,
        channels=stem[1],
        layer_scale="stages.0.0.gamma" in shapes,
        layer_norm_eps=eps.value,
        image_size=preprocessing.size,
    )
    settings: tuple[Setting[object], ...] = (
        Setting("depths", "-".join(map(str, depths)), Origin.STORED, "numbered blocks"),
        Setting("widths", "-".join(map(str, widths)), Origin.STORED, "downsample_layers"),
        Setting("channels", stem[1], Origin.STORED, "downsample_layers.0.0.weight"),
        eps,
        *fixed(FIXED, Origin.ASSUMED, "as in all DINOv3 ConvNeXts"),
        *((size,) if size else ()),
    )
    problems = tuple(compare_shapes(shapes, architecture.tensors()))
    doubts = tuple(contradictions(evidence, {"student.in_chans": architecture.channels}))
    remarks = (*full_precision(evidence), *_unresized(evidence))
    return Reading(architecture, settings, problems, remarks, preprocessing, doubts=doubts)


def _unresized(evidence: Evidence) -> Iterator[str]:
    """That the class does not resize the maps of its stages, where the run's config makes the original do so."""
    if evidence.config and (size := number(evidence, "student.patch_size")):
        resized = f"get_intermediate_layers of the original resizes its maps to patches of {size:g} pixels"
        yield f"{evidence.config.name} says student.patch_size = {size:g}: {resized}, the class does not"


BACKBONES = {
    "dinov3_convnext_tiny": (96, (3, 3, 9, 3)),
    "dinov3_convnext_small": (96, (3, 3, 27, 3)),
    "dinov3_convnext_base": (128, (3, 3, 27, 3)),
    "dinov3_convnext_large": (192, (3, 3, 27, 3)),
}
"""First width and depths, as `dinov3/hub/backbones.py` has them."""


def hub_entry(architecture: ConvNeXt, image_size: int) -> HubEntry | None:
    usual = ConvNeXt(architecture.depths, architecture.widths, image_size=architecture.image_size)
    sizes = (architecture.widths[0], architecture.depths)
    names = [name for name, known in BACKBONES.items() if known == sizes and architecture == usual]
    return HubEntry("facebookresearch/dinov3", names[0]) if names else None


def hub_file(architecture: ConvNeXt) -> str | None:
    """The entry of DINOv3's hubconf.py that takes a file of this model as its `weights`."""
    entry = hub_entry(architecture, architecture.image_size)
    return entry.name if entry else None


FAMILY = Family(
    name="dinov3_convnext",
    title="DINOv3 ConvNeXt",
    upstream="facebookresearch/dinov3",
    drops=OF_DINOV3,
    preprocessing=DINOV3_PROCESSOR,
)

"""A start for `dinov2/train/train.py`: `{"model": …}`, given as `student.pretrained_weights`.

The student's backbone loads it with `strict=False`, and the teacher is copied from it; heads start anew. The names are
those of the class that the config builds: `student.block_chunks` groups them. One file has the names for both ways.
"""

import re
from collections.abc import Mapping
from dataclasses import replace

from dinoport.codebases.dinov2.vit import BUILDERS, SIZES_IN_CONFIG
from dinoport.codebases.start import (
    Key,
    Options,
    Start,
    StartOption,
    backbone_names,
    both_or_neither,
    disagreements,
    either_of,
    own_builder,
    refuse_ranks,
    rules_of,
    unbuilt,
    unlike_built,
)
from dinoport.formats.run_config import RunConfig
from dinoport.model import Model
from dinoport.networks.vit.architecture import ViT
from dinoport.request import Request
from dinoport.tensor import Shape

FILE = "start.pth"
TRAINER = "dinov2/train/train.py of facebookresearch/dinov2"

GATED = ("swiglu", "swiglufused")

CHUNKS = 4
"""Into how many every config of `dinov2/configs/train` groups blocks. The code's default is not to group them."""

STOPS = "the trainer stops at shapes that differ"
RANDOM = "what the file lacks starts from random values, and what it has beside that is ignored, without a word"
RESAMPLED = "positions at other sizes are resampled by another rule, without a word"


OPTIONS: Mapping[str, StartOption] = {
    "student.arch": StartOption("vit_large", STOPS, lambda ours, theirs: ours == theirs or theirs not in BUILDERS),
    "student.patch_size": StartOption(16, STOPS),
    "student.ffn_layer": StartOption("mlp", RANDOM, either_of(GATED)),
    "student.num_register_tokens": StartOption(0, RANDOM),
    "student.layerscale": StartOption(1e-5, RANDOM, both_or_neither),
    "student.qkv_bias": StartOption(True, RANDOM),
    "student.proj_bias": StartOption(True, RANDOM),
    "student.ffn_bias": StartOption(True, RANDOM),
    "student.interpolate_antialias": StartOption(False, RESAMPLED),
    "student.interpolate_offset": StartOption(0.1, RESAMPLED),
    "crops.global_crops_size": StartOption(224, STOPS),
}
"""Source of the defaults: `dinov2/configs/ssl_default_config.yaml`."""


def start(model: Model, request: Request, image_size: int, config: RunConfig | None) -> Start:
    """The start of a DINOv2, with names for the block chunks of a config."""
    refuse_ranks(request, "each process of dinov2's training loads the same file")
    vit = model.architecture_as(ViT)
    names = backbone_names(vit)
    said = config.number("student.block_chunks") if config else None
    chunks = int(said) if said is not None and 0 < said <= vit.depth else 0
    arch = _arch(vit) or own_builder(config, BUILDERS)
    options = _options(vit, arch, image_size, chunks)
    groups = (0, chunks or CHUNKS) if vit.depth >= CHUNKS or chunks else (0,)
    return Start(
        trainer=TRAINER,
        file=FILE,
        rules=rules_of(names, ()),
        keys={name: tuple({("model", chunked(name, vit.depth, count)): None for count in groups}) for name in names},
        options=options,
        wanted=tuple(_wanted(vit, {**options, "student.block_chunks": count}) for count in groups),
        use=(
            "cd CHECKOUT  # of facebookresearch/dinov2",
            "PYTHONPATH=. torchrun --nproc_per_node=1 dinov2/train/train.py --config-file FOLDER/start.yaml \\",
            "    --output-dir RUN student.pretrained_weights=FOLDER/start.pth train.dataset_path=DATASET",
        ),
        fresh=("both projection heads and their centers", "the optimiser, the iteration and all schedules"),
        silent=(
            "The trainer loads with `strict=False` and prints no names. With another `student.block_chunks` than "
            f"{' or '.join(map(str, groups))}, or any other option that differs from start.yaml, part of the model "
            "starts from random values; the loss of the first iterations is then that of a fresh run.",
        ),
        beside=("The evaluations take the backbone from `dinoport convert … --to original`.",),
        warnings=(
            *unlike_built(vit, TRAINER),
            *(() if arch else (unbuilt("dinov2", vit),)),
            *(disagreements(config, options, OPTIONS) if config else ()),
        ),
    )


def chunked(name: str, depth: int, chunks: int) -> str:
    """The name of a tensor in a model of so many groups of blocks; of 0 the flat name."""
    if not chunks:
        return name
    size = depth // chunks
    return re.sub(r"^blocks\.(\d+)\.", lambda found: f"blocks.{int(found[1]) // size}.{found[1]}.", name)


def _options(vit: ViT, arch: str | None, image_size: int, chunks: int) -> Options:
    return {
        **({"student.arch": arch} if arch else {}),
        **{option: getattr(vit, size) for option, size in SIZES_IN_CONFIG.items()},
        "student.ffn_layer": "mlp" if vit.feed_forward == "mlp" else "swiglufused",
        "student.block_chunks": chunks,
        "student.layerscale": 1e-5 if vit.layer_scale else 0,
        "student.interpolate_antialias": vit.interpolation.antialias,
        "student.interpolate_offset": vit.interpolation.offset,
        "crops.global_crops_size": image_size,
    }


def _arch(vit: ViT) -> str | None:
    gated = (int(vit.width * 4 * 2 / 3) + 7) // 8 * 8
    hidden = 4 * vit.width if vit.feed_forward == "mlp" else gated
    sizes = (vit.width, vit.heads, vit.depth)
    return next((name for name in BUILDERS if BUILDERS[name] == sizes and vit.mlp_hidden == hidden), None)


def _wanted(vit: ViT, options: Options) -> dict[Key, Shape]:
    """The tensors of the backbone that these options build, in the sizes of the model."""
    built = replace(
        vit,
        **{size: options[option] for option, size in SIZES_IN_CONFIG.items()},
        image_size=options["crops.global_crops_size"],
        feed_forward="mlp" if options["student.ffn_layer"] == "mlp" else "swiglu",
        layer_scale=bool(options["student.layerscale"]),
        classifier=None,
    )
    count = options["student.block_chunks"]
    return {("model", chunked(name, vit.depth, count)): shape for name, shape in built.tensors().items()}

"""A start for `dinov3/train/train.py`: `{"teacher": …}`, given as `student.resume_from_teacher_chkpt`.

It is loaded strictly, backbone and both heads, and copied to the teacher. What the source lacks has to be made, and is
named. More than one process loads a folder of torch.distributed.checkpoint alone.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from dinoport.codebases.dinov3.convnext import BACKBONES
from dinoport.codebases.dinov3.hub import NORM_OF_LOCAL_CROPS, completed
from dinoport.codebases.dinov3.periods import ROPE_BASE
from dinoport.codebases.dinov3.projection import HEAD_SIZES, HEADS, head_of, made_heads, sizes_of, sizes_said
from dinoport.codebases.dinov3.vit import BUILDERS, EPS, SIZES_IN_CONFIG
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
    rules_of,
    unbuilt,
    unlike_built,
)
from dinoport.formats.run_config import RunConfig
from dinoport.model import Model
from dinoport.networks.convnext.architecture import ConvNeXt
from dinoport.networks.network import Architecture
from dinoport.networks.rotary_vit.architecture import RotaryViT
from dinoport.request import Request
from dinoport.tensor import Shape

FILE = "start.pth"
TRAINER = "dinov3/train/train.py of facebookresearch/dinov3"

CONVNEXTS = {name.removeprefix("dinov3_"): sizes for name, sizes in BACKBONES.items()}
"""First width and depths, by `convnext_sizes` in `dinov3/models/convnext.py`."""

GATES = {"swiglu": 8, "swiglu32": 32, "swiglu64": 64, "swiglu128": 128}
"""To what each `student.ffn_layer` rounds the hidden width up (`dinov3/layers/ffn_layers.py`)."""

MADE_NORM = "made for training: it has a norm of its own for local crops, and the source has lost it"

STOPS = "the trainer stops"
SILENT = "the model computes something else, without a word"


OPTIONS: Mapping[str, StartOption] = {
    "student.arch": StartOption("vit_large", STOPS, lambda ours, theirs: ours == theirs or theirs not in BUILDERS),
    "student.patch_size": StartOption(16, STOPS),
    "student.ffn_layer": StartOption("mlp", STOPS, either_of(GATES)),
    "student.n_storage_tokens": StartOption(0, STOPS),
    "student.mask_k_bias": StartOption(False, STOPS),
    "student.layerscale": StartOption(1e-5, STOPS, both_or_neither),
    "student.norm_layer": StartOption("layernorm", SILENT),
    "student.qkv_bias": StartOption(True, STOPS),
    "student.proj_bias": StartOption(True, STOPS),
    "student.ffn_bias": StartOption(True, STOPS),
    "student.untie_cls_and_patch_norms": StartOption(False, STOPS),
    "student.untie_global_and_local_cls_norm": StartOption(False, STOPS),
    ROPE_BASE: StartOption(100.0, "none, as the file's periods are taken"),
    "ibot.separate_head": StartOption(True, STOPS),
    **{f"{head}.{name}": StartOption(size, STOPS) for head in HEADS for name, size in HEAD_SIZES.items()},
}
"""Source of the defaults: `dinov3/configs/ssl_default_config.yaml`."""


def start(model: Model, request: Request, image_size: int, config: RunConfig | None) -> Start:
    """The start of a DINOv3. Raises SettingError for sizes of heads that a config cannot mean."""
    architecture: Any = model.architecture
    names = backbone_names(architecture)
    width = _width(architecture)
    carried = [name for name in model.decoding.beside if name.startswith(("dino_head.", "ibot_head."))]
    own = {name: model.decoding.beside[name].shape for name in carried}
    sizes = {head: sizes_of(own, head) or sizes_said(config, head) for head in HEADS}
    made = [*made_heads(sizes, width, carried)]
    heads_made = bool(made)
    untied = False
    if isinstance(architecture, RotaryViT):
        whole, norm = completed(architecture, _lost(model, config), MADE_NORM)
        untied, made = whole.local_cls_norm, [*made, *norm]
    arch = _arch(architecture) or own_builder(config, (*BUILDERS, *CONVNEXTS))
    options = _options(architecture, arch, sizes, untied=untied)
    every = [*names, *carried, *(name for rule in made for name in rule.names)]
    ranks = request.ranks > 1
    where = "FOLDER" if ranks else "FOLDER/start.pth"
    return Start(
        trainer=TRAINER,
        file="" if ranks else FILE,
        rules=rules_of(names, carried, made),
        keys={name: (_key(name, distributed=ranks),) for name in every},
        options=options,
        wanted=(_wanted(architecture, options, distributed=ranks),),
        use=(
            "cd CHECKOUT  # of facebookresearch/dinov3",
            f"PYTHONPATH=. torchrun --nproc_per_node={request.ranks} dinov3/train/train.py \\",
            "    --config-file FOLDER/start.yaml --output-dir RUN \\",
            f"    student.resume_from_teacher_chkpt={where} train.dataset_path=DATASET",
        ),
        fresh=(
            "the optimiser, the centers, the iteration and all schedules",
            *(("both projection heads: made, as the source has none",) if heads_made else ()),
        ),
        silent=(
            "The trainer loads strictly: a tensor that is missing, left over or of another shape stops it, by name.",
            "One option says nothing: with another `student.norm_layer` (eps 1e-6 or 1e-5) than start.yaml, all "
            "tensors load and the model computes something else.",
            "The trainer keeps its rotary periods in bfloat16, whatever the file holds: outputs of the training model "
            "differ from the source's by up to 3e-3 where the file's are not rounded so.",
        ),
        carried=tuple(carried),
        strict=True,
        beside=(
            f"As a gram teacher: `gram.use_loss=true gram.ckpt={where} crops.gram_teacher_crops_size=N`; "
            "heads are skipped there.",
            "Not as a distillation teacher: its heads are made, and would teach noise."
            if heads_made
            else f"As a distillation teacher: `distillation.enabled=true distillation.checkpoint_path={where} "
            "distillation.full_cfg_path=CONFIG`, with the whole config of the run that it came from.",
        ),
        warnings=(
            *unlike_built(
                architecture, TRAINER, sorted(EPS.values()) if isinstance(architecture, RotaryViT) else (1e-6,)
            ),
            *_unbuilt(architecture, arch),
            *(disagreements(config, options, OPTIONS) if config else ()),
        ),
    )


def _key(name: str, *, distributed: bool) -> Key:
    own = name if name.startswith(("dino_head.", "ibot_head.")) else f"backbone.{name}"
    return (f"model.{own}",) if distributed else ("teacher", own)


def _lost(model: Model, config: RunConfig | None) -> tuple[str, ...]:
    """What a folder of Transformers has lost of the model; a config that asks for its norm is followed."""
    wants = config.flag("student.untie_global_and_local_cls_norm") if config else None
    return model.lost if wants is None else (NORM_OF_LOCAL_CROPS,) if wants else ()


def _options(
    architecture: Architecture, arch: str | None, sizes: Mapping[str, Mapping[str, int]], *, untied: bool
) -> Options:
    heads = {f"{head}.{name}": size for head, own in sizes.items() for name, size in own.items()}
    options: dict[str, object] = {"student.arch": arch} if arch else {}
    if isinstance(architecture, RotaryViT):
        norms = {eps: name for name, eps in EPS.items()}
        options |= {
            **{option: getattr(architecture, size) for option, size in SIZES_IN_CONFIG.items()},
            "student.ffn_layer": _layer(architecture, untied=untied),
            "student.mask_k_bias": architecture.key_bias_mask and architecture.qkv_bias,
            "student.layerscale": 1e-5 if architecture.layer_scale else None,
            **(
                {"student.norm_layer": norms[architecture.layer_norm_eps]}
                if architecture.layer_norm_eps in norms
                else {}
            ),
            "student.untie_cls_and_patch_norms": False,
            "student.untie_global_and_local_cls_norm": untied,
            ROPE_BASE: float(architecture.rope_theta),
        }
    return {**options, "ibot.separate_head": True, **heads}


def _layer(vit: RotaryViT, *, untied: bool) -> str:
    """`student.ffn_layer`: of the gated ones the first that gives this hidden width, if the builder is known.

    All of them compute the same. Models with a norm for local crops are trained as the 7B is, with swiglu64.
    """
    if vit.feed_forward == "mlp":
        return "mlp"
    usual = "swiglu64" if untied and vit.mlp_hidden % GATES["swiglu64"] == 0 else "swiglu"
    return next((name for name in (usual, *GATES) if _builder(vit, name)), usual)


def _builder(vit: RotaryViT, layer: str) -> str | None:
    """The builder that makes a ViT of these sizes with such feed-forward layers."""
    for name, (width, heads, depth, ratio) in BUILDERS.items():
        hidden = int(width * ratio)
        if layer in GATES:
            hidden = int(hidden * 2 / 3)
            hidden += -hidden % GATES[layer]
        if (width, heads, depth, hidden) == (vit.width, vit.heads, vit.depth, vit.mlp_hidden):
            return name
    return None


def _arch(architecture: Any) -> str | None:
    if isinstance(architecture, ConvNeXt):
        known = ((name, depths, [first * 2**i for i in range(4)]) for name, (first, depths) in CONVNEXTS.items())
        sizes = (architecture.depths, [*architecture.widths])
        return next((name for name, depths, widths in known if (depths, widths) == sizes), None)
    layers = ("mlp",) if architecture.feed_forward == "mlp" else tuple(GATES)
    return next((found for layer in layers if (found := _builder(architecture, layer))), None)


def _unbuilt(architecture: Any, arch: str | None) -> Iterator[str]:
    if arch is None:
        sizes = (
            f"depths {architecture.depths}, widths {architecture.widths}" if isinstance(architecture, ConvNeXt) else ""
        )
        yield unbuilt("dinov3", architecture, "vision_transformer.py or convnext.py", sizes)


def _width(architecture: Any) -> int:
    """How many features go into a head."""
    found: int = architecture.widths[-1] if isinstance(architecture, ConvNeXt) else architecture.width
    return found


def _wanted(architecture: Any, options: Options, *, distributed: bool) -> dict[Key, Shape]:
    """The tensors of the teacher that these options build, in the sizes of the model."""
    built = architecture
    if isinstance(architecture, RotaryViT):
        built = replace(
            architecture,
            **{size: options[option] for option, size in SIZES_IN_CONFIG.items()},
            feed_forward="mlp" if options["student.ffn_layer"] == "mlp" else "swiglu",
            layer_scale=options["student.layerscale"] is not None,
            key_bias_mask=options["student.mask_k_bias"],
            classifier=None,
        )
    wanted: dict[str, Shape] = built.tensors()
    for head in HEADS:
        sizes = {name: options[f"{head}.{name}"] for name in HEAD_SIZES}
        wanted |= head_of(head, _width(built), sizes)
    return {_key(name, distributed=distributed): shape for name, shape in wanted.items()}

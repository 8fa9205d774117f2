"""A start for `main_dino.py` of facebookresearch/dino: its `checkpoint.pth`, from which it resumes where it finds one.

It loads each part with `strict=False`, after the teacher was copied from the student. Both parts hold the model that
was chosen. The teacher is wrapped where the student has a BatchNorm, so its names stand under both spellings.
"""

from collections.abc import Iterator, Mapping

from dinoport.codebases.dino.vit import BUILDERS
from dinoport.codebases.drops import CENTER
from dinoport.codebases.start import Key, Options, Start, backbone_names, refuse_ranks, rules_of, unlike_built
from dinoport.errors import SettingError
from dinoport.formats.run_config import RunConfig
from dinoport.model import Model
from dinoport.networks.network import Architecture
from dinoport.networks.resnet.architecture import ResNet
from dinoport.request import Request
from dinoport.tensor import Shape

FILE = "checkpoint.pth"
TRAINER = "main_dino.py of facebookresearch/dino"
IMAGE_SIZE = 224
"""Pixels: `main_dino.py` builds no other table of positions."""

MLP_RATIO = 4

HIDDEN, BOTTLENECK = 2048, 256
"""Of the head that `main_dino.py` builds: no option changes them."""


def start(model: Model, request: Request, image_size: int, config: RunConfig | None) -> Start:
    """The start of a DINO. Raises SettingError for a config: the code has none."""
    if config is not None:
        raise SettingError(
            f"`config`: {TRAINER} has no config",
            found=config.where,
            next_step="leave it out: the options that have to agree stand in README.md",
        )
    refuse_ranks(request, f"{TRAINER} loads one file, whatever the number of its processes")
    names = backbone_names(model.architecture)
    beside = model.decoding.beside
    head = {name: tensor.shape for name, tensor in beside.items() if name.startswith(("head.mlp.", "head.last_layer."))}
    carried = [*head, *([CENTER] if head and CENTER in beside else [])]
    options = _options(model.architecture, head)
    shapes = {**model.architecture.tensors(), **{name: beside[name].shape for name in carried}}
    shapes = {name: shapes[name] for name in (*names, *carried)}
    if (positions := model.architecture.positions) is not None:
        rows = (image_size // model.architecture.cell) ** 2 + 1
        shapes[positions] = (1, rows, shapes[positions][2])
    words = " ".join(f"{name} {value}" for name, value in options.items())
    return Start(
        trainer=TRAINER,
        file=FILE,
        rules=rules_of(names, carried),
        keys={name: _keys(name) for name in (*names, *carried)},
        options=options,
        wanted=tuple(_wanted(shapes)),
        use=(
            "cp -r FOLDER RUN  # the trainer writes over checkpoint.pth after its first epoch",
            f"torchrun --nproc_per_node=1 main_dino.py {words} --data_path PICTURES --output_dir RUN",
        ),
        fresh=(
            "the optimiser, the scaler of half precision, the epoch and all schedules, warm-up included",
            *(() if head else ("the projection head: the source has none. Student and teacher start from the same",)),
            *(() if CENTER in carried else ("the center of the teacher's outputs",)),
        ),
        silent=(
            "The trainer prints what it loaded, and goes on whatever that was. Look for `=> loaded 'student'` and "
            "`=> loaded 'teacher'` with `missing_keys=[]`"
            + ("." if head else ", but for those that begin with `module.head.` or `head.`.")
            + " Any other missing key starts from random values. `unexpected_keys` lists the teacher's other spelling.",
            "Without `Found checkpoint at` there was no file under --output_dir, and training starts from scratch.",
        ),
        carried=tuple(carried),
        config=False,
        beside=(
            "The evaluations of facebookresearch/dino take the same file: "
            "`--pretrained_weights RUN/checkpoint.pth --checkpoint_key teacher`.",
        ),
        warnings=tuple(_warnings(model, head, image_size)),
    )


def _keys(name: str) -> tuple[Key, ...]:
    """Where the trainer looks for a tensor."""
    if name == CENTER:
        return (tuple(CENTER.split(".")),)
    own = _in_wrapper(name)
    return ("student", f"module.{own}"), ("teacher", own), ("teacher", f"module.{own}")


def _in_wrapper(name: str) -> str:
    """The name in a `MultiCropWrapper` of `utils.py`."""
    return name if name.startswith("head.") else f"backbone.{name}"


def _wanted(shapes: Mapping[str, Shape]) -> Iterator[dict[Key, Shape]]:
    """The tensors of both parts: the student is wrapped always, the teacher where the student has a BatchNorm."""
    wrapped = {_in_wrapper(name): shape for name, shape in shapes.items() if name != CENTER}
    for teacher in ("", "module."):
        model: dict[Key, Shape] = {("student", f"module.{name}"): shape for name, shape in wrapped.items()}
        model |= {("teacher", teacher + name): shape for name, shape in wrapped.items()}
        if CENTER in shapes:
            model |= dict.fromkeys(_keys(CENTER), shapes[CENTER])
        yield model


def _options(architecture: Architecture, head: Mapping[str, Shape]) -> Options:
    options: dict[str, object] = {"--arch": _arch(architecture) or "ARCH"}
    if architecture.positions:
        options["--patch_size"] = architecture.cell
    if head:
        options["--out_dim"] = head["head.last_layer.weight_v"][0] if "head.last_layer.weight_v" in head else "N"
        options["--use_bn_in_head"] = str("head.mlp.1.running_mean" in head).lower()
    return options


def _arch(architecture: Architecture) -> str | None:
    """The builder of `vision_transformer.py` or torchvision that makes this model, whatever its patch size."""
    if isinstance(architecture, ResNet):
        return "resnet50"
    sizes = {name: getattr(architecture, name) for name in ("width", "heads", "depth", "mlp_hidden", "qkv_bias")}
    for name, (width, heads, depth) in BUILDERS.items():
        usual = {"width": width, "heads": heads, "depth": depth, "mlp_hidden": MLP_RATIO * width, "qkv_bias": True}
        if sizes == usual:
            return name
    return None


def _warnings(model: Model, head: Mapping[str, Shape], image_size: int) -> Iterator[str]:
    architecture = model.architecture
    yield from unlike_built(architecture, TRAINER)
    if _arch(architecture) is None:
        yield (
            f"no builder of {TRAINER} makes this model ({model.family.title}, {_sizes(architecture)}): "
            "add one to vision_transformer.py, and give its name as --arch"
        )
    if architecture.positions and image_size != IMAGE_SIZE:
        yield (
            f"{TRAINER} builds models for {IMAGE_SIZE} pixels, and stops at the position table here, for {image_size}: "
            f"`image_size={IMAGE_SIZE}` resamples it"
        )
    last = head.get("head.last_layer.weight_v")
    if last and (last[1] != BOTTLENECK or head.get("head.mlp.0.weight", (HIDDEN,))[0] != HIDDEN):
        yield (
            f"the projection head has {head.get('head.mlp.0.weight', ('?',))[0]} hidden and {last[1]} bottleneck "
            f"features, where {TRAINER} builds {HIDDEN} and {BOTTLENECK}: it stops unless its DINOHead is changed"
        )


def _sizes(architecture: Architecture) -> str:
    names = ("width", "depth", "heads", "mlp_hidden", "qkv_bias")
    return ", ".join(f"{name} = {getattr(architecture, name)}" for name in names if hasattr(architecture, name))

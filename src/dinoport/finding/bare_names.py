"""A name on its way to the bare one: without what wrappers put in front of it and into it, and two of one name."""

import re
from collections.abc import Container, Mapping, Sequence
from typing import NamedTuple

from dinoport.finding.completeness import SKIPPED
from dinoport.formats.values import is_one
from dinoport.tensor import TensorRef

STAGES = "stages.0.downsample_layers.0.weight"
"""The first name of a ConvNeXt of Transformers."""

ANCHORS = (
    "patch_embed.proj.weight",
    "patch_embed.projection.weight",
    "conv_proj.weight",
    "layer1.0.conv3.weight",
    "4.0.conv3.weight",
    "downsample_layers.0.0.weight",
    "stages.0.blocks.0.conv_dw.weight",
    "embeddings.patch_embeddings.projection.weight",
    "embeddings.patch_embeddings.weight",
    "embedder.embedder.convolution.weight",
    "layer_norm.weight",
    STAGES,
)
"""Names of which a model that is read here has one. What stands in front of it stands in front of all its names."""


def anchor_of(name: str) -> str | None:
    """The one of them that a name is, or that it ends in below a lead."""
    if not f".{name}".endswith(_DOTTED):
        return None
    return next(anchor for anchor, dotted in zip(ANCHORS, _DOTTED, strict=True) if f".{name}".endswith(dotted))


_DOTTED = tuple(f".{anchor}" for anchor in ANCHORS)


HEADS = frozenset({
    "head", "heads", "fc", "classifier", "linear", "mlp_head", "cls_head", "projection_head", "proj_head", "projector",
})  # fmt: skip
"""How names of a user's own classifier or projection begin. One that no table has lies beside the backbone: no feature
passes it."""

CONTAINERS = frozenset({"model", "state_dict", "network", "net"})
"""Leading names that only say that a model follows."""

WRAPPERS = frozenset(
    {"module", "backbone", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_fpw_module"}
)
"""Names that a wrapper puts anywhere into a path: DistributedDataParallel, DINO's MultiCropWrapper, torch.compile,
FSDP, activation checkpointing. Upstream's own loaders delete `module.` and `backbone.` everywhere too."""

INNER, LAYERS = "model", re.compile(r"layer\.\d+\.|stages\.\d+\.(downsample_)?layers\.")
"""What Transformers puts in memory before the layers of DINOv3's classes alone: they stand beside nothing."""


Lead = tuple[str, ...]
"""The parts of a name in front of a model."""


def without_inner(lead: Lead, names: Container[str]) -> Lead:
    """A lead without the part that Transformers puts before the layers of a class alone, and not before its norm."""
    below, beside = (".".join((*each, "layer_norm.weight")) in names for each in (lead, lead[:-1]))
    is_inner = lead[-1:] == (INNER,) and ".".join((*lead, STAGES)) in names
    return lead[:-1] if is_inner and beside and not below else lead


class NamedTensor(NamedTuple):
    """A tensor on its way to its bare name; `removed` is what was stripped from the front."""

    full_name: str
    name: str
    removed: str
    tensor: TensorRef


def bare(path: tuple[str, ...], full_name: str) -> tuple[str | None, str, str]:
    """Branch, bare name and stripped prefix of one tensor; a branch of None where it belongs to no model."""
    branch = next((part for part in reversed(path) if part in BRANCHES), "")
    parts = full_name.split(".")
    removed: list[str] = []
    while len(parts) > 1 and (parts[0] in CONTAINERS or parts[0] in WRAPPERS or parts[0] in BRANCHES):
        if parts[0] in BRANCHES:
            branch = parts[0]
        removed.append(parts.pop(0))
    if parts[0] in SKIPPED:
        return None, full_name, ""
    kept = [part for part in parts[:-1] if part not in WRAPPERS]
    removed += [part for part in parts[:-1] if part in WRAPPERS]
    return branch, ".".join([*kept, parts[-1]]), "".join(f"{part}." for part in removed)


PART = re.compile(
    r"(?:cls|mask|reg|dist|register|storage)_tokens?|(?:patch|pos|rope)_embed|bias_mask|[qv]_bias|fc_norm"
    r"|downsample_layers|num_batches_tracked|running_(?:mean|var)|[^_]+"
)
"""Parts of the originals' names and timm's that have underscores of their own, and any other."""


RENAMED = re.compile(r"(\.ls[12])\.scale_factor$")
"""What OpenVLA calls `gamma`, a word that older versions of Transformers took for a norm's weight."""


def by_usual_names(tensors: Mapping[str, TensorRef]) -> tuple[dict[str, TensorRef], str]:
    """The tensors by names with dots and the usual layer scales, and a word on what was read so."""
    usual, note = (dict(tensors), "") if any(map(anchor_of, tensors)) else with_dots(tensors)
    names = {name: RENAMED.sub(r"\1.gamma", name) for name in usual}
    if len(set(names.values())) < len(names) or all(map(str.__eq__, names, names.values())):
        return usual, note
    return {names[name]: tensor for name, tensor in usual.items()}, "ls1.scale_factor read as ls1.gamma"


def with_dots(tensors: Mapping[str, TensorRef]) -> tuple[dict[str, TensorRef], str]:
    """The tensors by names with dots, and a word on what was read so; as they are where these begin no known model.

    The layouts stay as they are: names of JAX, whose kernels are transposed, begin none.
    """
    for joiner in "/_":
        names = {name: name.replace("/", ".") if joiner == "/" else ".".join(PART.findall(name)) for name in tensors}
        begins = any(map(anchor_of, names.values()))
        is_so = joiner == "/" or not any("." in name for name in tensors)
        if is_so and begins and any(map(str.__ne__, names, names.values())) and len(set(names.values())) == len(names):
            dotted = {names[name]: tensor for name, tensor in tensors.items()}
            return dotted, f"names joined by {joiner!r} read with dots"
    return dict(tensors), ""


BRANCHES = ("teacher", "student", "model_ema", "state_dict_ema", "ema", "gram_teacher")
"""Copies of one model that a training run keeps side by side, under the names that the DINO codebases give them."""

PREFERENCE = ("teacher", "state_dict_ema", "model_ema", "ema", "", "student")
"""Which branch is meant when none is asked for: the teacher is what upstream evaluates and publishes, and timm's
`load_state_dict(use_ema=True)` takes `state_dict_ema` before all others."""

DISTILLED = ("model_ema", "ema", "student", "teacher")
"""The same where the teacher is another, larger model that is only learnt from: `distillation` of DINOv3's
`train/ssl_meta_arch.py`, which evaluates and publishes `model_ema`."""

BY_SHAPES = "the model that was distilled: the teacher is another one, as its shapes show"
"""The reason for a choice that holds only where the teacher's names are known."""

ANOTHER_SIZE = 1 / 8
"""More than this part of two backbones' tensors has other shapes where one is larger: a wider MLP changes a fifth."""

TRAINED_HEADS = ("dino_head.", "ibot_head.", "head.")


def preference(branches: Mapping[str, Mapping[str, TensorRef]], told: bool | None) -> tuple[tuple[str, ...], str]:
    """The order of preference, and the reason for its first choice among `branches`.

    `told` is what the run's config says about distillation; shapes decide where it says nothing or no.
    """
    chosen = next((branch for branch in PREFERENCE if branch in branches), "")
    learner = next((branch for branch in DISTILLED[:-1] if branch in branches), None)
    if "teacher" in branches and learner:
        if told:
            return DISTILLED, "the model that was distilled: the run's config says that the teacher is another one"
        if _differ(branches["teacher"], branches[learner]):
            return DISTILLED, BY_SHAPES
    if chosen == "teacher":
        return PREFERENCE, "which upstream evaluates and publishes"
    return PREFERENCE, "which comes first among the copies here"


def _differ(teacher: Mapping[str, TensorRef], learner: Mapping[str, TensorRef]) -> bool:
    """Whether two backbones are of different sizes; heads, and buffers that one of them lacks, do not matter.

    Another width shows in nearly every shape. A single tensor of another shape is damage, and the teacher is refused;
    so is one without blocks or stages, whose names are not known. Learners under other names have none to compare.
    """
    shared = [name for name in teacher if name in learner and not name.startswith(TRAINED_HEADS)]
    differing = sum(teacher[name].shape != learner[name].shape for name in shared)
    has_blocks = any(name.startswith(("blocks.", "stages.")) for name in teacher)
    deeper = bool(shared) and has_blocks and _depth(teacher) != _depth(learner)
    return deeper or differing > len(shared) * ANOTHER_SIZE


def _depth(tensors: Mapping[str, TensorRef]) -> int:
    return len({name.partition(".")[2].partition(".")[0] for name in tensors if name.startswith("blocks.")})


def parted(names: Sequence[NamedTensor]) -> list[tuple[Lead | None, Sequence[NamedTensor]]]:
    """The names of each model in a dict that holds two whose bare names are the same, and its lead; the rest last.

    A dict without such models stays one, and has no lead. Two that are one in the file are two models as well: each is
    asked for by its own prefix.
    """
    leads = _leads(names)
    if len(leads) < 2:
        return [(None, names)]
    groups: dict[Lead | None, list[NamedTensor]] = {lead: [] for lead in sorted(leads)}
    rest: list[NamedTensor] = []
    full = {each.full_name for each in names}
    for each in names:
        parts = tuple(each.full_name.split("."))
        counts = (count for count in range(len(parts) - 1, -1, -1) if parts[:count] in leads)
        lead = next((parts[:count] for count in counts if not _is_outer(parts, count, leads, full)), None)
        if lead is None:
            rest.append(each)
        else:
            groups[lead].append(_below(each, lead, parts[len(lead) :]))
    return [*groups.items(), *([(None, rest)] if rest else [])]


def _leads(names: Sequence[NamedTensor]) -> set[Lead]:
    """What stands in front of each model, where one lies in another's part, or wears other wrappers than another."""
    anchored = [each for each in names if anchor_of(each.name) not in (None, OF_LAYERS)]
    found = {each.full_name: _lead(each.full_name.split(".")) for each in anchored}
    if len(set(found.values())) < 2:
        return set()
    full = {each.full_name for each in names}
    blocks = {tuple(each.full_name[: block.start()].split(".")[:-1]) for each in names
              for block in BLOCK.finditer(each.full_name)}  # fmt: skip
    above = {block[:count] for block in blocks for count in range(len(block) + 1)}
    whole, removed, left = set(), set(), set()
    for each in anchored:
        lead = without_inner(found[each.full_name], full)
        if lead in above:
            whole.add(lead)
            removed.add(each.removed)
            left.add(each.name.removesuffix(anchor_of(each.name) or ""))
    if len(removed) > 1 or len(left) < len(whole):  # what is left of one's names may be the other's, or a part of it
        return whole
    outer = {lead[:count] for lead in whole for count in range(len(lead))} & whole
    return {lead for lead in whole if lead in outer or any(lead[:count] in outer for count in range(len(lead)))}


BLOCK = re.compile(r"(?<![^.])(?:blocks|layers?|stages|downsample_layers|layer1|[4-7])\.0\.|encoder_layer_0\.")
"""The first block of a model, without which it is none."""

OF_LAYERS = "layer_norm.weight"
"""Of those by which a model is told, the one that a layer beside it may have too."""


OF_ENCODER = re.compile(
    r"encoder\.(layer\.\d+\.(attention\.(attention|output)|layernorm_\w+|intermediate|output|(?P<either>norm\d|layer_scale\d)"
    r"|mlp\.fc\d)\.|stages\.\d+\.layers\.\d+\.(layer|shortcut)\.)"
)
"""The blocks of Transformers' ViTs and ResNets, below whose `encoder` another may lie. `either` is in DINOv3's too."""

OF_DINOV3 = ("layer", "0", "attention", "q_proj", "weight")


def _is_outer(parts: Lead, count: int, leads: Container[Lead], names: Container[str]) -> bool:
    """Whether a name below a lead is that of a block of the model around it."""
    found = OF_ENCODER.match(".".join(parts[count - 1 :])) if parts[: count - 1] in leads else None
    return found is not None and not (found["either"] and ".".join((*parts[:count], *OF_DINOV3)) in names)


def _lead(parts: Sequence[str]) -> Lead:
    """The parts in front of the last ones that are a model's own."""
    for count in range(len(parts) - 1, -1, -1):
        own = [part for part in parts[count:] if part not in WRAPPERS]
        if parts[count] not in WRAPPERS and ".".join(own) in ANCHORS:
            return tuple(parts[:count])
    return ()


def _below(each: NamedTensor, lead: Lead, parts: Sequence[str]) -> NamedTensor:
    """A tensor by its name below a lead, without what wrappers put into that."""
    begin = 1 if parts[0] == INNER and len(parts) > 1 else 0
    own = [part for part in parts[begin:-1] if part not in WRAPPERS]
    removed = [*lead, *parts[:begin], *(part for part in parts[begin:-1] if part in WRAPPERS)]
    return each._replace(name=".".join([*own, parts[-1]]), removed="".join(f"{part}." for part in removed))


def told_apart(names: Sequence[NamedTensor]) -> Sequence[NamedTensor]:
    """Layers of one name that lie beside a backbone keep their whole names, and its own its bare ones.

    All stay as they are where two of one shape may be the backbone's own.
    """
    first: dict[str, NamedTensor] = {}
    twice = {
        each.name
        for each in names
        if (other := first.setdefault(each.name, each)) is not each and not is_one(other.tensor, each.tensor)
    }
    bare = {each.removed for each in names if each.name in ANCHORS}
    backbones = bare or {each.removed for each in names if anchor_of(each.name)}
    own = {each.name for each in names if each.name in twice and each.removed in backbones}
    shapes = {(each.name, each.tensor.shape) for each in names if each.removed in backbones}
    doubtful = any((each.name, each.tensor.shape) in shapes for each in names
                   if each.name in own and each.removed not in backbones)  # fmt: skip
    if not backbones or doubtful or (own and len(bare) != 1):
        return names
    if any(each.name in own and not each.removed for each in names):  # which has no longer name to be told by
        return [each._replace(name=each.full_name) if each.removed in bare else each for each in names]
    theirs = {id(each) for each in names if each.name in twice and not (each.name in own and each.removed in bare)}
    return [each._replace(name=each.full_name) if id(each) in theirs else each for each in names]

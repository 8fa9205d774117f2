"""What the modules around a backbone say of it, and what they compute otherwise than its tensors show."""

import re
from collections.abc import Iterable, Iterator, Mapping

from dinoport.codebases.codebase import Reading
from dinoport.codebases.vit_sizes import PATCHES, refuse_oblong
from dinoport.errors import UnknownModelError
from dinoport.finding.unwrap import StateDict
from dinoport.formats.checkpoint import Checkpoint
from dinoport.formats.torch.modules import (
    KIND,
    MAX_MODULE_DEPTH,
    POOL,
    SIDES,
    deciding,
    is_module,
    module_state_dict,
    named_modules,
)
from dinoport.formats.torch.stand_ins import Opaque, walked
from dinoport.formats.values import view_of
from dinoport.mapping.decoding import Decoding
from dinoport.model import Family, Origin, Stated
from dinoport.networks.interpolation import INTERPOLATIONS, Interpolation
from dinoport.networks.network import Architecture

Attributes = Mapping[str, Mapping[str, object]]
"""Plain attributes by the path of the module that has them."""

HEADS = ("num_heads", "num_attention_heads")

ROTATIONS = ("rope_theta", "base", "temperature")
"""How the modules of Transformers, facebookresearch/dinov3 and timm call the base of rotary periods."""

MAX_ABOVE = 3
"""How far above its tensors a module may stand that knows the number of heads: a projection in an attention."""


def attributes_of(checkpoint: Checkpoint, state: StateDict) -> Attributes:
    """Those of a module in memory; else of the pickled modules of the file that hold the very tensors of `state`.

    They are given by the paths that the modules have around these tensors. What two of them say otherwise says nothing.
    """
    if checkpoint.attributes:
        return checkpoint.attributes
    own = {view: state.originals.get(name, name) for name, tensor in state.tensors.items()
           if name not in state.beside and (view := view_of(tensor))}  # fmt: skip
    found: dict[str, dict[str, object]] = {}
    pickled = {id(node): node for _, node in walked(checkpoint.tree, MAX_MODULE_DEPTH)
               if isinstance(node, Opaque) and is_module(node)}  # fmt: skip
    for module in pickled.values():
        held = [(name, view_of(tensor)) for name, tensor in module_state_dict(module).items()]
        if own and own.keys() <= {view for _, view in held}:
            nodes = dict(named_modules(module))
            paths = {pair for name, view in held if view in own for pair in _upwards(name, own[view])}
            for theirs, ours in paths:
                for below, node in _beside_tensors(nodes, theirs):
                    said, known = _attributes(node), found.setdefault(f"{ours}{below}".removeprefix("."), {})
                    known |= {name: value if known.get(name, value) == value else None for name, value in said.items()}
    return found


def _beside_tensors(nodes: Mapping[str, Opaque], path: str) -> Iterator[tuple[str, Opaque]]:
    """A module, and those in it that have no tensors, by what follows its path."""
    yield "", nodes[path]
    for inner, child in named_modules(nodes[path]):
        if inner and "." not in inner and not module_state_dict(child):
            yield f".{inner}", child


def _upwards(theirs: str, ours: str) -> Iterator[tuple[str, str]]:
    """The modules that a tensor lies in, by both of its names, as far up as these are alike."""
    while theirs and theirs.rpartition(".")[2] == ours.rpartition(".")[2]:
        theirs, ours = theirs.rpartition(".")[0], ours.rpartition(".")[0]
        yield theirs, ours


def _attributes(module: Opaque) -> dict[str, object]:
    state = module.state if isinstance(module.state, dict) else {}
    return deciding(module.name, state.get)


def stated_by(attributes: Attributes, state: StateDict) -> dict[str, Stated]:
    """The fields of a request that the modules of this state dict answer alike; what they differ in says nothing."""
    if not attributes:
        return {}
    root = ".".join(state.lead)
    modules = {original.rpartition(".")[0] for original in state.originals.values()}
    modules = {path for path in modules if _is_below(path, root)}
    rotating = {path for path in attributes if path.rpartition(".")[2].startswith("rope") and _is_below(path, root)}
    found = {
        "num_heads": _alike(attributes, {up for path in modules for up in _above(path, root)}, HEADS),
        "rope_theta": _alike(attributes, rotating, ROTATIONS),
        "layer_norm_eps": _alike(attributes, modules, ("eps",)),
        "interpolation": _interpolation(attributes.get(root, {})),
    }
    return {name: each for name, each in found.items() if each is not None}


def other_head_by(attributes: Attributes, state: StateDict) -> str | None:
    """Why the classifier of a module of timm's is not the one that DINO's code computes; one with a norm shows it."""
    if not attributes:
        return None
    from dinoport.codebases.timm.arguments import other_head

    pool = attributes.get(".".join(state.lead), {}).get(POOL)
    normed = any(name.startswith("fc_norm.") for name in state.tensors)
    return None if normed else other_head("", pool, says="the module")


def _is_below(path: str, root: str) -> bool:
    return not root or f"{path}.".startswith(f"{root}.")


def stated_by_copies(checkpoint: Checkpoint, state: StateDict, others: Iterable[StateDict]) -> dict[str, Stated]:
    """What the modules of another copy of the same sizes say, as a teacher's do of its student: it is assumed."""
    for other in others:
        if other.shapes == state.shapes and (said := stated_by(attributes_of(checkpoint, other), other)):
            return {
                name: each._replace(origin=Origin.ASSUMED, reason=f"as {other.label} has it", doubted=True)
                for name, each in said.items()
            }
    return {}


def _above(path: str, root: str) -> Iterator[str]:
    """A module and those that it lies in, as far as they are the backbone's own."""
    for _ in range(MAX_ABOVE):
        if path == root or not path:
            return
        yield path
        path = path.rpartition(".")[0]


def _alike(attributes: Attributes, modules: set[str], names: tuple[str, ...]) -> Stated | None:
    """The one value that all modules which have the attribute give it."""
    found = [(attributes[path][name], f"{path}.{name}") for path in sorted(modules) for name in names
             if attributes.get(path, {}).get(name) is not None]  # fmt: skip
    if not found or len({value for value, _ in found}) > 1:
        return None
    value, place = found[0]
    return Stated(value, f"{place} of the module")


def _interpolation(own: Mapping[str, object]) -> Stated | None:
    """How facebookresearch/dinov2's module resamples its table."""
    offset, antialias = own.get("interpolate_offset"), own.get("interpolate_antialias")
    if not isinstance(offset, int | float) or not isinstance(antialias, bool):
        return None
    rule = Interpolation(float(offset), antialias)
    name = next((name for name, known in INTERPOLATIONS.items() if known == rule), None)
    return Stated(name, "interpolate_offset and interpolate_antialias of the module") if name else None


GELU, SILU, TANH = "exact gelu", "silu", "gelu by tanh"

ACTIVATIONS: Mapping[str, str] = {
    **dict.fromkeys(("GELU", "GELUActivation", "GELU, none"), GELU),
    **dict.fromkeys(("GELU, tanh", "GELUTanh", "NewGELUActivation", "PytorchGELUTanh", "FastGELUActivation"), TANH),
    **dict.fromkeys(("QuickGELU", "QuickGELUActivation", "ClippedGELUActivation"), "another gelu"),
    **dict.fromkeys(("SiLU", "Swish", "SiLUActivation"), SILU),
    **{name: name.lower() for name in ("ReLU", "ReLU6", "LeakyReLU", "ELU", "CELU", "SELU", "PReLU", "RReLU")},
    **{name: name.lower() for name in ("Mish", "MishActivation", "Tanh", "Sigmoid", "Hardswish", "Hardsigmoid")},
    **{name: name.lower() for name in ("Softplus", "Softsign", "ReLUSquaredActivation", "SquaredReLU", "StarReLU")},
}
"""What an activation is, by the class of its module, in torch, timm and Transformers."""

LAYER = re.compile(r".*?\d+(?=\.)")
"""What a name has up to its first number: a numbered layer passes all features on, a part beside them may not."""

TOLD = (("heads", "heads", HEADS), ("eps", "layer_norm_eps", ("eps",)))
"""Settings that modules have by these attributes, and what the architecture calls them."""

ROTARY = re.compile(r"rope|rotary", re.IGNORECASE)

CLOSE = 1e-6

NO_PADDING = "valid"
"""Another word of torch's for a padding of 0."""


def refuse_unseen(
    where: str,
    family: Family,
    state: StateDict,
    attributes: Attributes,
    decoding: Decoding,
    reading: Reading,
) -> None:
    """Raise UnknownModelError where a module of this backbone computes what its network does not."""
    own = {name: step.spans[0].tensor.name for name, step in decoding.steps.items() if step.spans}
    places = {name: state.originals.get(each, each).rpartition(".")[0] for name, each in own.items()}
    begin = len(".".join(state.lead))
    layers = {_layer(f"{place}.", begin) for place in places.values()} - {""}
    usual = next((str(each.value) for each in reading.settings if each.name == "activation"), "")
    given = {each.name for each in reading.settings if each.origin is Origin.GIVEN}
    told: dict[tuple[str, ...], object] = {
        names: getattr(reading.architecture, size, None) for setting, size, names in TOLD if setting not in given
    }
    patches = places.get(PATCHES, "").rpartition(".")[0]
    refuse_oblong(where, f"{patches}.{SIDES}", attributes.get(patches, {}).get(SIDES), reading.architecture)
    last = places.get("norm.weight")
    found = [(path, *each) for path, said in sorted(attributes.items())
             if path == last or _layer(f"{path}.", begin) in layers
             for each in (*_otherwise(said, usual, reading.architecture), *_told(said, told))]  # fmt: skip
    found += [*_walks(attributes, places, reading.architecture), *_rotates(attributes, state, reading.architecture)]
    for path, expected, other in found:
        raise UnknownModelError(
            f"{where} has the tensors of a {family.title}, and its modules compute otherwise",
            where=path,
            expected=expected,
            found=other,
            cause="a model that was built with other parts than its tensors show",
            next_step="keep it in its own code; if its features pass no such module, give its state_dict() alone",
        )


def _told(own: Mapping[str, object], told: Mapping[tuple[str, ...], object]) -> Iterator[tuple[str, str]]:
    """A number of heads or an eps that the model is not taken to have: that of one module, where they differ."""
    for names, expected in told.items():
        for name in names:
            if None not in (expected, own.get(name)) and own[name] != expected:
                yield f"{name} = {expected}", f"{name} = {own[name]}"


def _layer(path: str, begin: int) -> str:
    """The numbered layer that a path leads into, behind its first characters; empty where it leads into none."""
    found = LAYER.match(path, begin)
    return path[: found.end()] if found else ""


def _walks(
    attributes: Attributes, places: Mapping[str, str], architecture: Architecture
) -> Iterator[tuple[str, str, str]]:
    """Convolutions that step otherwise over a picture than the network's, or over it with holes."""
    shapes = architecture.tensors()
    for name, step in architecture.strides.items():
        own = attributes.get(places.get(name, ""), {})
        usual: dict[str, object] = {"stride": (step, step), "dilation": (1, 1)}
        usual |= {"padding": (0, 0)} if shapes[name][-1] == step else {}
        for what, value in usual.items():
            if own.get(what, value) not in (value, NO_PADDING):
                yield places[name], f"{what} {value}", f"{what} {own[what]}"


def _rotates(attributes: Attributes, state: StateDict, architecture: Architecture) -> Iterator[tuple[str, str, str]]:
    """Rotary positions of another base: their periods are computed from it, and stand in few files."""
    usual, root = float(getattr(architecture, "rope_theta", 0)), ".".join(state.lead)
    for path, own in sorted(attributes.items()) if usual else ():
        base = next((own[name] for name in ROTATIONS if name in own), None)
        is_own = ROTARY.search(str(own.get(KIND, ""))) and path.startswith(f"{root}." if root else "")
        if is_own and isinstance(base, int | float) and abs(base - usual) > CLOSE * usual:
            yield path, f"rotation of base {usual:g}", f"base {base:g}"


def _otherwise(own: Mapping[str, object], usual: str, architecture: Architecture) -> Iterator[tuple[str, str]]:
    """What the network has, and what a module has in its place."""
    kind = str(own.get(KIND, ""))
    if usual and kind in ACTIVATIONS and not usual.startswith(ACTIVATIONS[kind]):
        yield usual, kind
    if "norm" in kind.lower():
        yield "norms that have weights", f"{kind} without weights"
    if ROTARY.search(kind):
        yield "no rotation within a layer", kind
    if isinstance(window := own.get("window_size"), int) and window > 0:
        yield "attention among all patches", f"window_size {window}"
    width, scale = getattr(architecture, "width", 0), own.get("scale", own.get("scaling"))
    heads = next((own[name] for name in HEADS if name in own), None)
    if width and isinstance(heads, int) and heads > 0 and isinstance(scale, int | float):
        told = (width / heads) ** -0.5
        if abs(scale - told) > CLOSE * told:
            yield f"queries times {told:g}", f"queries times {scale:g}"

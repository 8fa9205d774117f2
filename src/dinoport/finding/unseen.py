"""What a backbone's modules compute otherwise than its tensors show: another activation, a norm without weights."""

import re
from collections.abc import Iterator, Mapping

from dinoport.codebases.codebase import Reading
from dinoport.errors import UnknownModelError
from dinoport.finding.attributes import HEADS, ROTATIONS, Attributes
from dinoport.finding.unwrap import StateDict
from dinoport.formats.torch.modules import KIND
from dinoport.mapping.decoding import Decoding
from dinoport.model import Family, Origin
from dinoport.networks.network import Architecture

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

"""A pickled nn.Module, read as data: the tensors under the names that its state_dict would have."""

from collections.abc import Callable, Iterator, Mapping

from dinoport.files.names import MAX_NAME_CHARACTERS, short_text
from dinoport.formats.torch.rebuilding import MAX_TENSORS
from dinoport.formats.torch.stand_ins import Opaque, reached, walked
from dinoport.tensor import TensorRef

KINDS = frozenset({"_parameters", "_buffers", "_modules"})
"""What an nn.Module keeps its tensors and other modules in."""

HOOKS = ("_state_dict_pre_hooks", "_state_dict_hooks")
"""Of an nn.Module: functions that may change what its state_dict holds."""

METHODS = ("state_dict", "_save_to_state_dict")
"""Of an nn.Module: what an attribute of the same name would stand for when its state_dict is made."""

SETTINGS = (
    *("num_heads", "num_attention_heads", "interpolate_offset", "interpolate_antialias"),
    *("scale", "scaling", "window_size", "base", "rope_theta", "temperature"),
)
"""Attributes of modules that decide what they compute, beside the eps of a LayerNorm, and stand in no tensor."""

POOL = "global_pool"
"""What a classifier of timm's looks at."""

SIDES = "img_size"
"""Of the pictures that the patches of a ViT were made for."""

STEPS = ("stride", "padding", "dilation")
"""How a convolution walks over a picture, which stands in no tensor."""

KIND = "kind"
"""What the class of a module without tensors is called: an activation, a dropout, a norm that learns nothing."""

MAX_MODULE_DEPTH = 64
"""Modules in modules of a pickled nn.Module; a ViT has five."""


def module_state_dict(module: Opaque) -> dict[str, TensorRef]:
    """The tensors of a pickled nn.Module by name; empty for other objects.

    Raises ValueError where modules nest or share more than modules do, and for what is not read as a tensor.
    """
    found: dict[str, TensorRef] = {}
    pending: list[tuple[str, object, int]] = [("", module, 0)]
    steps = 0
    while pending:
        prefix, node, depth = pending.pop()
        if not isinstance(node, Opaque) or not isinstance(node.state, dict):
            continue
        if not is_module(node):
            continue
        _refuse_own_state_dict(node.state)
        own, modules = _own_tensors(node.state), _children(node.state, "_modules")
        steps += len(own) + len(modules)
        if steps > MAX_TENSORS or depth > MAX_MODULE_DEPTH or len(prefix) > MAX_NAME_CHARACTERS:
            raise ValueError("modules that nest too deep or share too much")
        named = {f"{prefix}{name}": child for name, child in own.items()}
        if twice := named.keys() & found.keys():
            raise ValueError(f"two tensors of the name {min(twice)[:100]}")
        found |= named
        if not all(child is None or is_module(child) for child in modules.values()):
            raise ValueError(f"a module within {prefix or 'a module'} that is not a module")
        pending += [(f"{prefix}{name}.", child, depth + 1) for name, child in reversed(list(modules.items()))]
    return found


def _refuse_own_state_dict(state: Mapping[str, object]) -> None:
    """Raise ValueError for a module whose state_dict is not what an nn.Module's own methods make of its parts."""
    if given := [name for name in METHODS if name in state] + [name for name in HOOKS if state.get(name, {}) != {}]:
        raise ValueError(f"a module whose state_dict is made in its own way: it has {given[0]}")


def _own_tensors(state: Mapping[str, object]) -> dict[str, TensorRef]:
    """Parameters and buffers, but for those buffers that a state_dict leaves out."""
    left_out = state.get("_non_persistent_buffers_set") or ()
    if not isinstance(left_out, (set, list, tuple)):
        raise ValueError("buffers that are marked by something else than a set")
    found: dict[str, TensorRef] = {}
    for kind in ("_parameters", "_buffers"):
        for name, child in _children(state, kind).items():
            if child is None or (kind == "_buffers" and name in left_out):
                continue
            if not isinstance(child, TensorRef) or name in found:
                raise ValueError(f"a {kind[1:-1]} {name[:100]} that is not read as a tensor: {short_text(child)}")
            found[name] = child
    return found


def _children(state: Mapping[str, object], kind: str) -> Mapping[str, object]:
    children = state.get(kind)
    if not isinstance(children, dict) or not all(isinstance(name, str) for name in children):
        raise ValueError(f"{kind} that are not a dict of names")
    return children


def named_modules(module: Opaque) -> Iterator[tuple[str, Opaque]]:
    """A pickled module whose `module_state_dict` is known, and every module in it, by path."""
    pending = [("", module)]
    while pending:
        path, node = pending.pop()
        yield path, node
        children = _children(node.state, "_modules") if isinstance(node.state, dict) else {}
        pending += [(f"{path}.{name}".lstrip("."), each) for name, each in children.items() if isinstance(each, Opaque)]


def deciding(class_name: str, value_of: Callable[[str, None], object]) -> dict[str, object]:
    """What decides what a module computes: attributes, how it walks, and its KIND where it has no tensors."""
    kind = class_name.rpartition(".")[2]
    names = (*SETTINGS, *(("eps",) if "LayerNorm" in kind else ()))
    own = {name: value_of(name, None) for name in names}
    found: dict[str, object] = {name: value for name, value in own.items() if isinstance(value, int | float)}
    if isinstance(pool := value_of(POOL, None), str):
        found[POOL] = pool
    if isinstance(sides := value_of(SIDES, None), tuple):
        found[SIDES] = sides
    if kind == "Conv2d":
        found |= {name: value for name in STEPS if isinstance(value := value_of(name, None), tuple | str)}
    held = [value_of(part, None) for part in ("_modules", "_parameters")]
    if not any(each is not None for part in held if isinstance(part, Mapping) for each in part.values()):
        way = value_of("approximate", None)
        found[KIND] = f"{kind}, {way}" if isinstance(way, str) and way != "none" else kind
    return found


def unread_parts(tree: object) -> Iterator[tuple[str, str]]:
    """Objects in the dicts of a file that hold tensors and are not modules: where each lies, and what it is."""
    seen: set[int] = set()
    for path, node in walked(tree, MAX_MODULE_DEPTH):
        if isinstance(node, Opaque) and not is_module(node) and any(map(_is_tensor, reached([node], seen))):
            where = path[:MAX_NAME_CHARACTERS] or "the file"
            yield where, f"an object of the class {node.name[:100]} with tensors in it"


def is_module(node: object) -> bool:
    return isinstance(node, Opaque) and isinstance(node.state, dict) and bool(KINDS & node.state.keys())


def _is_tensor(node: object) -> bool:
    return isinstance(node, TensorRef) or (isinstance(node, Opaque) and node.is_tensor)

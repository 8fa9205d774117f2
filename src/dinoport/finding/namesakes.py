"""Names that would become one once their wrappers are gone: of two models in one dict, or of layers beside a model."""

import re
from collections.abc import Container, Sequence

from dinoport.finding.bare_names import ANCHORS, INNER, WRAPPERS, Lead, NamedTensor, anchor_of, without_inner
from dinoport.formats.values import is_one


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

"""From an open checkpoint to the model that is meant: under canonical names, with its settings."""

from collections.abc import Mapping
from typing import NamedTuple

from dinoport.codebases.catalogue import naming_in
from dinoport.codebases.codebase import Naming
from dinoport.codebases.frameworks import said_in, signs_in
from dinoport.codebases.transformers.forms import class_name_of, is_known_class
from dinoport.errors import PlanError, SettingError, UnknownModelError
from dinoport.finding import statements
from dinoport.finding.adapters import without_adapters
from dinoport.finding.assembling import Grounds, assembled
from dinoport.finding.choosing import Found, choose
from dinoport.finding.completeness import refuse_amounts
from dinoport.finding.evidence import without_beside, without_unused
from dinoport.finding.faults import refuse_nearly
from dinoport.finding.heads import HeadFile
from dinoport.finding.owner import whose
from dinoport.finding.places import layers_beside
from dinoport.finding.unwrap import state_dicts
from dinoport.formats.checkpoint import Checkpoint
from dinoport.model import Model, Wishes
from dinoport.request import Request
from dinoport.shown.calls import FILE, runnable
from dinoport.tensor import TensorRef


class Provenance(NamedTuple):
    """The place in a checkpoint that a model was read from. `others` are the other copies there, by their labels.

    `prefix` is what `--prefix` takes.
    """

    label: str
    notes: tuple[str, ...] = ()
    others: Mapping[str, Mapping[str, TensorRef]] | None = None
    prefix: str = ""


def read_model(
    checkpoint: Checkpoint,
    request: Request,
    head_file: HeadFile | None = None,
    claimed: frozenset[str] = frozenset(),
    *,
    weigh_heads: bool = False,
    published: str | None = None,
    recorded: str | None = None,
) -> tuple[Model, Provenance]:
    """The model of a checkpoint that `request` means, and where in it that lies.

    `claimed` are the fields of the request that only a folder says; `weigh_heads` holds the number of heads against the
    weights; `published` is the family of the published model that the file is beyond doubt, `recorded` the one that a
    folder says which is verified. Raises DinoportError where there is none, or where its settings are not known.
    """

    def as_folder() -> tuple[Model, Provenance]:
        from dinoport.codebases.transformers.reading import read_folder

        refuse_amounts(checkpoint, checkpoint.tensors.values())
        model = read_folder(checkpoint, request, published, weigh_heads=weigh_heads)
        return model, Provenance(model.title)

    if is_known_class(checkpoint.config or {}):
        return as_folder()
    said = said_in(checkpoint.where, checkpoint.tree, checkpoint.config)
    timm = statements.timm_config_of(checkpoint)
    named = naming_in("timm", timm.family) if timm and timm.family else None
    try:
        states = [without_adapters(checkpoint.where, state, request, said) for state in state_dicts(checkpoint)]
        key, prefix = request.checkpoint_key, request.prefix
        found = choose(checkpoint.where, states, key, prefix, named, signs_in(checkpoint.tree))
    except UnknownModelError:
        if class_name_of(checkpoint.config or {}):
            return as_folder()  # which says which class it holds
        raise
    if _is_another_class(checkpoint, found, request):
        return as_folder()
    said.refuse_strides(checkpoint.where, found.naming.family)
    found, told = whose(checkpoint, without_unused(found), request, published, recorded)
    grounds = Grounds(checkpoint, request, found, told, said, timm, head_file, claimed)
    try:
        model = assembled(grounds, weigh_heads=weigh_heads)
    except PlanError:
        refuse_nearly(checkpoint.where, found.state)
        raise
    state, others = found.state, {other.label: other.tensors for other in found.others}
    return model, Provenance(state.label, state.notes, others, state.prefix)


def model_in(checkpoint: Checkpoint) -> tuple[Naming | None, Mapping[str, TensorRef]]:
    """The tensors of the model in a file that is held against another, and by whose names.

    Of a file whose names are not known, the first state dict. Raises SettingError where it holds several models.
    """
    states = state_dicts(checkpoint)
    try:
        found = choose(checkpoint.where, states, None, signs=signs_in(checkpoint.tree))
    except (PlanError, UnknownModelError):
        return None, states[0].tensors
    except SettingError as error:
        first = str(error.found).partition(", ")[0]
        order = runnable("convert", checkpoint.where, FILE, to="original", prefix=first)
        raise SettingError(
            error.what,
            expected="a file of one model, as FOLDER",
            found=error.found,
            next_step=f"{order}, and verify against what it wrote",
        ) from error
    tensors, *_ = without_beside(found.state, found.naming.code.FAMILY, None)
    layers = layers_beside(found.naming, found.state.shapes, Wishes(num_heads=1))
    return found.naming, {name: tensor for name, tensor in tensors.items() if name not in layers}


def _is_another_class(checkpoint: Checkpoint, found: Found, request: Request) -> bool:
    """Whether a folder of Transformers is, as a whole, of a class that is not read here, for all that its names fit.

    What is looked for inside a folder, or lies there under a prefix, may be a backbone of any class. EoMT has its
    backbone under bare names.
    """
    asked = request.checkpoint_key is not None or request.prefix is not None
    whole = found.naming.codebase == "Transformers" and not found.state.prefix
    name = class_name_of(checkpoint.config or {})
    return bool(whole and not asked and name and not name.startswith("Eomt"))


def unwrapped(checkpoint: Checkpoint) -> list[tuple[str, dict[str, TensorRef], tuple[str, ...]]]:
    """Every state dict of a checkpoint: what it is called, its tensors, and what was stripped from their names."""
    if is_known_class(checkpoint.config or {}):
        return [("a folder of Transformers", checkpoint.tensors, ())]
    return [(state.label, dict(state.tensors), state.notes) for state in state_dicts(checkpoint)]

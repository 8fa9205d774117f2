"""From an open checkpoint to the model that is meant: under canonical names, with its settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from dinoport.codebases.attribution import Told
from dinoport.codebases.catalogue import naming_in
from dinoport.codebases.codebase import Evidence, Naming, classifier_of
from dinoport.codebases.frameworks import Said, said_in, signs_in
from dinoport.codebases.record import lost_by_report, stated_by_report, unlike_original
from dinoport.codebases.refusal import refusal
from dinoport.codebases.transformers.forms import class_name_of, is_known_class
from dinoport.errors import PlanError, SettingError, UnknownModelError
from dinoport.finding import statements
from dinoport.finding.adapters import without_adapters
from dinoport.finding.attributes import attributes_of, other_head_by, refuse_unseen, stated_by, stated_by_copies
from dinoport.finding.choosing import Found, choose
from dinoport.finding.completeness import gaps, refuse_amounts
from dinoport.finding.evidence import decoded, read, under_own_names, with_head, without_beside, without_unused
from dinoport.finding.faults import refuse_nearly
from dinoport.finding.heads import Head, HeadFile
from dinoport.finding.owner import whose
from dinoport.finding.places import layers_beside
from dinoport.finding.remarks import of_branches, of_names, of_the_run, of_unnamed, of_wholes
from dinoport.finding.strays import of_built_in, of_host, refuse_lost, refuse_strays
from dinoport.finding.unwrap import state_dicts, training_arguments
from dinoport.formats.checkpoint import Checkpoint
from dinoport.model import Family, Model, Origin, Stated, Wishes
from dinoport.request import Request
from dinoport.shown.calls import FILE, runnable
from dinoport.tensor import TensorRef

if TYPE_CHECKING:
    from dinoport.codebases.timm.config import TimmConfig


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
    as_folder = partial(_of_folder, checkpoint, request, published, weigh_heads=weigh_heads)
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
    try:
        return _model_in(checkpoint, request, found, told, said, timm, head_file, claimed, weigh_heads=weigh_heads)
    except PlanError:
        refuse_nearly(checkpoint.where, found.state)
        raise


def _model_in(
    checkpoint: Checkpoint,
    request: Request,
    found: Found,
    told: Told,
    said: Said,
    timm: TimmConfig | None,
    head_file: HeadFile | None,
    claimed: frozenset[str],
    stated: Mapping[str, Stated] = {},
    *,
    weigh_heads: bool,
) -> tuple[Model, Provenance]:
    naming, state = found.naming, found.state
    ours = checkpoint.vouched
    attributes = attributes_of(checkpoint, state)
    wishes = statements.wishes_of(request, claimed, timm, said).filled(stated_by(attributes, state))
    wishes = wishes.filled(stated_by_copies(checkpoint, state, found.others))
    claimed_by_file = stated_by_report(ours, statements.claim_of(checkpoint))
    wishes = wishes.filled(statements.stated_by_config(checkpoint, found)).filled(claimed_by_file)
    wishes = wishes.filled(stated)
    family = naming.code.FAMILY
    other_head = said.other_head or (timm.other_head if timm else None) or other_head_by(attributes, state)
    place = decoded(checkpoint, found, wishes, request.class_name, other_head, timm)
    decoding, shapes = place.decoding, place.shapes
    classifier = (timm and timm.classifier) or classifier_of(shapes, family)
    own = classifier or ("classifier" if state.head else None)
    if head_file is not None:
        if own is not None:
            raise SettingError(
                f"{checkpoint.where} has a classifier of its own, and `head` would put another in its place",
                found=f"{own}.weight",
                next_step="leave `head` out",
            )
        classifier = family.classifiers[0] if family.classifiers else "head"
    elif state.head:
        classifier = family.classifiers[-1]
    transform = statements.transform_said(checkpoint, timm)
    evidence = Evidence(
        where=checkpoint.where,
        tensors=decoding.tensors,
        arguments=training_arguments(checkpoint),
        wishes=wishes,
        config=checkpoint.run,
        declared=frozenset(decoding.declared),
        classifier=classifier,
        preprocessing=transform.transform,
    )
    head = head_file.chosen(lambda each: read(naming, with_head(evidence, decoding, each)[0])) if head_file else None
    if head is not None:
        evidence, decoding = with_head(evidence, decoding, head)
    elif state.head:
        beside_it, decoding = with_head(evidence, decoding, Head("classifier", state.head, ()))
        evidence = replace(beside_it, head=None)
    users = said.users.taken(wishes.stated) if said.users else None
    reading = read(naming, replace(evidence, weigh_heads=weigh_heads or bool(users and "num_heads" in users.stated)))
    if reading.stated:
        more = (head_file, claimed, reading.stated)
        return _model_in(checkpoint, request, found, told, said, timm, *more, weigh_heads=weigh_heads)
    if users:
        shown = reading.heads.found if reading.heads else None
        assumed = any(each.name == "heads" and each.origin is Origin.ASSUMED for each in reading.settings)
        users.refuse_unlike(checkpoint.where, reading.architecture, shown, assumed=assumed)
    refuse_unseen(checkpoint.where, family, state, attributes, decoding, reading)
    whose_it_is = told.setting_beside(reading.settings)
    by_host = of_host(state.lead, place.outside, reading.architecture)
    doubts = [*filter(None, (whose_it_is,)), *state.doubts, *by_host]
    if reading.problems:
        raise refusal(checkpoint.where, family, state.label, under_own_names(reading.problems, classifier))
    unlike_timm: tuple[str, ...] = ()
    if timm:
        from dinoport.codebases.timm.contradictions import held_against

        unlike_timm = held_against(checkpoint.where, timm, reading.architecture, request, wishes)
    refuse_lost(checkpoint.where, found, reading.architecture, wishes)
    refuse_strays(checkpoint.where, found, reading.architecture, place.outside, shapes, wishes)
    holder = head_file.checkpoint if head and head_file else checkpoint
    labels, words = statements.stored_labels(holder, reading.architecture.classifier)
    labels = (timm and timm.labels) or labels
    record = timm.record if timm else {}
    unlike = unlike_original(reading.architecture, record, *_made(checkpoint, request)) if record else ()
    remarks = (
        *checkpoint.remarks,
        *of_names(naming, decoding),
        *place.remarks,
        *state.remarks,
        *(head.remarks if head else ()),
        *reading.remarks,
        *of_wholes(place.wholes, decoding, request),
        *told.remarks,
        *words,
        *transform.untaken,
        *of_branches(found, request.checkpoint_key),
        *of_unnamed(checkpoint, found),
        *of_the_run(checkpoint),
        *(timm.remarks if timm else ()),
        *unlike,
        *(said.users.remarks(reading.architecture) if said.users else ()),
    )
    statistics = {**({} if timm or ours else statements.buffered(state)), **said.stated}
    original: Family = getattr(naming.code, "original", family)
    return Model(
        where=checkpoint.where,
        title=str(original),
        family=original,
        architecture=reading.architecture,
        decoding=decoding,
        settings=(*doubts, *reading.settings),
        preprocessing=statements.with_transform(reading.preprocessing or family.preprocessing, transform, statistics),
        classifier=None if classifier == getattr(naming.code, "classifier", "") else classifier,
        labels=labels,
        record=record if timm else lost_by_report(ours),
        remarks=remarks,
        heads=reading.heads,
        warnings=(
            *(
                f"a tensor that is not here was taken as absent, but may lie elsewhere: {gap}"
                for gap in gaps(checkpoint)
            ),
            *of_built_in([*place.outside, *(each.name for each in decoding.aside)]),
            *(said.warnings or statements.from_blue(statistics)),
            *(timm.warnings if timm else ()),
            *unlike_timm,
            *statements.overruled(wishes, reading),
            *reading.warnings,
        ),
        contradicted=tuple(statements.contradicted(wishes, reading)),
    ), Provenance(state.label, state.notes, {other.label: other.tensors for other in found.others}, state.prefix)


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


def _of_folder(
    checkpoint: Checkpoint, request: Request, published: str | None, *, weigh_heads: bool
) -> tuple[Model, Provenance]:
    from dinoport.codebases.transformers.reading import read_folder

    refuse_amounts(checkpoint, checkpoint.tensors.values())
    model = read_folder(
        checkpoint.where,
        checkpoint.config or {},
        checkpoint.tensors,
        *_made(checkpoint, request),
        processor=checkpoint.processor,
        published=published,
        codebase=request.codebase,
        weigh_heads=weigh_heads,
        features=request.class_name not in (None, class_name_of(checkpoint.config or {}))
        or request.to in ("timm", "training"),
    )
    return replace(model, remarks=(*checkpoint.remarks, *model.remarks)), Provenance(model.title)


def _made(checkpoint: Checkpoint, request: Request) -> tuple[Mapping[str, object], object]:
    """What a folder's report says that it was made with, and what the names of its source wore.

    A start for training has the names of every grouping.
    """
    report = checkpoint.report or {}
    asked, source = (found if isinstance(found := report.get(name), Mapping) else {} for name in ("request", "source"))
    return asked, None if request.to == "training" else source.get("stripped")

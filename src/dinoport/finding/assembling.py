"""From what was found in a checkpoint to its model: each setting with its origin, what is refused, and what is said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from dinoport.codebases.attribution import Told
from dinoport.codebases.codebase import Evidence, Reading, classifier_of
from dinoport.codebases.frameworks import Said
from dinoport.codebases.record import lost_by_report, made_with, stated_by_report, unlike_original
from dinoport.codebases.refusal import refusal
from dinoport.errors import SettingError
from dinoport.finding import statements
from dinoport.finding.attributes import (
    Attributes,
    attributes_of,
    other_head_by,
    refuse_unseen,
    stated_by,
    stated_by_copies,
)
from dinoport.finding.choosing import Found
from dinoport.finding.completeness import gaps
from dinoport.finding.evidence import Decoded, decoded, read, under_own_names, with_head
from dinoport.finding.heads import Head, HeadFile
from dinoport.finding.remarks import of_branches, of_names, of_the_run, of_unnamed, of_wholes
from dinoport.finding.strays import of_built_in, of_host, refuse_lost, refuse_strays
from dinoport.formats.checkpoint import Checkpoint
from dinoport.mapping.decoding import Decoding
from dinoport.model import Family, Model, Origin, Stated, Wishes
from dinoport.networks.preprocessing import Preprocessing
from dinoport.request import Request

if TYPE_CHECKING:
    from dinoport.codebases.timm.config import TimmConfig


class Grounds(NamedTuple):
    """What a model is put together from: where it was found, whose it is, and what is said of it besides its tensors.

    `said` is what the file says besides its tensors, `timm` what a config.json of timm's says; `claimed` are the fields
    of the request that only a folder says, `stated` is what a first reading has found besides.
    """

    checkpoint: Checkpoint
    request: Request
    found: Found
    told: Told
    said: Said
    timm: TimmConfig | None
    head_file: HeadFile | None
    claimed: frozenset[str]
    stated: Mapping[str, Stated] = {}


def assembled(grounds: Grounds, *, weigh_heads: bool) -> Model:
    """The model that was found. `weigh_heads` holds the number of heads against the weights.

    Raises PlanError for tensors that no rule knows, and another DinoportError where what is said does not fit them.
    """
    checkpoint, request, found, told, said, timm, head_file, *_ = grounds
    where, naming, state, ours = checkpoint.where, found.naming, found.state, checkpoint.vouched
    family = naming.code.FAMILY
    attributes = attributes_of(checkpoint, state)
    wishes = _wishes(grounds, attributes)
    other_head = said.other_head or (timm.other_head if timm else None) or other_head_by(attributes, state)
    place = decoded(checkpoint, found, wishes, request.class_name, other_head, timm)
    classifier = _classifier(grounds, place)
    transform = statements.transform_said(checkpoint, timm)
    head, evidence, decoding = _evidence(grounds, place, wishes, classifier, transform.transform)
    reading = _reading(grounds, evidence, weigh_heads=weigh_heads)
    if (fitting := said.fitting(reading.architecture)) is not said:
        return assembled(grounds._replace(said=fitting), weigh_heads=weigh_heads)
    if reading.stated:
        return assembled(grounds._replace(stated=reading.stated), weigh_heads=weigh_heads)
    refuse_unseen(where, family, state, attributes, decoding, reading)
    whose_it_is = told.setting_beside(reading.settings)
    by_host = of_host(state.lead, place.outside, reading.architecture)
    doubts = [*filter(None, (whose_it_is,)), *state.doubts, *by_host]
    if reading.problems:
        raise refusal(where, family, state.label, under_own_names(reading.problems, classifier))
    unlike_timm: tuple[str, ...] = ()
    if timm:
        from dinoport.codebases.timm.contradictions import held_against

        unlike_timm = held_against(where, timm, reading.architecture, request, wishes)
    refuse_lost(where, found, reading.architecture, wishes)
    refuse_strays(where, found, reading.architecture, place.outside, place.shapes, wishes)
    holder = head_file.checkpoint if head and head_file else checkpoint
    labels, words = statements.stored_labels(holder, reading.architecture.classifier)
    labels = (timm and timm.labels) or labels
    record = timm.record if timm else {}
    unlike = unlike_original(reading.architecture, record, *made_with(checkpoint, request)) if record else ()
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
        where=where,
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
    )


def _wishes(grounds: Grounds, attributes: Attributes) -> Wishes:
    """What is said of the model besides its tensors: the user's word first, then the file's, then a report's."""
    checkpoint, found = grounds.checkpoint, grounds.found
    wishes = statements.wishes_of(grounds.request, grounds.claimed, grounds.timm, grounds.said)
    wishes = wishes.filled(stated_by(attributes, found.state))
    wishes = wishes.filled(stated_by_copies(checkpoint, found.state, found.others))
    claimed_by_file = stated_by_report(checkpoint.vouched, statements.claim_of(checkpoint))
    wishes = wishes.filled(claimed_by_file).filled(statements.stated_by_config(checkpoint, found))
    return wishes.filled(grounds.stated)


def _classifier(grounds: Grounds, place: Decoded) -> str | None:
    """What the layer is called that becomes the classifier. Raises SettingError for a second one."""
    state, family = grounds.found.state, grounds.found.naming.code.FAMILY
    classifier = (grounds.timm and grounds.timm.classifier) or classifier_of(place.shapes, family)
    own = classifier or ("classifier" if state.head else None)
    if grounds.head_file is not None:
        if own is not None:
            raise SettingError(
                f"{grounds.checkpoint.where} has a classifier of its own, and `head` would put another in its place",
                found=f"{own}.weight",
                next_step="leave `head` out",
            )
        return family.classifiers[0] if family.classifiers else "head"
    return family.classifiers[-1] if state.head else classifier


def _evidence(
    grounds: Grounds, place: Decoded, wishes: Wishes, classifier: str | None, transform: Preprocessing | None
) -> tuple[Head | None, Evidence, Decoding]:
    """What the settings are read from, and the tensors: with the chosen head of a file, or one beside the backbone."""
    naming, state, decoding = grounds.found.naming, grounds.found.state, place.decoding
    evidence = Evidence(
        where=grounds.checkpoint.where,
        tensors=decoding.tensors,
        arguments=statements.training_arguments(grounds.checkpoint),
        wishes=wishes,
        config=grounds.checkpoint.run,
        declared=frozenset(decoding.declared),
        classifier=classifier,
        preprocessing=transform,
    )
    if grounds.head_file:
        head = grounds.head_file.chosen(lambda each: read(naming, with_head(evidence, decoding, each)[0]))
        return head, *with_head(evidence, decoding, head)
    if state.head:
        beside_it, whole = with_head(evidence, decoding, Head("classifier", state.head, ()))
        return None, replace(beside_it, head=None), whole
    return None, evidence, decoding


def _reading(grounds: Grounds, evidence: Evidence, *, weigh_heads: bool) -> Reading:
    """The settings. Heads are weighed also where hyper-parameters of a user's own module say how many there are."""
    users = grounds.said.users.taken(evidence.wishes.stated) if grounds.said.users else None
    weigh_heads = weigh_heads or bool(users and "num_heads" in users.stated)
    reading = read(grounds.found.naming, replace(evidence, weigh_heads=weigh_heads))
    if users and not reading.stated and users.fitting(reading.architecture) is users:
        shown = reading.heads.found if reading.heads else None
        assumed = any(each.name == "heads" and each.origin is Origin.ASSUMED for each in reading.settings)
        users.refuse_unlike(grounds.checkpoint.where, reading.architecture, shown, assumed=assumed)
    return reading

"""`verify`: whether a folder or a file holds what its source holds."""

from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from dinoport.codebases.record import record_of
from dinoport.codebases.timm.signs import is_timm_config
from dinoport.codebases.transformers.forms import class_name_of
from dinoport.codebases.transformers.told_class import with_class
from dinoport.errors import (
    CheckpointError,
    DinoportError,
    NotProvenError,
    PlanError,
    SettingError,
    UnknownModelError,
    UnsafeCheckpointError,
    printable,
)
from dinoport.exports.place import exported_at
from dinoport.files.folders import refuse_leaving
from dinoport.formats.checkpoint import Checkpoint
from dinoport.formats.distributed.signs import is_distributed_folder
from dinoport.formats.opening import open_checkpoint
from dinoport.formats.run_config import START
from dinoport.formats.transformers_folder import CONFIG, REPORT, read_json
from dinoport.formats.values import announce
from dinoport.mapping.plan import sources
from dinoport.model import Model, Setting
from dinoport.progress import READING, Progress
from dinoport.proofs.genuine import entry_of
from dinoport.proofs.known_folder import known_folder
from dinoport.proofs.prove import prove
from dinoport.proofs.verdict import Verdict, Word, judge
from dinoport.report.report import Report
from dinoport.request import Checks, Request
from dinoport.shown.address import shown_source
from dinoport.shown.calls import FOLDER, SOURCE, runnable
from dinoport.shown.text import listed
from dinoport.work import integrity, past_report
from dinoport.work.alike import alike, with_transform_of
from dinoport.work.conversion import Conversion
from dinoport.work.folder import entries_of, refuse_to_guess, request_of
from dinoport.work.prepare import planned_for, prepare
from dinoport.work.proving import case_of, decoded_target, has_own_pooler, pinned_sources, source_side
from dinoport.work.reporting import report_of, with_hashes
from dinoport.work.stated import contradictions, read_beside, stated_otherwise, unsaid
from dinoport.writing.place import is_of_a_model


def verify_place(
    source: str | Path, place: Path, request: Request | None, checks: Checks, on_progress: Progress
) -> Report:
    """Prove a folder or a file against the source that it was, or might have been, made from."""
    on_progress(READING, 0, 0)
    if (graph := exported_at(place)) is not None:
        from dinoport.work.exports import verify_export  # and the operators of ONNX

        return verify_export(source, graph, request, checks, on_progress)
    _refuse_processor(checks)
    with _opened(place, source) as target:
        asked = _asked(place, source, target)
        refuse_to_guess(target, request)
        to = _kind(target, asked)
        given = (request or Request()).to_dict().keys()
        otherwise = past_report.made_otherwise(asked, request) if target.report is not None else ()
        asked = replace(asked.updated(request), to=to)
        if to == "training" and asked.config is None and (place / START).is_file():
            asked = replace(asked, config=place / START)  # it has all that a conversion takes from a config
        claimed = frozenset(asked.to_dict().keys() - given - {"to"})
        weigh = checks.level == "full"
        own = record_of(target.config or {}).get("family")
        family = own if isinstance(own, str) else None
        with ExitStack() as stack:
            with past_report.another_file_said(source, target.report):
                # What has a pooler of its own has none that a conversion makes.
                planned = replace(asked, pooler="none") if to == "transformers" and has_own_pooler(target) else asked
                conversion = stack.enter_context(
                    prepare(
                        source, planned, on_progress, claimed=claimed, again=True, weigh_heads=weigh, recorded=family
                    )
                )
            another = past_report.is_another_file(conversion, target)
            beside = read_beside(conversion.model, target) if another or target.report is None else None
            if isinstance(beside, Model):
                conversion = _made_alike(conversion, beside, target, planned)
            conversion.request = asked
            return _verified(conversion, place, target, given, checks, on_progress, otherwise, beside, another=another)


def _made_alike(conversion: Conversion, beside: Model, target: Checkpoint, planned: Request) -> Conversion:
    """The conversion that gives the target's form of a model that computes the same, if there is one."""
    model = alike(conversion.model, beside)
    source = conversion.checkpoint
    silent = source.config is None and not source.vouched and not conversion.located.genuine(model.family.name)
    theirs = target.report is None and not record_of(target.config or {})  # what we wrote has the source's
    model = with_transform_of(model, beside) if silent and theirs else model
    form = class_name_of(target.config or {}) if planned.to == "transformers" else ""
    for request in (replace(planned, class_name=form), planned) if form else (planned,):
        with suppress(SettingError, PlanError, UnknownModelError):
            return planned_for(conversion, model, request)
    return conversion


def _refuse_processor(checks: Checks) -> None:
    """Raise SettingError for a processor that was named for something else than a graph."""
    if checks.processor is not None:
        raise SettingError(
            "`processor` is for an ONNX graph, which holds none itself",
            found="a folder or a file of weights",
            next_step="leave `processor` out",
        )


def _verified(
    conversion: Conversion,
    place: Path,
    target: Checkpoint,
    given: Collection[str],
    checks: Checks,
    on_progress: Progress,
    otherwise: tuple[str, ...],
    beside: Model | DinoportError | None,
    *,
    another: bool,
) -> Report:
    """The verdict on a target; `beside` is what it is, read as a source, where no report of this source says it."""
    checked = checks
    conversion.target = replace(conversion.target, file=Path(target.where).name)
    withheld: tuple[str, ...] = ()
    announce(sources(conversion.plan.steps).values())
    with ExitStack() as stack:
        pinned = stack.enter_context(pinned_sources(conversion))
        found = [*integrity.faults_of(conversion, place, target, another=another)]
        problems = list(dict.fromkeys(fault.what for fault in found))
        if checks.level == "full" and not all(fault.harmless for fault in found):
            checked = replace(checks, level="exact")
            owner = conversion.writing.OWNER
            withheld = (f"{place} was not given to {owner}, as its files are not what a conversion writes",)
        side = stack.enter_context(source_side(conversion, checked))
        entry = entry_of(conversion.model, conversion.target.image_size, checked)
        stated: tuple[Setting[Any], ...] = ()
        if isinstance(beside, DinoportError) and target.config is None:
            problems.append(f"{place.name}, read as a source, is refused: {beside.what}")
        if isinstance(beside, Model) and target.config is None:
            stated = stated_otherwise(conversion.model, beside)
            problems += contradictions(conversion.model, beside, stated, place.name)
            withheld += tuple(f"{place.name}: {warning}" for warning in beside.warnings)
            if checks.level == "full" and (silent := unsaid(beside)):
                withheld += (f"{place.name} does not say its {listed(silent)}: it was run with the source's",)
        given_folder = stack.enter_context(_given(place, target, checked))
        case = case_of(conversion, side, decoded_target(conversion, target, given_folder, stated), entry)
        if target.report is None or another:
            case = replace(case, unused=getattr(conversion.model.architecture, "unused", ()))
        proofs = prove(case, checked, on_progress)
        fresh = report_of(conversion, Verdict(Word.PLANNED), proofs, str(place), (), pinned(), checks)
        if place.is_file():  # no conversion wrote it
            fresh = replace(fresh, command="", usage=())
    if target.report is not None:
        told = past_report.contradictions(
            place, target.report, fresh, given, another=another, otherwise=bool(otherwise)
        )
        problems += map(printable, told)
    if another:  # of the very source it may be the user's word, which is followed
        problems += conversion.model.contradicted
    with _told_apart("the source", conversion.checkpoint.where):
        conversion.check_unchanged()
    with _told_apart("the folder", place):
        target.check_unchanged()
    upstream = conversion.model.family.whose
    verdict = judge(proofs, conversion.assumed(resampled=proofs.at_other_sizes), problems, upstream)
    warnings = (*conversion.warnings, *integrity.warnings_of(place, target, fresh, another=another))
    changed = () if another else past_report.which_changed(place, target.report, proofs)
    if verdict.failed and otherwise and (not changed or past_report.is_as_written(place, target.report)):
        verdict = replace(verdict, failures=(*otherwise, *verdict.failures), otherwise=True)
    else:
        warnings += changed
    verdict = replace(verdict, blamed=past_report.blamed(place, target.report, fresh, proofs, another=another))
    verdict = replace(verdict, warnings=(*warnings, *integrity.listed_of(conversion, place, target)))
    remarks = (*fresh.remarks, *withheld, *integrity.remarks_of(place, target, fresh, another=another))
    report = replace(fresh, verdict=verdict, remarks=remarks)
    return with_hashes(report, conversion.checkpoint, target) if checks.pictures else report


def _kind(target: Checkpoint, asked: Request) -> str:
    """What a place was converted to."""
    if target.config is None:
        return "training" if asked.to == "training" else "original"
    return "timm" if is_timm_config(target.config) else "transformers"


def _given(place: Path, target: Checkpoint, checks: Checks) -> AbstractContextManager[Path]:
    """What a class is given of a folder: what is known of it, and not the folder itself. timm's runner sees to that."""
    if checks.level != "full" or target.config is None or is_timm_config(target.config):
        return nullcontext(place)
    return known_folder(place, target.config, target.tensors)


def returned_within(folder: Path) -> Path | None:
    """The weights in a folder that `convert` writes for an original's code; None for any other folder.

    A checkpoint.pth without a report is what a training run has left.
    """
    if not folder.is_dir() or (folder / CONFIG).exists() or not (folder / REPORT).is_file():
        return None
    if is_distributed_folder(folder):
        return folder
    found = sorted(path for path in folder.iterdir() if path.suffix == ".pth")
    if len(found) > 1:
        listed = [entry["name"] for entry in entries_of(read_json(folder / REPORT)) if entry]
        found = [path for path in found if path.name in listed]
    return found[0] if len(found) == 1 else None


@contextmanager
def _opened(place: Path, source: str | Path) -> Iterator[Checkpoint]:
    """The place that is to be proven. Raises NotProvenError for one whose files are too damaged to be compared."""
    returned: Path | None = None
    try:
        returned = returned_within(place)
        path = returned or place
        if path != place:
            refuse_leaving(path, place)
        report = read_json(place / REPORT) if returned else None
        checkpoint = with_class(open_checkpoint(path), inside=False)
        checkpoint = replace(checkpoint, report=report) if returned else checkpoint
    except CheckpointError as error:
        refused = isinstance(error, UnsafeCheckpointError) or isinstance(error.__cause__, OSError)
        if not refused and place.is_dir() and not is_of_a_model(place):
            raise _not_converted(place, error.what) from error
        if not place.exists():
            link = place.is_symlink()
            found = f"a link to {place.readlink()}, which is not there" if link else "nothing under this name"
            raise _not_converted(place, found, makes=not link) from error
        if refused or not is_of_a_model(place):
            raise
        raise _damaged(place, source, error) from error
    with checkpoint:
        if checkpoint.config is None and returned is None and is_of_a_model(place):
            raise _damaged(place, source, _not_converted(place, f"a {checkpoint.format}"))
        yield checkpoint


def _not_converted(folder: Path, found: str, *, makes: bool = False) -> SettingError:
    order = runnable("verify", SOURCE, FOLDER)
    make = runnable("convert", SOURCE, folder)
    return SettingError(
        f"{folder}, given as FOLDER, is not a folder that was converted",
        expected="config.json and weights, or what `to='original'` wrote",
        found=found,
        next_step=(order, *([make] if makes else [])),
    )


def _asked(place: Path, source: str | Path, target: Checkpoint) -> Request:
    """What the folder's report says that it was made with. A value that no conversion takes is damage."""
    try:
        return request_of(target)
    except SettingError as error:
        raise _damaged(place, source, SettingError(f"{REPORT}: {error.what}", found=error.found)) from error


def _damaged(place: Path, source: str | Path, error: CheckpointError | SettingError) -> NotProvenError:
    return NotProvenError(
        f"{place} is damaged, and so not equal to {shown_source(source)}",
        where=error.where,
        expected=error.expected,
        found=f"{error.what}: {error.found}" if error.found else error.what,
        cause="a copy or a download that broke off, a failing disk, or files that were edited or removed",
        next_step="fetch the folder again, or convert the source again",
    )


@contextmanager
def _told_apart(which: str, where: object) -> Iterator[None]:
    """Say of a file that changes during a verification which of the two it belongs to."""
    try:
        yield
    except CheckpointError as error:
        what = f"{which} changed while it was verified: {printable(str(where))}"
        raise CheckpointError(what, **{**error.parts, "where": error.what}) from error

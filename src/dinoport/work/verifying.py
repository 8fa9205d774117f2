"""One verification, of a folder that was converted or of a file that was converted back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from dinoport.errors import CheckpointError, NotProvenError, SettingError, UnsafeCheckpointError
from dinoport.files.address import shown_source
from dinoport.finding.sources import locate
from dinoport.finding.unwrap import state_dicts
from dinoport.formats.checkpoint import Checkpoint
from dinoport.formats.opening import open_checkpoint
from dinoport.formats.torch.writer import ORIGINAL_FILE
from dinoport.formats.transformers_folder import CONFIG, read_json
from dinoport.progress import Bar, Progress
from dinoport.proofs.foreign import known_folder
from dinoport.proofs.prove import Case, Level, prove
from dinoport.proofs.verdict import Proofs, Verdict, Word, judge
from dinoport.report.build import prepared_report, return_report, with_hashes
from dinoport.report.report import Report
from dinoport.request import Request
from dinoport.work import folder as folders
from dinoport.work import integrity
from dinoport.work.conversion import forward_case, genuine_code, pinned_sources, planned_return, return_case
from dinoport.work.preparation import prepare
from dinoport.work.returning import folder_tensors, refuse_options
from dinoport.writing.place import WAY_BACK, is_of_a_model

ORDER = "give the source first, then the folder: dinoport verify SOURCE FOLDER"


@dataclass(frozen=True)
class Check:
    """What is held against what, and how."""

    source: str | Path
    folder: Path
    request: Request | None
    level: Level
    image: Path | None
    all_sizes: bool
    for_page: bool
    reference: str | None
    on_progress: Progress

    def prove(self, case: Case, level: Level, size_bytes: int) -> Proofs:
        bar = Bar("proving", size_bytes, self.on_progress)
        return prove(case, level, image=self.image, all_sizes=self.all_sizes, pictures=self.for_page, on_bytes=bar.add)


def verify_folder(check: Check) -> Report:
    """Prove a folder of Transformers against the original that it was converted from."""
    folder, level = check.folder, check.level
    withheld: tuple[str, ...] = ()
    with _opened(check) as target:
        asked = _asked(check, target)
        folders.refuse_to_guess(target, check.request)
        given = (check.request or Request()).to_dict().keys()
        claimed = frozenset(asked.to_dict().keys() - given)
        preparing = prepare(check.source, asked.updated(check.request), check.on_progress, claimed=claimed)
        with preparing as prepared, pinned_sources(prepared, level) as pinned:
            another = integrity.is_another_file(prepared, target)
            found = [*integrity.problems_of(prepared, folder, target, another=another)]
            problems = list(dict.fromkeys(problem.what for problem in found))
            if level == "full" and not all(problem.harmless for problem in found):
                level = "exact"
                withheld = (f"{folder} was not given to Transformers, as its files are not what a conversion writes",)
            with _given(folder, target, level) as known:
                case = forward_case(prepared, known, folder_tensors(target), genuine_code(prepared, check.reference))
                proofs = check.prove(case, level, prepared.plan.size_bytes)
            fresh = prepared_report(prepared, Verdict(Word.PLANNED), proofs, str(folder), (), pinned())
            if target.report is not None:
                problems += integrity.contradictions(folder, target.report, fresh, given, another=another)
            prepared.check_unchanged()
            target.check_unchanged()
            verdict = judge(proofs, prepared.assumed(resampled=proofs.at_other_sizes), problems)
            listed = integrity.listed_of(prepared, folder, target)
            warnings = (*integrity.warnings_of(folder, target, fresh, another=another), *listed)
            verdict = replace(verdict, warnings=warnings)
            remarks = (*fresh.remarks, *withheld, *integrity.remarks_of(folder, target, fresh, another=another))
            report = replace(fresh, verdict=verdict, remarks=remarks)
            return with_hashes(report, prepared.checkpoint, target) if check.for_page else report


def _given(folder: Path, target: Checkpoint, level: Level) -> AbstractContextManager[Path]:
    """What Transformers is given of a folder: what is known of it, and not the folder itself."""
    return known_folder(folder, target.config or {}, folder_tensors(target)) if level == "full" else nullcontext(folder)


def verify_returned(check: Check) -> Report:
    """Prove what `convert --to original` wrote against the folder of Transformers that it was made from."""
    refuse_options(check.request)
    located = locate(check.source, check.on_progress)
    with located.open(check.on_progress) as source, _read(check) as original:
        if source.config is None:
            raise SettingError(
                f"{check.folder} was converted back, and {shown_source(check.source)} is not what it was made from",
                expected="a folder of Transformers as SOURCE",
                found=f"a {source.format}",
                next_step=f"dinoport verify FOLDER {check.folder}, with the folder that was converted back",
            )
        with planned_return(located, source, check.level) as (prepared, local):
            case = return_case(prepared, local, state_dicts(original)[0].tensors)
            proofs = check.prove(case, check.level, prepared.plan.size_bytes)
        problems = integrity.problems_of_returned(check.folder)
        source.check_unchanged()
        original.check_unchanged()
        verdict = judge(proofs, prepared.reading.assumed(resampled=proofs.at_other_sizes), tuple(problems))
        report = return_report(prepared, verdict, proofs, str(check.folder), ())
        return with_hashes(report, source, original) if check.for_page else report


def was_returned(folder: Path) -> bool:
    """Whether a folder is one that `convert --to original` writes."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    return names >= WAY_BACK and CONFIG not in names


@contextmanager
def _opened(check: Check) -> Iterator[Checkpoint]:
    """The folder that is to be proven. Raises NotProvenError for one whose files are too damaged to be compared."""
    with _read(check) as target:
        if target.config is None:
            refusal = SettingError(
                f"{check.folder} is no folder of Transformers",
                expected="a folder that was converted: config.json and weights",
                found=f"a {target.format}",
                next_step=f"dinoport verify SOURCE {check.folder.parent}, if it was converted back from SOURCE"
                if check.folder.name == ORIGINAL_FILE and was_returned(check.folder.parent)
                else ORDER,
            )
            raise _damaged(check, refusal) if is_of_a_model(check.folder) else refusal
        yield target


@contextmanager
def _read(check: Check) -> Iterator[Checkpoint]:
    path = check.folder / ORIGINAL_FILE if was_returned(check.folder) else check.folder
    try:
        checkpoint = open_checkpoint(path)
        if path != check.folder:
            read_json(check.folder / folders.REPORT)
    except CheckpointError as error:
        refused = isinstance(error, UnsafeCheckpointError) or isinstance(error.__cause__, OSError)
        if not refused and check.folder.is_dir() and not is_of_a_model(check.folder):
            raise _not_converted(check.folder, error.what) from error
        if not check.folder.exists():
            raise _not_converted(check.folder, "nothing under this name") from error
        if refused or not is_of_a_model(check.folder):
            raise
        raise _damaged(check, error) from error
    with checkpoint:
        yield checkpoint


def _not_converted(folder: Path, found: str) -> SettingError:
    return SettingError(
        f"{folder}, given as FOLDER, is not a folder that was converted",
        expected="config.json and weights, or what --to original wrote",
        found=found,
        next_step=ORDER,
    )


def _asked(check: Check, target: Checkpoint) -> Request:
    """What the folder's report says that it was made with. What no conversion can mean is damage."""
    try:
        return folders.request_of(target)
    except SettingError as error:
        raise _damaged(check, SettingError(f"{folders.REPORT}: {error.what}", found=error.found)) from error


def _damaged(check: Check, error: CheckpointError | SettingError) -> NotProvenError:
    return NotProvenError(
        f"{check.folder} is damaged, and so not equal to {shown_source(check.source)}",
        where=error.where,
        expected=error.expected,
        found=f"{error.what}: {error.found}" if error.found else error.what,
        cause="a copy or a download that broke off, a failing disk, or files that were edited or removed",
        next_step="fetch the folder again, or convert the source again",
    )

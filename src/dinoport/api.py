"""The functions, and the only place that sees the whole way from a source to a published folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dinoport import folder as folders
from dinoport import integrity
from dinoport.address import shown_source
from dinoport.checkpoints.announcing import announce
from dinoport.checkpoints.opening import open_checkpoint
from dinoport.checkpoints.pinning import SourceFile, pinning
from dinoport.checkpoints.storage import summed_storages
from dinoport.checkpoints.unwrap import state_dicts
from dinoport.errors import CheckpointError, DinoportError, MissingPackageError, NotProvenError, SettingError
from dinoport.families.hub_entries import hub_entry
from dinoport.mapping.folding import fold_names
from dinoport.mapping.operations import BakeTable
from dinoport.mapping.plan import Step, carried_whole, sources
from dinoport.preparation import (
    Prepared,
    PreparedReturn,
    folder_tensors,
    prepare,
    prepare_opened,
    prepare_return,
)
from dinoport.progress import Progress, silent
from dinoport.report.build import prepared_report, return_report, with_hashes
from dinoport.report.inspection import Inspection, branch_of
from dinoport.report.report import Report
from dinoport.report.text import cause_text
from dinoport.request import Request
from dinoport.sources import locate
from dinoport.targets.original import is_known_class
from dinoport.tensor import TensorRef
from dinoport.verify.genuine import Reference, check_reference
from dinoport.verify.prove import Case, Level, prove
from dinoport.verify.verdict import Proofs, Verdict, Word, judge
from dinoport.writing.commit import publishing
from dinoport.writing.json_file import write_json
from dinoport.writing.output_file import WrittenFile
from dinoport.writing.place import refuse_overlap
from dinoport.writing.torch_file import ORIGINAL_FILE, write_torch_file
from dinoport.writing.weights import write_sharded

if TYPE_CHECKING:
    from dinoport.report.visualization import Visualization

DEFAULT_SHARD_BYTES = 5_000_000_000

DEFAULT_SIZE = 480
DEFAULT_MASS = 0.6
"""Of `visualize`: what `visualize_attention.py` of facebookresearch/dino takes by default."""

DEMO_FILE = "demo_checkpoint.pth"
"""Written by `main_dino.py` of facebookresearch/dino, with a narrower ViT, after ten epochs on 64 small pictures."""

DEMO_HEADS = 2
"""What the demo was trained with; its args name a builder that was narrowed, so they are not believed."""

PROOF_PACKAGES = ("torch", "transformers", "PIL")


def inspect(source: str | Path, request: Request | None = None, *, on_progress: Progress = silent) -> Inspection:
    """Say what a source is, what is in it, what it would become and what would be lost. Writes nothing.

    Raises CheckpointError where the source cannot be read at all.
    """
    planned, refusal = None, None
    located = locate(source, on_progress, look=True)
    with located.open(on_progress) as checkpoint:
        is_ours = is_known_class(checkpoint.config or {})
        try:
            if is_ours:
                planned = return_report(prepare_return(checkpoint), Verdict(Word.PLANNED), Proofs(), "", ())
            else:
                with prepare_opened(located, checkpoint, request or Request(), on_progress) as prepared:
                    planned = prepared_report(prepared, Verdict(Word.PLANNED), Proofs(), "", ())
        except DinoportError as error:
            refusal = str(error)
        states = [] if is_ours else state_dicts(checkpoint)
        branches = [branch_of(state.label, dict(state.tensors), state.notes) for state in states]
        if is_ours:
            branches = [branch_of("a folder of Transformers", folder_tensors(checkpoint), ())]
        return Inspection(checkpoint.where, checkpoint.format, checkpoint.size_bytes, tuple(branches), planned, refusal)


def plan(
    source: str | Path, request: Request | None = None, *, to: str = "transformers", on_progress: Progress = silent
) -> Report:
    """Plan a conversion. Raises DinoportError with everything that stands in the way; writes nothing."""
    planned = Verdict(Word.PLANNED)
    if to == "original":
        with locate(source, on_progress, look=True).open(on_progress) as checkpoint:
            return return_report(prepare_return(checkpoint), planned, Proofs(), "", ())
    with prepare(source, request or Request(), on_progress, look=True) as prepared:
        return prepared_report(prepared, planned, Proofs(), "", ())


def convert(
    source: str | Path,
    target: str | Path,
    request: Request | None = None,
    *,
    to: Literal["transformers", "original"] = "transformers",
    level: Level = "full",
    image: Path | None = None,
    all_sizes: bool = False,
    force: bool = False,
    reference: str | None = None,
    keep_unproven: bool = False,
    allow_nonfinite: bool = False,
    max_shard_bytes: int = DEFAULT_SHARD_BYTES,
    for_page: bool = False,
    on_progress: Progress = silent,
) -> Report:
    """Convert `source` into a folder, prove it, and publish it under the name `target`.

    `to="original"` takes a folder of Transformers and writes a torch file with the original's own names.
    Raises NotProvenError, which carries the report, where a proof fails, and any other DinoportError where the source
    cannot be converted; in both cases nothing stays under the target's name. `for_page` keeps what a page shows beside
    the figures: pictures, and the hashes of the source's files. `reference` runs the originals' own
    code for a second proof of the outputs: from a folder with a hubconf.py, or with `hub` from where torch.hub
    downloads it.
    """
    target, request = Path(target), request or Request()
    _require_packages(level)
    check_reference(reference, level, to)
    refuse_overlap(Path(source), target)
    job = _Job(
        source, target, level, image, all_sizes, reference, allow_nonfinite, max_shard_bytes, for_page, on_progress
    )
    with publishing(target, force=force, keep_unproven=keep_unproven) as workspace:
        back = to == "original"
        report = _return_into(workspace.path, job) if back else _convert_into(workspace.path, request, job)
        if report.verdict.failed:
            if keep_unproven:
                workspace.publish_unproven()
            raise _not_proven(source, target, report, keep_unproven)
    return report


def verify(
    source: str | Path,
    folder: str | Path,
    request: Request | None = None,
    *,
    level: Level = "full",
    image: Path | None = None,
    all_sizes: bool = False,
    for_page: bool = False,
    reference: str | None = None,
    on_progress: Progress = silent,
) -> Report:
    """Prove an existing folder against its source.

    What was asked for when the folder was made is read from its `dinoport.json`; what `request` gives goes before it,
    such as where a head's file lies now. The report's verdict says whether the two are equal; nothing is raised for a
    folder that is not.
    """
    folder = Path(folder)
    _require_packages(level)
    check_reference(reference, level)
    with open_checkpoint(folder) as target:
        request = folders.request_of(target).updated(request)
        with prepare(source, request, on_progress) as prepared, _pinning(prepared, level) as pinned:
            problems = [*integrity.problems_of(prepared, folder, target)]
            case = _case(prepared, folder, folder_tensors(target), _genuine(prepared, reference))
            bar = _Bar("proving", prepared.plan.size_bytes, on_progress)
            proofs = prove(case, level, image=image, all_sizes=all_sizes, pictures=for_page, on_bytes=bar.add)
            fresh = prepared_report(prepared, Verdict(Word.PLANNED), proofs, str(folder), (), pinned())
            if target.report is not None:
                problems += integrity.contradictions(folder, target.report, fresh)
            prepared.check_unchanged()
            target.check_unchanged()
            verdict = judge(proofs, prepared.assumed, problems)
            remarks = (*fresh.remarks, *integrity.remarks_of(folder, target, fresh))
            report = replace(fresh, verdict=verdict, remarks=remarks)
            return with_hashes(report, prepared.checkpoint, target) if for_page else report


def demo(folder: str | Path, *, force: bool = False, for_page: bool = False, on_progress: Progress = silent) -> Report:
    """Convert the small genuine training checkpoint that ships with the package."""
    request = Request(num_heads=DEMO_HEADS)
    with resources.as_file(resources.files("dinoport") / DEMO_FILE) as path:
        return convert(path, folder, request, all_sizes=True, force=force, for_page=for_page, on_progress=on_progress)


def visualize(
    folder: str | Path, image: str | Path, out: str | Path, *, size: int = DEFAULT_SIZE, mass: float = DEFAULT_MASS
) -> Visualization:
    """Draw what a converted folder sees in a picture, as PNG files in the folder `out`.

    Attention of the CLS token in the last block by head and on average, the fewest patches that hold the share `mass`
    of it, and the principal components of the patch tokens; of a model without attention the components alone. `size`
    is the picture's shorter side in pixels. Raises SettingError for a folder or picture that does not fit.
    """
    missing = [name for name in (*PROOF_PACKAGES, "matplotlib") if find_spec(name) is None]
    if missing:
        raise MissingPackageError(
            f"drawing what a model sees needs {', '.join(missing)}, which is not installed",
            next_step='pip install "dinoport[all]"',
        )
    from dinoport.report.visualization import draw
    from dinoport.verify.picture import load_picture
    from dinoport.verify.seeing import see

    if not 0 < mass < 1:
        raise SettingError(f"--mass {mass:g} is no share", expected="a number between 0 and 1, such as 0.6")
    picture = load_picture(Path(image))
    return draw(see(Path(folder), picture, size), Path(out), mass)


@dataclass(frozen=True)
class _Job:
    """One conversion's options, beside what is converted into what."""

    source: str | Path
    target: Path
    level: Level
    image: Path | None
    all_sizes: bool
    reference: str | None
    allow_nonfinite: bool
    max_shard_bytes: int
    for_page: bool
    on_progress: Progress

    def prove(self, case: Case, size_bytes: int) -> Proofs:
        bar = _Bar("proving", size_bytes, self.on_progress)
        return prove(
            case, self.level, image=self.image, all_sizes=self.all_sizes, pictures=self.for_page, on_bytes=bar.add
        )

    def check_finite(self, files: Sequence[WrittenFile], steps: Sequence[Step]) -> None:
        counts = {name: found.nan + found.infinite for file in files for name, found in file.nonfinite.items()}
        names = sources([step for step in steps if step.target.name in counts])
        if not counts or self.allow_nonfinite:
            return
        raise CheckpointError(
            f"{shown_source(self.source)} holds weights that are not finite",
            where=", ".join(fold_names(names)[:8]),
            found=f"values that are NaN or infinite: {sum(counts.values())}",
            cause="a run that diverged, a damaged file, or weights too large for --dtype float16",
            next_step="take an earlier checkpoint; --allow-nonfinite copies them as they are",
        )


def _convert_into(workspace: Path, request: Request, job: _Job) -> Report:
    with prepare(job.source, request, job.on_progress) as prepared, _pinning(prepared, job.level) as pinned:
        reference = _genuine(prepared, job.reference)
        size_bytes = prepared.plan.size_bytes
        bar = _Bar("writing", size_bytes, job.on_progress)
        files = [*write_sharded(workspace, prepared.plan.steps, job.max_shard_bytes, bar.add)]
        for storage in summed_storages(sources(prepared.plan.steps).values()):
            storage.check()
        job.check_finite(files, prepared.plan.steps)
        files += folders.write_configs(prepared, workspace)
        with open_checkpoint(workspace) as folder:
            case = _case(prepared, workspace, folder_tensors(folder), reference)
            proofs = job.prove(case, size_bytes)
        files_of_source = pinned()
        prepared.check_unchanged()
        verdict = judge(proofs, prepared.assumed)
        files += folders.write_card(prepared, workspace, job.target.name, verdict)
        report = prepared_report(prepared, verdict, proofs, str(job.target), files, files_of_source)
        report = with_hashes(report, prepared.checkpoint) if job.for_page else report
    write_json(workspace / folders.REPORT, report.to_dict())
    return report


def _pinning(prepared: Prepared, level: Level) -> AbstractContextManager[Callable[[], tuple[SourceFile, ...]]]:
    """Announce what will be read, and hash what the exact proof does not compare; nothing where nothing is proven."""
    announce(sources(prepared.plan.steps).values())
    if level == "none":
        return nullcontext(tuple)
    return pinning(prepared.sources, carried_whole(prepared.plan.steps))


def _genuine(prepared: Prepared, where: str | None) -> Reference | None:
    """The genuine code to compare with; what no entry of it builds is refused before anything is written."""
    if where is None:
        return None
    return Reference(where, hub_entry(prepared.reading.architecture, prepared.target.image_size))


def _case(
    prepared: Prepared, folder: Path, written: Mapping[str, TensorRef], reference: Reference | None = None
) -> Case:
    target = prepared.target
    baked = next((step.target.name for step in prepared.plan.steps if isinstance(step.operation, BakeTable)), None)
    return Case(
        family=prepared.family,
        architecture=prepared.reading.architecture,
        originals=prepared.tensors,
        folder=folder,
        written=written,
        rules=target.rules,
        class_name=target.class_name,
        image_size=target.image_size,
        channels=target.channels,
        pooler=prepared.request.pooler == "identity",
        preprocessing=target.preprocessing,
        cast=prepared.cast,
        baked=baked,
        others={other.label: other.tensors for other in prepared.others},
        reference=reference,
    )


def _not_proven(source: str | Path, target: Path, report: Report, kept: bool) -> NotProvenError:
    diagnosis, exact = report.proofs.diagnosis, report.proofs.exact
    if diagnosis and diagnosis.cause:
        cause = cause_text(diagnosis)
    elif exact and not exact.passed:
        cause = "the disk, or another program, changed what was written"
    else:
        cause = "a model that only looks like this family"
    return NotProvenError(
        f"{shown_source(source)} was converted, and the result is not equal to it; nothing was published",
        where=f"{target}.unproven" if kept else None,
        found="; ".join(report.verdict.failures[:5]),
        cause=cause,
        next_step="--report FILE keeps the figures, --keep-unproven the folder",
        report=report,
    )


def _return_into(workspace: Path, job: _Job) -> Report:
    """Write a folder's tensors under the original's names, and prove the file against the folder it came from."""
    located = locate(job.source, job.on_progress)
    with located.open(job.on_progress) as folder:
        prepared = prepare_return(folder)
        size_bytes = prepared.plan.size_bytes
        bar = _Bar("writing", size_bytes, job.on_progress)
        path = workspace / ORIGINAL_FILE
        written = write_torch_file(path, prepared.plan.steps, on_bytes=bar.add)
        job.check_finite([written], prepared.plan.steps)
        with open_checkpoint(path) as original:
            originals = state_dicts(original)[0].tensors
            proofs = job.prove(_return_case(prepared, located.path or Path(located.shown), originals), size_bytes)
        folder.check_unchanged()
        verdict = judge(proofs, prepared.reading.assumed(resampled=False))
        report = return_report(prepared, verdict, proofs, str(job.target), [written])
        report = with_hashes(report, folder) if job.for_page else report
    write_json(workspace / folders.REPORT, report.to_dict())
    return report


def _return_case(prepared: PreparedReturn, folder: Path, originals: Mapping[str, TensorRef]) -> Case:
    architecture = prepared.reading.architecture
    return Case(
        family=prepared.family,
        architecture=architecture,
        originals=originals,
        folder=folder,
        written=prepared.tensors,
        rules=prepared.back.rules,
        class_name=prepared.back.class_name,
        image_size=getattr(architecture, "image_size", 224),
        channels=architecture.channels,
        pooler=any(name.startswith("pooler.") for name in prepared.tensors),
        returned=True,
    )


class _Bar:
    """Adds up bytes from any thread and passes them on."""

    def __init__(self, stage: str, total: int, on_progress: Progress) -> None:
        self._stage, self._total, self._on_progress = stage, total, on_progress
        self._done = 0

    def add(self, count: int) -> None:
        self._done += count
        self._on_progress(self._stage, self._done, self._total)


def _require_packages(level: Level) -> None:
    """Before anything is written: a full proof needs torch, Transformers and Pillow."""
    missing = [name for name in PROOF_PACKAGES if find_spec(name) is None] if level == "full" else []
    if missing:
        raise MissingPackageError(
            f"the full proof needs {', '.join(missing)}, which is not installed",
            next_step='pip install "dinoport[verify]", or convert with --verify exact, which needs neither',
        )

"""`convert`: from a source to a folder that is written, proven and published."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dinoport.codebases.target import Order
from dinoport.errors import CheckpointError, NotProvenError
from dinoport.files.json_file import write_json
from dinoport.files.output_file import WrittenFile
from dinoport.formats.storage import summed_storages
from dinoport.formats.transformers_folder import REPORT
from dinoport.formats.values import announce
from dinoport.mapping.folding import fold_names
from dinoport.mapping.operations import Kind
from dinoport.mapping.plan import Step, sources
from dinoport.progress import CHECKSUMS, READING, WRITING, Bar, Progress
from dinoport.proofs.verdict import Proofs, judge
from dinoport.report.report import Report
from dinoport.request import Checks, Request
from dinoport.shown.address import shown_source
from dinoport.shown.text import counted
from dinoport.tensor import is_matrix, size_text
from dinoport.work.conversion import Conversion
from dinoport.work.folder import write_card
from dinoport.work.prepare import prepare
from dinoport.work.reporting import report_of, with_hashes

if TYPE_CHECKING:
    from dinoport.formats.pinning import SourceFile


def convert_place(
    source: str | Path,
    target: Path,
    request: Request,
    checks: Checks,
    on_progress: Progress,
    *,
    force: bool = False,
    merge: bool = False,
    keep_unproven: bool = False,
) -> Report:
    """Convert a source, prove it, and publish it as `target`. Raises NotProvenError, with the report, for a failure."""
    from dinoport.writing.commit import publishing
    from dinoport.writing.place import refuse_overlap

    if type(source) is str or isinstance(source, Path):  # no published name that is meant as one
        refuse_overlap(Path(source), target)
    with publishing(target, force=force, keep_unproven=keep_unproven, merge=merge) as workspace:
        report = convert_into(workspace.path, source, target, request, checks, on_progress)
        if report.verdict.failed:
            if keep_unproven:
                workspace.publish_unproven()
            raise not_proven(source, target, report, keep_unproven)
    return report


def not_proven(source: str | Path, target: Path, report: Report, kept: bool) -> NotProvenError:
    from dinoport.report.text import cause_text

    diagnosis, exact = report.proofs.diagnosis, report.proofs.exact
    if diagnosis and diagnosis.cause:
        cause = cause_text(diagnosis)
    elif exact and not exact.passed:
        cause = "the disk, or another program, changed what was written"
    else:
        cause = "a model that only looks like this family"
    return NotProvenError(
        f"{shown_source(source)} was converted, and the result is not equal to it; no folder was written",
        where=f"{target}.unproven" if kept else None,
        found="; ".join(report.verdict.failures[:5]),
        cause=cause,
        next_step="`report` keeps the figures, `keep_unproven` the folder",
        report=report,
    )


def convert_into(
    workspace: Path, source: str | Path, target: Path, request: Request, checks: Checks, on_progress: Progress
) -> Report:
    """Write a source's model into a workspace, and prove it; what the proofs say is in the report."""
    if checks.level == "full":
        from dinoport.proofs.aside import importing

        importing(
            () if request.to == "timm" else ("AutoImageProcessor",)
        )  # seconds, in which the source is read and the target written
    on_progress(READING, 0, 0)
    with prepare(source, request, on_progress, weigh_heads=checks.level == "full") as conversion:

        def write(on_shard: Callable[[Path], None]) -> list[WrittenFile]:
            return _written(conversion, workspace, source, on_progress, on_shard)

        pinned: tuple[SourceFile, ...] = ()
        announce(sources(conversion.plan.steps).values())
        if checks.level == "none":
            files, proofs = write(lambda shard: None), Proofs()
        else:
            from dinoport.work.proving import written_and_proven

            files, pinned, proofs = written_and_proven(conversion, workspace, checks, on_progress, write)
        conversion.target = replace(conversion.target, file=files[0].name)
        conversion.check_unchanged()
        upstream = conversion.model.family.whose
        verdict = judge(proofs, conversion.assumed(resampled=proofs.at_other_sizes), (), upstream)
        verdict = replace(verdict, warnings=conversion.warnings)
        files += write_card(conversion, workspace, target.name, verdict)
        report = report_of(conversion, verdict, proofs, str(target), files, pinned, checks)
        report = with_hashes(report, conversion.checkpoint) if checks.pictures else report
    write_json(workspace / REPORT, report.to_dict())
    return report


def _written(
    conversion: Conversion,
    workspace: Path,
    source: str | Path,
    on_progress: Progress,
    on_shard: Callable[[Path], None],
) -> list[WrittenFile]:
    """Write weights and documents. Raises CheckpointError for weights that are zero, damaged or not finite."""
    steps, request = conversion.plan.steps, conversion.request
    bar = Bar(WRITING, conversion.plan.size_bytes, on_progress)
    order = Order(workspace, steps, conversion.documents, request.max_shard_bytes, bar.add, on_shard)
    files = conversion.writing.write(conversion.target, order)
    _refuse_zeros(source, files, steps)  # before checksums: those of skip_data do not hold
    on_progress(CHECKSUMS, 0, 0)
    for storage in summed_storages(sources(steps).values()):
        storage.check()
    if not request.allow_nonfinite:
        _refuse_nonfinite(source, files, steps)
    return files


def _refuse_zeros(source: str | Path, files: Sequence[WrittenFile], steps: Sequence[Step]) -> None:
    """Raise CheckpointError where no matrix holds anything: both sides would compute nothing, and be equal.

    A token, a bias, a scale or a new classifier may be zero.
    """
    census = {name: found for file in files for name, found in file.census.items()}
    made = [step for step in steps if step.kind is not Kind.SYNTHESISED and is_matrix(step.target.shape)]
    names = sources(made)
    if not names or not all(census[step.target.name].all_zero for step in made):
        return
    size_bytes = sum(tensor.size_bytes for tensor in names.values())
    raise CheckpointError(
        f"{shown_source(source)} holds no weights: every matrix in it is zero throughout",
        where=", ".join(fold_names(names)[:8]),
        expected="the weights of a model that was trained",
        found=f"zeros in {counted(len(names), 'tensor')}, {size_text(size_bytes)}",
        cause="a file saved under torch.serialization.skip_data, a copy that was not filled, or a model saved "
        "before its weights were loaded",
        next_step="fetch the file again; if its author's is the same, load the weights and save the model again",
    )


def _refuse_nonfinite(source: str | Path, files: Sequence[WrittenFile], steps: Sequence[Step]) -> None:
    found = {name: census.nonfinite for file in files for name, census in file.census.items()}
    counts = {name: count for name, count in found.items() if count}
    names = sources([step for step in steps if step.target.name in counts])
    if counts:
        raise CheckpointError(
            f"{shown_source(source)} holds weights that are not finite",
            where=", ".join(fold_names(names)[:8]),
            found=f"values that are NaN or infinite: {sum(counts.values())}",
            cause="a run that diverged, a damaged file, or weights too large for `dtype='float16'`",
            next_step="take an earlier checkpoint; `allow_nonfinite` copies them as they are",
        )

"""`convert`: from a source to a folder that is written, proven and published."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path

from dinoport.codebases.targets import writing_of
from dinoport.codebases.transformers.forms import is_known_class
from dinoport.errors import CheckpointError
from dinoport.files.address import shown_source
from dinoport.files.byte_sources import LocalFile
from dinoport.files.json_file import write_json
from dinoport.files.output_file import WrittenFile
from dinoport.formats.announcing import announce
from dinoport.formats.opening import open_bytes, open_checkpoint
from dinoport.formats.pinning import SourceFile, pinning
from dinoport.formats.remote.copying import on_disk
from dinoport.formats.storage import summed_storages
from dinoport.mapping.decoding import decode
from dinoport.mapping.folding import fold_names
from dinoport.mapping.operations import Kind
from dinoport.mapping.plan import Step, carried_whole, sources
from dinoport.progress import Bar, Progress
from dinoport.proofs.exact import Comparison, compare_whole
from dinoport.proofs.foreign import known_folder
from dinoport.proofs.genuine import entry_of
from dinoport.proofs.prove import Case, Side, prove
from dinoport.proofs.verdict import Proofs, judge
from dinoport.report.report import Report
from dinoport.request import Checks, Request
from dinoport.tensor import is_matrix, size_text
from dinoport.work.conversion import Conversion, prepare
from dinoport.work.folder import REPORT, decoded_target, write_card
from dinoport.work.reporting import report_of, with_hashes


def convert_into(
    workspace: Path, source: str | Path, target: Path, request: Request, checks: Checks, on_progress: Progress
) -> Report:
    """Write a source's model into a workspace, and prove it; what the proofs say is in the report."""
    with prepare(source, request, on_progress) as conversion, pinned_sources(conversion, checks) as pinned:
        entry = entry_of(conversion.model, conversion.target.image_size, checks)
        with ExitStack() as stack:
            runner_of_source = stack.enter_context(source_side(conversion, checks))
            files, known = _written(conversion, workspace, source, checks, on_progress)
            with open_checkpoint(workspace if conversion.writing.HAS_CARD else workspace / files[0].name) as written:
                side = decoded_target(conversion, written, workspace)
                case = replace(case_of(conversion, runner_of_source, side, entry), known=known)
                proofs = proven(case, checks, conversion.plan.size_bytes, on_progress)
        files_of_source = pinned()
        conversion.check_unchanged()
        upstream = conversion.model.family.upstream
        verdict = judge(proofs, conversion.assumed(resampled=proofs.at_other_sizes), (), upstream)
        files += write_card(conversion, workspace, target.name, verdict)
        report = report_of(conversion, verdict, proofs, str(target), files, files_of_source, checks)
        report = with_hashes(report, conversion.checkpoint) if checks.pictures else report
    write_json(workspace / REPORT, report.to_dict())
    return report


def _written(
    conversion: Conversion, workspace: Path, source: str | Path, checks: Checks, on_progress: Progress
) -> tuple[list[WrittenFile], dict[str, Comparison]]:
    """Write weights and documents, and compare each of several weight files while it is still in memory.

    Raises CheckpointError for weights that are zero, damaged or not finite.
    """
    steps, request = conversion.plan.steps, conversion.request
    bar = Bar("writing", conversion.plan.size_bytes, on_progress)
    known: dict[str, Comparison] = {}

    def compare(shard: Path) -> None:
        with open_bytes(LocalFile(shard)) as written:
            part = decoded_target(conversion, replace(written, config=conversion.documents["config.json"]), workspace)
            anew = {conversion.model.architecture.positions or "": conversion.baked} if conversion.baked else {}
            known.update(
                compare_whole(
                    conversion.model.decoding, part.model.decoding, lambda count: None, cast=conversion.cast, anew=anew
                )
            )

    on_shard = compare if checks.level != "none" else lambda shard: None
    files = conversion.writing.write(workspace, steps, conversion.documents, request.max_shard_bytes, bar.add, on_shard)
    _refuse_zeros(source, files, steps)  # before checksums: those of skip_data do not hold
    for storage in summed_storages(sources(steps).values()):
        storage.check()
    if not request.allow_nonfinite:
        _refuse_nonfinite(source, files, steps)
    return files, known


def source_side(conversion: Conversion, checks: Checks) -> AbstractContextManager[Side]:
    """The source as a side of the proof: one that a class of its own loads is run by that class."""
    return _SourceSide(conversion, checks)


class _SourceSide(ExitStack):
    """A folder of Transformers is on disk for as long as its class runs; any other source needs no place."""

    def __init__(self, conversion: Conversion, checks: Checks) -> None:
        super().__init__()
        self._conversion, self._checks = conversion, checks

    def __enter__(self) -> Side:  # type: ignore[override]  # what is entered is the side
        super().__enter__()
        conversion = self._conversion
        config, model = conversion.checkpoint.config or {}, conversion.model
        if self._checks.level != "full" or not is_known_class(config) or conversion.request.to == "transformers":
            return Side(model)
        local = conversion.located.path or self.enter_context(on_disk(conversion.checkpoint))
        local = self.enter_context(known_folder(local, config, conversion.checkpoint.tensors))
        pooler = any(name.startswith("pooler.") for name in model.decoding.stored)
        return Side(model, writing_of("transformers").runner(local, model.title, pooler=pooler))


def case_of(conversion: Conversion, source: Side, target: Side, genuine: object = None) -> Case:
    """A source, and what was or should have been made of it."""
    others = conversion.provenance.others or {}
    return Case(
        source=source,
        target=target,
        image_size=conversion.target.image_size,
        preprocessing=conversion.target.preprocessing,
        cast=conversion.cast,
        baked=conversion.baked,
        others={label: decode(tensors, source.model.decoding.rules).tensors for label, tensors in others.items()},
        genuine=genuine,  # type: ignore[arg-type]  # an entry of torch.hub, or None
    )


def proven(case: Case, checks: Checks, size_bytes: int, on_progress: Progress) -> Proofs:
    bar = Bar("proving", size_bytes, on_progress)
    return prove(case, checks, bar.add)


def pinned_sources(
    conversion: Conversion, checks: Checks
) -> AbstractContextManager[Callable[[], tuple[SourceFile, ...]]]:
    """Announce what will be read, and hash what the exact proof does not compare; nothing where nothing is proven."""
    announce(sources(conversion.plan.steps).values())
    if checks.level == "none":
        return nullcontext(tuple)
    return pinning(conversion.sources, carried_whole(conversion.plan.steps))


def _refuse_zeros(source: str | Path, files: Sequence[WrittenFile], steps: Sequence[Step]) -> None:
    """Raise CheckpointError where no matrix holds anything: both sides would compute nothing, and be equal.

    A token, a bias, a scale or a new classifier may be zero.
    """
    census = {name: found for file in files for name, found in file.census.items()}
    made = [step for step in steps if step.kind is not Kind.SYNTHESISED and is_matrix(step.target.shape)]
    names = sources(made)
    if not names or not all(census[step.target.name].all_zero for step in made):
        return
    raise CheckpointError(
        f"{shown_source(source)} holds no weights: every matrix in it is zero throughout",
        where=", ".join(fold_names(names)[:8]),
        expected="the weights of a model that was trained",
        found=f"{len(names)} matrices of zeros, {size_text(sum(tensor.size_bytes for tensor in names.values()))}",
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
            cause="a run that diverged, a damaged file, or weights too large for --dtype float16",
            next_step="take an earlier checkpoint; --allow-nonfinite copies them as they are",
        )

"""One conversion, there or back: what is written into a workspace, and what is proven of it there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from dinoport.codebases.hub_entries import hub_entry
from dinoport.errors import CheckpointError
from dinoport.files.address import shown_source
from dinoport.files.json_file import write_json
from dinoport.files.output_file import WrittenFile
from dinoport.finding.sources import Located, locate
from dinoport.finding.unwrap import state_dicts
from dinoport.formats.announcing import announce
from dinoport.formats.checkpoint import Checkpoint
from dinoport.formats.opening import open_checkpoint
from dinoport.formats.pinning import SourceFile, pinning
from dinoport.formats.remote.copying import on_disk
from dinoport.formats.safetensors.writer import write_sharded
from dinoport.formats.storage import summed_storages
from dinoport.formats.torch.writer import ORIGINAL_FILE, write_torch_file
from dinoport.mapping.folding import fold_names
from dinoport.mapping.operations import BakeTable, Kind
from dinoport.mapping.plan import Step, carried_whole, sources
from dinoport.progress import Bar, Progress
from dinoport.proofs.foreign import known_folder
from dinoport.proofs.genuine import Reference
from dinoport.proofs.prove import Case, Level, prove
from dinoport.proofs.verdict import Proofs, judge
from dinoport.report.build import prepared_report, return_report, with_hashes
from dinoport.report.report import Report
from dinoport.request import DEFAULT_SHARD_BYTES, Request
from dinoport.tensor import TensorRef, is_matrix
from dinoport.units import size_text
from dinoport.work import folder as folders
from dinoport.work.preparation import Prepared, prepare
from dinoport.work.returning import PreparedReturn, folder_tensors, prepare_return


@dataclass(frozen=True)
class Job:
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

    @property
    def options(self) -> tuple[str, ...]:
        """The words of a command line that change what is written or said in the folder, beside the request's."""
        shard = ("--max-shard-size", str(self.max_shard_bytes)) if self.max_shard_bytes != DEFAULT_SHARD_BYTES else ()
        level = ("--verify", self.level) if self.level != "full" else ()
        return (*level, *shard, *(("--allow-nonfinite",) if self.allow_nonfinite else ()))

    def prove(self, case: Case, size_bytes: int) -> Proofs:
        bar = Bar("proving", size_bytes, self.on_progress)
        return prove(
            case, self.level, image=self.image, all_sizes=self.all_sizes, pictures=self.for_page, on_bytes=bar.add
        )

    def check_not_zero(self, files: Sequence[WrittenFile], steps: Sequence[Step]) -> None:
        """Raise CheckpointError where no matrix holds anything: both sides would compute nothing, and be equal.

        A token, a bias, a scale or a new classifier may be zero.
        """
        census = {name: found for file in files for name, found in file.census.items()}
        made = [step for step in steps if step.kind is not Kind.SYNTHESISED and is_matrix(step.target.shape)]
        names = sources(made)
        if not names or not all(census[step.target.name].all_zero for step in made):
            return
        raise CheckpointError(
            f"{shown_source(self.source)} holds no weights: every matrix in it is zero throughout",
            where=", ".join(fold_names(names)[:8]),
            expected="the weights of a model that was trained",
            found=f"{len(names)} matrices of zeros, {size_text(sum(tensor.size_bytes for tensor in names.values()))}",
            cause="a file saved under torch.serialization.skip_data, a copy that was not filled, or a model saved "
            "before its weights were loaded",
            next_step="fetch the file again; if its author's is the same, load the weights and save the model again",
        )

    def check_finite(self, files: Sequence[WrittenFile], steps: Sequence[Step]) -> None:
        found = {name: census.nonfinite for file in files for name, census in file.census.items()}
        counts = {name: count for name, count in found.items() if count}
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


def convert_into(workspace: Path, request: Request, job: Job) -> Report:
    """Write a checkpoint as a folder of Transformers, and prove it; what the proofs say is in the report."""
    with prepare(job.source, request, job.on_progress) as prepared, pinned_sources(prepared, job.level) as pinned:
        reference = genuine_code(prepared, job.reference)
        size_bytes = prepared.plan.size_bytes
        bar = Bar("writing", size_bytes, job.on_progress)
        files = [*write_sharded(workspace, prepared.plan.steps, job.max_shard_bytes, bar.add)]
        job.check_not_zero(files, prepared.plan.steps)  # before checksums: those of skip_data do not hold
        for storage in summed_storages(sources(prepared.plan.steps).values()):
            storage.check()
        job.check_finite(files, prepared.plan.steps)
        files += folders.write_configs(prepared, workspace)
        with open_checkpoint(workspace) as folder:
            case = forward_case(prepared, workspace, folder_tensors(folder), reference)
            proofs = job.prove(case, size_bytes)
        files_of_source = pinned()
        prepared.check_unchanged()
        verdict = judge(proofs, prepared.assumed(resampled=proofs.at_other_sizes))
        files += folders.write_card(prepared, workspace, job.target.name, verdict)
        report = prepared_report(prepared, verdict, proofs, str(job.target), files, files_of_source, job.options)
        report = with_hashes(report, prepared.checkpoint) if job.for_page else report
    write_json(workspace / folders.REPORT, report.to_dict())
    return report


def return_into(workspace: Path, job: Job) -> Report:
    """Write a folder's tensors under the original's names, and prove the file against the folder it came from."""
    located = locate(job.source, job.on_progress)
    with located.open(job.on_progress) as folder, planned_return(located, folder, job.level) as (prepared, local):
        size_bytes = prepared.plan.size_bytes
        bar = Bar("writing", size_bytes, job.on_progress)
        path = workspace / ORIGINAL_FILE
        written = write_torch_file(path, prepared.plan.steps, on_bytes=bar.add)
        job.check_not_zero([written], prepared.plan.steps)
        job.check_finite([written], prepared.plan.steps)
        with open_checkpoint(path) as original:
            originals = state_dicts(original)[0].tensors
            proofs = job.prove(return_case(prepared, local, originals), size_bytes)
        folder.check_unchanged()
        verdict = judge(proofs, prepared.reading.assumed(resampled=proofs.at_other_sizes))
        report = return_report(prepared, verdict, proofs, str(job.target), [written], job.options)
        report = with_hashes(report, folder) if job.for_page else report
    write_json(workspace / folders.REPORT, report.to_dict())
    return report


@contextmanager
def planned_return(located: Located, folder: Checkpoint, level: Level) -> Iterator[tuple[PreparedReturn, Path]]:
    """Plan the way back of an open folder, and yield where it lies: for the full proof on disk, wherever it is.

    Raises DinoportError for a folder that has no way back, and for one that Transformers is not given.
    """
    prepared = prepare_return(folder)
    announce(sources(prepared.plan.steps).values())
    with ExitStack() as files:
        local = located.path
        if level == "full":
            local = local or files.enter_context(on_disk(folder))
            local = files.enter_context(known_folder(local, folder.config or {}, prepared.tensors))
        yield prepared, local or Path(located.shown)


def pinned_sources(prepared: Prepared, level: Level) -> AbstractContextManager[Callable[[], tuple[SourceFile, ...]]]:
    """Announce what will be read, and hash what the exact proof does not compare; nothing where nothing is proven."""
    announce(sources(prepared.plan.steps).values())
    if level == "none":
        return nullcontext(tuple)
    return pinning(prepared.sources, carried_whole(prepared.plan.steps))


def genuine_code(prepared: Prepared, where: str | None) -> Reference | None:
    """The genuine code to compare with; what no entry of it builds is refused before anything is written."""
    if where is None:
        return None
    return Reference(where, hub_entry(prepared.reading.architecture, prepared.target.image_size))


def forward_case(
    prepared: Prepared, folder: Path, written: Mapping[str, TensorRef], reference: Reference | None = None
) -> Case:
    """An original, and the folder that was or should have been made of it."""
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


def return_case(prepared: PreparedReturn, folder: Path, originals: Mapping[str, TensorRef]) -> Case:
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

"""The functions, and the only place that sees the whole way from a source to a published folder."""

from __future__ import annotations

from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from dinoport.codebases.transformers.original import is_known_class
from dinoport.errors import DinoportError, MissingPackageError, NotProvenError, SettingError, UsageError
from dinoport.files.address import local_folder, refuse_empty, shown_source
from dinoport.finding.sources import PublishedName, locate
from dinoport.finding.unwrap import state_dicts
from dinoport.progress import Progress, silent
from dinoport.proofs.genuine import check_reference
from dinoport.proofs.prove import Level
from dinoport.proofs.verdict import Proofs, Verdict, Word
from dinoport.report.build import prepared_report, return_report
from dinoport.report.inspection import Inspection, branch_of
from dinoport.report.report import Report
from dinoport.report.text import cause_text
from dinoport.request import DEFAULT_MASS, DEFAULT_SHARD_BYTES, DEFAULT_SIZE, Request
from dinoport.work.conversion import Job, convert_into, return_into
from dinoport.work.preparation import prepare, prepare_opened
from dinoport.work.returning import folder_tensors, prepare_return, refuse_options
from dinoport.work.verifying import Check, verify_folder, verify_returned, was_returned
from dinoport.writing.commit import publishing
from dinoport.writing.place import refuse_overlap

if TYPE_CHECKING:
    from dinoport.pictures.drawing import Visualization

Direction: TypeAlias = Literal["transformers", "original"]

DEMO_FILE = "demo_checkpoint.pth"
"""Written by `main_dino.py` of facebookresearch/dino, with a narrower ViT, after ten epochs on 64 small pictures."""

DEMO_HEADS = 2
"""What the demo was trained with; its args name a builder that was narrowed, so they are not believed."""

PROOF_PACKAGES = ("torch", "transformers", "PIL")


def inspect(source: str | Path, request: Request | None = None, *, on_progress: Progress = silent) -> Inspection:
    """Say what a source is, what is in it, what it would become and what would be lost. Writes nothing.

    Raises CheckpointError where the source cannot be read at all, UsageError for a request of a folder of Transformers.
    """
    planned, refusal = None, None
    located = locate(source, on_progress, look=True, head=request.head if request else None)
    with located.open(on_progress) as checkpoint:
        is_ours = is_known_class(checkpoint.config or {})
        if is_ours:
            refuse_options(request)
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
        return Inspection(
            where=checkpoint.where,
            format=checkpoint.format,
            size_bytes=checkpoint.size_bytes,
            branches=tuple(branches),
            plan=planned,
            refusal=refusal,
        )


def plan(
    source: str | Path,
    request: Request | None = None,
    *,
    to: Direction = "transformers",
    on_progress: Progress = silent,
) -> Report:
    """Plan a conversion. Raises DinoportError with everything that stands in the way; writes nothing."""
    _require_one_of("to", to, get_args(Direction))
    planned = Verdict(Word.PLANNED)
    if to == "original":
        refuse_options(request)
        with locate(source, on_progress, look=True).open(on_progress) as checkpoint:
            return return_report(prepare_return(checkpoint), planned, Proofs(), "", ())
    with prepare(source, request or Request(), on_progress, look=True) as prepared:
        return prepared_report(prepared, planned, Proofs(), "", ())


def convert(
    source: str | Path,
    target: str | Path,
    request: Request | None = None,
    *,
    to: Direction = "transformers",
    level: Level = "full",
    image: Path | None = None,
    all_sizes: bool = False,
    force: bool = False,
    merge: bool = False,
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
    cannot be converted; in both cases nothing stays under the target's name. `force` replaces an
    existing folder whole; `merge` writes into it instead, file by file after the proof, and other files stay.
    `for_page` keeps what a page shows beside the figures: pictures, and the hashes of the source's files. `reference`
    runs the originals' own code for a second proof of the outputs: from a folder with a hubconf.py, or with `hub` from
    where torch.hub downloads it.
    """
    _require_one_of("to", to, get_args(Direction))
    _require_one_of("level", level, get_args(Level))
    refuse_empty("SOURCE", source)
    target, request = local_folder(target), request or Request()
    _require_packages(level)
    check_reference(reference, level, to)
    if to == "original":
        refuse_options(request)
        _refuse_shards(max_shard_bytes)
    if not isinstance(source, PublishedName):
        refuse_overlap(Path(source), target)
    _check_for_outputs(image, all_sizes, level)
    job = Job(
        source=source,
        target=target,
        level=level,
        image=image,
        all_sizes=all_sizes,
        reference=reference,
        allow_nonfinite=allow_nonfinite,
        max_shard_bytes=max_shard_bytes,
        for_page=for_page,
        on_progress=on_progress,
    )
    with publishing(target, force=force, keep_unproven=keep_unproven, merge=merge) as workspace:
        back = to == "original"
        report = return_into(workspace.path, job) if back else convert_into(workspace.path, request, job)
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
    """Prove an existing folder against its source; or what a conversion `to="original"` wrote, against its folder.

    What was asked for when the folder was made is read from its `dinoport.json`, and what only that says is an
    assumption of the verdict. What `request` gives goes before it; files of a head or of labels it has to give.
    `level` is exact or full. The report's verdict says whether the two are equal. Raises NotProvenError, without
    a report, for a folder that is too damaged to be compared.
    """
    _require_one_of("level", level, ("exact", "full"))
    folder = local_folder(folder)
    _require_packages(level)
    returned = was_returned(folder)
    check_reference(reference, level, "original" if returned else "transformers")
    _check_for_outputs(image, all_sizes, level)
    check = Check(
        source=source,
        folder=folder,
        request=request,
        level=level,
        image=image,
        all_sizes=all_sizes,
        for_page=for_page,
        reference=reference,
        on_progress=on_progress,
    )
    return verify_returned(check) if returned else verify_folder(check)


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
    is the picture's shorter side in pixels. Raises SettingError for a folder or picture that does
    not fit, and FolderError for an `out` that cannot be written or holds files of others under names that are drawn.
    """
    missing = [name for name in (*PROOF_PACKAGES, "matplotlib") if find_spec(name) is None]
    if missing:
        raise MissingPackageError(
            f"drawing what a model sees needs {', '.join(missing)} (not installed)",
            next_step='pip install "dinoport[all]"',
        )
    from dinoport.pictures.drawing import check_place, draw
    from dinoport.pictures.seeing import see
    from dinoport.proofs.picture import load_picture

    refuse_empty("--out", out)
    if not 0 < mass < 1:
        raise SettingError(f"mass cannot be {mass!r}", expected="a number between 0 and 1, such as 0.6")
    picture = load_picture(Path(image))
    check_place(Path(out))
    return draw(see(local_folder(folder), picture, size), Path(out), mass)


def _require_one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """A word that is misspelt would otherwise be taken as the default."""
    if value not in allowed:
        raise SettingError(f"{name} cannot be {value!r}", expected=" or ".join(map(repr, allowed)), found=repr(value))


def _refuse_shards(max_shard_bytes: int) -> None:
    if max_shard_bytes != DEFAULT_SHARD_BYTES:
        raise UsageError(
            "--max-shard-size goes with a conversion to Transformers, not --to original",
            cause="an original is one file, however large",
            next_step="leave --max-shard-size out",
        )


def _check_for_outputs(image: Path | None, all_sizes: bool, level: Level) -> None:
    """Before anything is written: a picture that can be opened, and a proof that looks at it and at other sizes."""
    option = "--image" if image else "--all-sizes"
    if (image or all_sizes) and level != "full":
        raise UsageError(
            f"{option} is for the outputs, which --verify {level} leaves out",
            next_step=f"leave --verify out, or {option}",
        )
    if image is None:
        return
    from dinoport.proofs.picture import load_picture

    load_picture(image, "give another --image, or leave it out for a synthetic picture")


def _require_packages(level: Level) -> None:
    """Before anything is written: a full proof needs torch, Transformers and Pillow."""
    missing = [name for name in PROOF_PACKAGES if find_spec(name) is None] if level == "full" else []
    if missing:
        raise MissingPackageError(
            f"the full proof needs {', '.join(missing)} (not installed)",
            next_step='pip install "dinoport[verify]", or dinoport convert with --verify exact, which needs none of it',
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

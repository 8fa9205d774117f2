"""The functions: each is one verb, and the checks of its arguments before any work."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from dinoport.errors import UsageError
from dinoport.files.address import local_folder, refuse_empty
from dinoport.progress import Progress, silent
from dinoport.request import DEFAULT_MASS, DEFAULT_SIZE, PROVING, Checks, Request
from dinoport.shown.address import is_at_hub
from dinoport.shown.packages import PROOF, missing
from dinoport.work.arguments import Source, asked_for, check_for_outputs, given, refuse_missing, require_packages

if TYPE_CHECKING:
    from dinoport.pictures.drawing import Visualization
    from dinoport.report.fleet import Fleet
    from dinoport.report.inspection import Inspection
    from dinoport.report.published import Published
    from dinoport.report.report import Report
    from dinoport.report.standing import Standing
    from dinoport.work.fleet import Executor, Told
    from dinoport.work.load import Loaded

DEMO_FILE = "demo_checkpoint.pth"
"""Written by `main_dino.py` of facebookresearch/dino, with a narrower ViT, after ten epochs on 64 small pictures."""


def inspect(
    source: Source,
    request: Request | None = None,
    *,
    heads: bool = False,
    on_progress: Progress = silent,
    **asked: Any,
) -> Inspection:
    """Say what a source is, what is in it, what it would become and what would be lost. Writes nothing.

    `heads=True` reads the number of attention heads from the weights, which takes seconds where the model is large.
    Raises CheckpointError for an unreadable source, UsageError for options that do not fit a folder of Transformers.
    """
    request, _ = asked_for(request, None, asked)
    from dinoport.work.inspect import inspect_place

    return inspect_place(given(source), request, on_progress, heads=heads)


def plan(source: Source, request: Request | None = None, *, on_progress: Progress = silent, **asked: Any) -> Report:
    """Plan a conversion. Raises DinoportError with everything that stands in the way; writes nothing."""
    request, _ = asked_for(request, None, asked)
    from dinoport.work.prepare import prepare
    from dinoport.work.reporting import planned_report

    with prepare(given(source), request, on_progress, look=True) as conversion:
        return planned_report(conversion)


def convert(
    source: Source,
    target: str | Path,
    request: Request | None = None,
    checks: Checks | None = None,
    *,
    force: bool = False,
    merge: bool = False,
    keep_unproven: bool = False,
    on_progress: Progress = silent,
    **asked: Any,
) -> Report:
    """Convert `source` into the folder `target`, and prove that they are equal.

    The folder gets its name only after the proof. `source` is a path, a published name, an address, a state dict or a
    `torch.nn.Module`. A module is read as it is at the time of the call, and `verify` takes it too.

    Fields of `request` and `checks` may be given by their names: `convert(source, target, to="original",
    level="exact")`. `force` replaces an existing folder whole. `merge` writes into it, file by file after the proof,
    and leaves its other files there.

    Raises NotProvenError, which carries the report, where a proof fails. Raises another DinoportError where the source
    cannot be converted. In both cases no folder is written.
    """
    request, checks = asked_for(request, checks, asked)
    source = given(source)
    from dinoport.work.convert import convert_place

    refuse_empty("SOURCE", source)
    target = local_folder(target)
    require_packages(checks.level)
    check_for_outputs(checks, request.to)
    return convert_place(
        source, target, request, checks, on_progress, force=force, merge=merge, keep_unproven=keep_unproven
    )


@overload
def verify(
    source: str | Path,
    folder: None = None,
    request: Request | None = None,
    checks: Checks | None = None,
    *,
    on_progress: Progress = ...,
) -> Standing: ...


@overload
def verify(
    source: Source,
    folder: str | Path,
    request: Request | None = None,
    checks: Checks | None = None,
    *,
    on_progress: Progress = ...,
    **asked: Any,
) -> Report: ...


def verify(
    source: Source,
    folder: str | Path | None = None,
    request: Request | None = None,
    checks: Checks | None = None,
    *,
    on_progress: Progress = silent,
    **asked: Any,
) -> Report | Standing:
    """Prove an existing folder or file, here or in a repository of the Hub (`hf://owner/name`), against its source.

    The folder's `dinoport.json` says how it was made. A value that only this file says becomes an assumption of the
    verdict. A value in `request` replaces the folder's. Files of a head or of labels have to be given again. The
    report's verdict says whether the two are equal. Raises NotProvenError, without a report, for a folder that is too
    damaged to be compared.

    `verify(folder)`, without a source, says whether the folder's files are still those that its `dinoport.json` lists.
    That proves nothing about the model.
    """
    level = asked.get("level", checks.level if checks else "full")
    if level not in PROVING:
        raise UsageError("`level` takes one of full, exact", found=repr(level), next_step="leave `level` out")
    request, checks = asked_for(request, checks, asked)
    source = given(source)
    if folder is None:
        from dinoport.work.standing import standing_of

        refuse_empty("FOLDER", source)
        return standing_of(source, request, checks, on_progress)
    require_packages(checks.level)
    check_for_outputs(checks)
    if is_at_hub(folder):
        from dinoport.work.hub_folder import verify_at_hub

        return verify_at_hub(source, str(folder), request, checks, on_progress)
    from dinoport.work.verify import verify_place

    return verify_place(source, local_folder(folder), request, checks, on_progress)


def publish(
    folder: str | Path,
    repository: str,
    *,
    private: bool | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    commit_message: str | None = None,
    token: str | None = None,
    card: str | Path | None = None,
    source_name: str | None = None,
    on_progress: Progress = silent,
) -> Published:
    """Send a converted folder to the Hub as `owner/name`, in one commit, and read it back from there.

    Only the files that its `dinoport.json` lists are sent, without paths of this machine. A second run sends nothing
    twice. `revision` is a branch. `create_pr` proposes the files to somebody else's repository. Raises NotProvenError,
    before anything is sent, for a folder that changed since its proof, and HubError where the Hub refuses.
    """
    from dinoport.work.parcel import Publication
    from dinoport.work.publish import publish_folder

    asked = Publication(
        private, revision, create_pr, commit_message, token, Path(card) if card is not None else None, source_name
    )
    return publish_folder(local_folder(folder), repository, asked, on_progress)


def fleet(
    jobs: Iterable[str | Path | Mapping[str, Any] | None],
    out: str | Path = ".",
    request: Request | None = None,
    *,
    executor: Executor | None = None,
    level: str = "full",
    at_once: int | None = None,
    memory_bytes: int | None = None,
    recheck: bool = False,
    shard: str | None = None,
    fail_fast: bool = False,
    on_result: Told | None = None,
    **asked: Any,
) -> Fleet:
    """Convert and prove many checkpoints, each into a folder in `out`. One that fails does not stop the others.

    A job is a source, or a dict with the fields of a manifest's line (`source`, `target`, `verify`, and those of
    Request), or None for a blank line. `executor` is any engine with `submit`: of concurrent.futures, Dask's
    `Client.get_executor()`, submitit's. Without one, dinoport's own workers run `at_once` jobs at a time, as far as
    `memory_bytes` allow. Call `fleet` below `if __name__ == "__main__":`. Raises UsageError, before anything runs, for
    a job with a field or value that does not exist.
    """
    from dinoport.work.fleet import run_fleet
    from dinoport.work.fleets.jobs import jobs_of, shard_of

    request, checks = asked_for(request, Checks(level=level), asked)
    planned = shard_of(jobs_of(jobs, request, checks.level), shard)
    if executor is None and any(job.level == "full" for job in planned):
        require_packages("full")
    return run_fleet(
        local_folder(out),
        planned,
        executor=executor,
        at_once=at_once,
        memory_bytes=memory_bytes,
        recheck=recheck,
        fail_fast=fail_fast,
        on_result=on_result,
    )


def demo(
    folder: str | Path,
    checks: Checks | None = None,
    *,
    force: bool = False,
    on_progress: Progress = silent,
    **asked: Any,
) -> Report:
    """Convert the small genuine training checkpoint that ships with the package.

    Where the packages of the full proof are missing and no level is given, the proof is the exact one.
    """
    from importlib import resources

    if checks is None and missing(*PROOF):
        asked = {"level": "exact", **asked}
    request, checks = asked_for(Request(num_heads=2), checks, asked)  # its args name a builder that was narrowed
    checks = replace(checks, all_sizes=checks.level == "full")
    with resources.as_file(resources.files("dinoport.work") / DEMO_FILE) as path:
        return convert(path, folder, request, checks, force=force, on_progress=on_progress)


def load(
    source: str | Path,
    request: Request | None = None,
    checks: Checks | None = None,
    *,
    recheck: bool = False,
    on_progress: Progress = silent,
    **asked: Any,
) -> Loaded:
    """Convert a source into a cache, prove it, and return its model and image processor, ready to run.

    `model, processor = dinoport.load("checkpoint.pth")`. Keep the result to read its `.report`, the content of the
    folder's dinoport.json as a dict. The proof is the exact one; `level="full"` asks for all four. The verdict is
    printed to stderr. The second call finds the folder in the cache and only loads the model, unless the source, the
    request or dinoport's version changed. `recheck=True` compares every tensor of the folder with the source again. The
    cache is `$DINOPORT_CACHE`, else `~/.cache/dinoport`.

    Raises what `convert` raises, and NotProvenError where a folder of the cache was changed.
    """
    request, checks = asked_for(request, checks or Checks(level="exact"), asked)
    from dinoport.work.load import loaded

    refuse_missing("loading a model needs")
    check_for_outputs(checks)
    return loaded(given(source), request, checks, on_progress, recheck=recheck)


def visualize(
    folder: str | Path,
    image: str | Path,
    out: str | Path,
    *,
    size: int = DEFAULT_SIZE,
    mass: float = DEFAULT_MASS,
    on_progress: Progress = silent,
) -> Visualization:
    """Draw what a converted folder sees in a picture, as PNG files in the folder `out`.

    The files are: the attention of the CLS token in the last block, by head and on average; masks of the fewest patches
    that hold the share `mass` of it; and the principal components of the patch tokens. A model without attention gives
    the components alone. `size` is the picture's shorter side in pixels.

    Raises SettingError for a folder or picture that does not fit. Raises FolderError for an `out` that cannot be
    written, or that holds other files under the same names.
    """
    from dinoport.work.visualize import visualize_folder

    return visualize_folder(folder, image, out, size, mass, on_progress)

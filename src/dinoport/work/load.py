"""`load`: a source as a model that is ready to run, from a converted folder that is kept for the next time."""

import hashlib
import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any

from dinoport import __version__
from dinoport.errors import FolderError, MissingPackageError, NotProvenError, UsageError
from dinoport.files.byte_sources import ByteSource, ends_of
from dinoport.files.disk_errors import disk_errors
from dinoport.files.remote.caches import own_cache
from dinoport.formats.transformers_folder import PROCESSOR, REPORT, read_json
from dinoport.progress import Progress
from dinoport.request import Checks, Request
from dinoport.shown.address import shown_source
from dinoport.shown.packages import missing
from dinoport.work.convert import convert_place
from dinoport.work.prepare import prepare
from dinoport.work.verify import verify_place


class Loaded:
    """A model and its image processor: `model, processor = loaded`.

    `folder` is the converted folder in the cache. `report` is the content of its dinoport.json, a dict as
    `convert(…).to_dict()` gives it: an earlier process may have written it. Each part is loaded when it is first asked
    for, by the class that the report names.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.report: Mapping[str, Any] = read_json(folder / REPORT)

    def __iter__(self) -> Iterator[Any]:
        yield self.model
        yield self.processor

    def __repr__(self) -> str:
        return f"<{self.report['model']['class']}: {self.verdict}>"

    @property
    def verdict(self) -> str:
        """What was shown of the model, in one line."""
        return str(self.report["verdict"]["text"])

    @cached_property
    def model(self) -> Any:
        """The model of Transformers, in evaluation mode."""
        import transformers

        from dinoport.codebases.transformers.running import quiet

        cls = getattr(transformers, self.report["model"]["class"])
        with quiet:
            return cls.from_pretrained(self.folder, local_files_only=True, use_safetensors=True, dtype="auto").eval()

    @cached_property
    def processor(self) -> Any:
        """The image processor; None where no class of Transformers prepares pictures for this model.

        Raises MissingPackageError for a class that needs torchvision.
        """
        if not (self.folder / PROCESSOR).exists():
            return None
        from transformers import AutoImageProcessor

        try:
            return AutoImageProcessor.from_pretrained(self.folder, local_files_only=True)
        except (ImportError, ValueError) as error:  # Transformers 4 raises the latter
            if not missing("torchvision"):
                raise
            raise MissingPackageError(
                "the image processor of this model needs torchvision (not installed)",
                next_step=(
                    "for the version that fits your torch: pip install torchvision",
                    "`loaded.model` needs none",
                ),
            ) from error


def loaded(
    source: str | Path,
    request: Request,
    checks: Checks,
    on_progress: Progress,
    *,
    recheck: bool,
) -> Loaded:
    """The model of a source, from the cache, into which it is converted where it is not there yet.

    `recheck` compares a folder that is there with its source again. Raises NotProvenError where the two differ, and
    UsageError for a model that Transformers does not load.
    """
    from dinoport.files.remote.download import alone

    if request.to != "transformers":
        raise UsageError("`load` loads models of Transformers", found=f"to={request.to!r}", next_step="leave `to` out")
    folder = own_cache() / "models" / _key(source, request, checks.level, on_progress)
    with ExitStack() as held:
        try:
            with disk_errors(folder):
                folder.parent.mkdir(parents=True, exist_ok=True)
                waiting = "waiting for another run that makes this model"
                held.enter_context(alone(folder, lambda: on_progress(waiting, 0, 0)))
        except FolderError:
            if recheck or not folder.exists():
                raise  # what is there is given out of a cache to read alone: it got its name when it was whole
        if not folder.exists():
            convert_place(source, folder, request, checks, on_progress)
            found = Loaded(folder)
            print(f"dinoport: {found.verdict}", file=sys.stderr)
            return found
        if recheck:
            _compare_again(source, folder, request, on_progress)
        return Loaded(folder)


def _compare_again(source: str | Path, folder: Path, request: Request, on_progress: Progress) -> None:
    """Compare a folder of the cache with its source. Where they differ it is removed: nobody is to be given it."""
    try:
        report = verify_place(source, folder, request, Checks(level="exact"), on_progress)
        found = "; ".join(report.verdict.failures[:5])
    except NotProvenError as error:  # too damaged to be compared
        report, found = error.report, str(error.found)
    if report is not None and not report.verdict.failed:
        return
    removed = folder.with_name(f".{folder.name}.removed")
    with disk_errors(folder):
        shutil.rmtree(removed, ignore_errors=True)  # of a removal that was stopped
        folder.replace(removed)  # at once: what is half removed must not be given out
        shutil.rmtree(removed)
    raise NotProvenError(
        f"the copy of {shown_source(source)} in the cache is not equal to it any more, and was removed",
        where=str(folder),
        found=found,
        cause="the disk, or another program, changed a file of the cache",
        next_step="load it again: it is converted anew",
        report=report,
    )


def _key(source: str | Path, request: Request, level: str, on_progress: Progress) -> str:
    """What a folder of the cache is called: another one for a source that is not the same, to the nanosecond.

    Whatever else lies beside the source and decides something shows in the documents that would be written.
    """
    with prepare(source, request, on_progress) as conversion:
        files = [ends_of(conversion.sources), *map(_place_and_time, conversion.sources)]
        key = [__version__, level, request.to_dict(), files, conversion.documents, list(map(str, conversion.settings))]
    return hashlib.sha256(json.dumps(key, default=str, sort_keys=True).encode()).hexdigest()[:40]


def _place_and_time(source: ByteSource) -> list[object]:
    path = Path(source.where)
    if not path.exists():
        return [source.where]
    seen = path.stat()  # the last change of any kind too: whoever edits a file may give it back its time
    return [str(path.resolve()), seen.st_mtime_ns, seen.st_ctime_ns]

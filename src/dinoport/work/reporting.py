"""From a conversion and its proofs to the report."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dinoport.codebases.record import transform_fields
from dinoport.formats.checkpoint import Checkpoint
from dinoport.model import NOT_SHOWN, Setting
from dinoport.proofs.verdict import Proofs, Verdict, Word
from dinoport.report.report import Decision, Report, Source, account
from dinoport.request import Checks, words_of
from dinoport.shown.text import as_path
from dinoport.work.conversion import Conversion

if TYPE_CHECKING:
    from dinoport.files.output_file import WrittenFile
    from dinoport.formats.pinning import SourceFile


def report_of(
    conversion: Conversion,
    verdict: Verdict,
    proofs: Proofs,
    target: str,
    files: Sequence[WrittenFile] = (),
    pinned: Sequence[SourceFile] = (),
    checks: Checks | None = None,
) -> Report:
    """The report of a conversion, planned or done. `pinned` are the source's files, as `pinning` found them."""
    model, provenance, request = conversion.model, conversion.provenance, conversion.request
    checkpoint = conversion.checkpoint
    return Report(
        verdict=verdict,
        direction=f"to {request.to}",
        source=Source(
            conversion.source_name,
            checkpoint.format,
            checkpoint.size_bytes,
            provenance.label,
            tuple(provenance.notes),
            others=tuple(map(str, provenance.others or ())),
            files=tuple(pinned),
        ),
        family=str(model.family),
        class_name=conversion.target.form,
        ends=(model.title, conversion.target.title),
        target=target,
        request=request.to_dict(),
        settings=_settings(conversion.settings, conversion.assumed(resampled=proofs.at_other_sizes)),
        accounting=account(conversion.plan, conversion.dropped, model.decoding.steps),
        proofs=proofs,
        files=tuple(files),
        claimed=tuple(name for name in request.to_dict() if name in conversion.claimed),
        recorded=bool(files),
        remarks=conversion.remarks,
        versions=_versions(),
        command="" if conversion.located.live else _command(conversion, target, checks or Checks()),
        usage=conversion.writing.usage(conversion.target, target),
        heads=model.heads,
        lost=conversion.lost,
        transform=transform_fields(model.preprocessing),
    )


def planned_report(conversion: Conversion) -> Report:
    """The report of a conversion that has not been done."""
    return report_of(conversion, Verdict(Word.PLANNED, warnings=conversion.warnings), Proofs(), "")


def _command(conversion: Conversion, target: str, checks: Checks) -> str:
    """The command that makes the same folder again."""
    words = ["dinoport", "convert", as_path(conversion.source_name), as_path(target)]
    words += words_of(conversion.request.to_dict())
    words += ["--verify", checks.level] if checks.level != "full" else []
    return shlex.join(words)


def with_hashes(report: Report, source: Checkpoint, folder: Checkpoint | None = None) -> Report:
    """The report with hashes of whole files, for people to compare: the source's, and an existing folder's."""
    hashed = replace(report, source=report.source._replace(hashes=hashed_files(source)))
    return replace(hashed, files=hashed_files(folder)) if folder else hashed


def hashed_files(checkpoint: Checkpoint) -> tuple[WrittenFile, ...]:
    """A checkpoint's files on this machine, with their hashes: those that hold its weights."""
    from dinoport.files.checksums import hash_file
    from dinoport.files.output_file import WrittenFile

    paths = [path for source in checkpoint.sources if (path := Path(source.where)).is_file()]
    return tuple(WrittenFile(path.name, *hash_file(path)) for path in paths)


def _settings(settings: Sequence[Setting[object]], assumed: Sequence[Setting[object]]) -> tuple[Decision, ...]:
    """The settings as words. What is `assumed` stands in the verdict; what could be, and is not, was of no use."""
    return tuple(
        Decision(
            setting.name,
            str(setting.value),
            setting.origin.value,
            setting.reason,
            used=setting.origin not in NOT_SHOWN or setting in assumed,
        )
        for setting in settings
    )


def _versions() -> Mapping[str, str]:
    """Of what took part: torch and Transformers only where a proof imported them."""
    names = ("dinoport", "numpy", "torch", "transformers")
    return {name: str(sys.modules[name].__version__) for name in names if name in sys.modules}

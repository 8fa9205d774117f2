"""From a prepared conversion and its proofs to the report."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path

from dinoport.codebases.family import NOT_SHOWN
from dinoport.codebases.setting import Setting as FamilySetting
from dinoport.files.checksums import hash_file
from dinoport.files.output_file import WrittenFile
from dinoport.formats.checkpoint import Checkpoint
from dinoport.formats.pinning import SourceFile
from dinoport.formats.torch.writer import ORIGINAL_FILE
from dinoport.proofs.verdict import Proofs, Verdict
from dinoport.report.report import Report, Setting, Source, account
from dinoport.request import options_of
from dinoport.work.preparation import Prepared
from dinoport.work.returning import PreparedReturn


def prepared_report(
    prepared: Prepared,
    verdict: Verdict,
    proofs: Proofs,
    target: str,
    files: Sequence[WrittenFile],
    pinned: Sequence[SourceFile] = (),
    options: Sequence[str] = (),
) -> Report:
    """The report of a conversion to Transformers. `pinned` are the source's files, as `pinning` found them.

    `options` are the words of the command line that the request does not hold.
    """
    return Report(
        verdict=verdict,
        direction="to transformers",
        source=replace(
            _source(prepared.checkpoint, prepared.state.label, prepared.state.notes, prepared.others),
            files=tuple(pinned),
        ),
        family=f"{prepared.family.title} ({prepared.family.upstream})",
        class_name=prepared.target.class_name,
        target=target,
        request=prepared.request.to_dict(),
        settings=_settings(prepared.reading.settings, prepared.assumed(resampled=proofs.at_other_sizes)),
        accounting=account(prepared.plan),
        proofs=proofs,
        files=tuple(files),
        claimed=tuple(name for name in prepared.request.to_dict() if name in prepared.claimed),
        recorded=bool(files),
        remarks=prepared.remarks,
        versions=_versions(),
        command=_command(prepared, target, options),
        usage=_usage(prepared, target),
    )


def return_report(
    prepared: PreparedReturn,
    verdict: Verdict,
    proofs: Proofs,
    target: str,
    files: Sequence[WrittenFile],
    options: Sequence[str] = (),
) -> Report:
    """The report of a way back to the original's names, with `options` as in the way there."""
    return Report(
        verdict=verdict,
        direction="to original",
        source=_source(prepared.checkpoint, prepared.back.class_name, (), ()),
        family=f"{prepared.family.title} ({prepared.family.upstream})",
        class_name=prepared.back.class_name,
        target=target,
        request={},
        settings=_settings(prepared.reading.settings, prepared.reading.assumed(resampled=proofs.at_other_sizes)),
        accounting=account(prepared.plan),
        proofs=proofs,
        files=tuple(files),
        recorded=bool(files),
        remarks=(*prepared.checkpoint.remarks, *prepared.reading.remarks),
        versions=_versions(),
        command=shlex.join(["dinoport", "convert", prepared.checkpoint.where, target, "--to", "original", *options]),
        usage=(
            "import torch",
            f"weights = torch.load({_quoted(Path(target) / ORIGINAL_FILE)}, weights_only=True)",
            f"model.load_state_dict(weights)  # a model of {prepared.family.upstream}",
        ),
    )


def _command(prepared: Prepared, target: str, options: Sequence[str]) -> str:
    """The command that makes the same folder again."""
    words = ["dinoport", "convert", prepared.checkpoint.where, target]
    for option, value in options_of(prepared.request.to_dict()).items():
        words += [option, value]
    return shlex.join([*words, *options])


def _usage(prepared: Prepared, target: str) -> tuple[str, ...]:
    """Three lines of Python that load the folder; two where no image processor fits the model."""
    auto, folder = prepared.target.auto_class, _quoted(target)
    bare = prepared.target.class_name == "ViTModel" and prepared.request.pooler == "none"
    model = f"model = {auto}.from_pretrained({folder}{', add_pooling_layer=False' if bare else ''})"
    if prepared.target.channels != 3:
        return f"from transformers import {auto}", model
    processor = f"processor = AutoImageProcessor.from_pretrained({folder})"
    return f"from transformers import AutoImageProcessor, {auto}", processor, model


def _quoted(path: str | Path) -> str:
    return json.dumps(str(path), ensure_ascii=False)


def _source(checkpoint: Checkpoint, branch: str, stripped: Sequence[str], others: Sequence[object]) -> Source:
    labels = tuple(str(getattr(other, "label", other)) for other in others)
    return Source(checkpoint.where, checkpoint.format, checkpoint.size_bytes, branch, tuple(stripped), labels)


def with_hashes(report: Report, source: Checkpoint, folder: Checkpoint | None = None) -> Report:
    """The report with hashes of whole files, for people to compare: the source's, and an existing folder's."""
    hashed = replace(report, source=replace(report.source, hashes=hashed_files(source)))
    return replace(hashed, files=hashed_files(folder)) if folder else hashed


def hashed_files(checkpoint: Checkpoint) -> tuple[WrittenFile, ...]:
    """A checkpoint's files on this machine, with their hashes: those that hold its weights."""
    paths = [path for source in checkpoint.sources if (path := Path(source.where)).is_file()]
    return tuple(WrittenFile(path.name, *hash_file(path)) for path in paths)


def _settings(
    settings: Sequence[FamilySetting[object]], assumed: Sequence[FamilySetting[object]]
) -> tuple[Setting, ...]:
    """The settings as words. What is `assumed` stands in the verdict; what could be, and is not, was of no use."""
    return tuple(
        Setting(
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
    names = ["dinoport", "numpy", *(name for name in ("torch", "transformers") if name in sys.modules)]
    return {name: metadata.version(name) for name in names}

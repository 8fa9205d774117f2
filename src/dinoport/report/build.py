"""From a prepared conversion and its proofs to the report."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import metadata

from dinoport.checkpoints.checkpoint import Checkpoint
from dinoport.families.setting import Setting as FamilySetting
from dinoport.preparation import Prepared, PreparedReturn
from dinoport.report.report import Report, Setting, Source, account
from dinoport.verify.verdict import Proofs, Verdict
from dinoport.writing.output_file import WrittenFile


def prepared_report(
    prepared: Prepared, verdict: Verdict, proofs: Proofs, target: str, files: Sequence[WrittenFile]
) -> Report:
    """The report of a conversion to Transformers."""
    return Report(
        verdict=verdict,
        direction="to transformers",
        source=_source(prepared.checkpoint, prepared.state.label, prepared.state.notes, prepared.others),
        family=f"{prepared.family.title} ({prepared.family.upstream})",
        class_name=prepared.target.class_name,
        target=target,
        request=prepared.request.to_dict(),
        settings=_settings(prepared.reading.settings),
        accounting=account(prepared.plan),
        proofs=proofs,
        files=tuple(files),
        remarks=prepared.remarks,
        versions=_versions(),
    )


def return_report(
    prepared: PreparedReturn, verdict: Verdict, proofs: Proofs, target: str, files: Sequence[WrittenFile]
) -> Report:
    """The report of a way back to the original's names."""
    return Report(
        verdict=verdict,
        direction="to original",
        source=_source(prepared.checkpoint, prepared.back.class_name, (), ()),
        family=f"{prepared.family.title} ({prepared.family.upstream})",
        class_name=prepared.back.class_name,
        target=target,
        request={},
        settings=_settings(prepared.reading.settings),
        accounting=account(prepared.plan),
        proofs=proofs,
        files=tuple(files),
        remarks=prepared.reading.remarks,
        versions=_versions(),
    )


def _source(checkpoint: Checkpoint, branch: str, stripped: Sequence[str], others: Sequence[object]) -> Source:
    labels = tuple(str(getattr(other, "label", other)) for other in others)
    return Source(checkpoint.where, checkpoint.format, checkpoint.size_bytes, branch, tuple(stripped), labels)


def _settings(settings: Sequence[FamilySetting[object]]) -> tuple[Setting, ...]:
    return tuple(
        Setting(setting.name, str(setting.value), setting.origin.value, setting.reason) for setting in settings
    )


def _versions() -> Mapping[str, str]:
    """Of what took part: torch and Transformers only where a proof imported them."""
    names = ["dinoport", "numpy", *(name for name in ("torch", "transformers") if name in sys.modules)]
    return {name: metadata.version(name) for name in names}

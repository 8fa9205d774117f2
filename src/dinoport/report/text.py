"""The report as lines of text: verdict first, 80 columns, readable without colour."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from dinoport.report.inspection import Inspection
from dinoport.report.report import Report
from dinoport.verify.outputs import GATE
from dinoport.verify.rotation import GATE as ROTATION_GATE

WIDTH = 80
LABEL = 12


def report_lines(report: Report) -> Iterator[str]:
    """The whole report, one line at a time."""
    yield from _entry("verdict", str(report.verdict))
    for remark in report.remarks:
        yield from _entry("note", remark)
    yield ""
    source = report.source
    yield from _entry("source", source.where)
    yield from _entry("", f"{source.format}, {_size(source.size_bytes)}; {source.branch}")
    for note in source.stripped:
        yield from _entry("", note)
    yield from _entry("model", f"{report.family} → {report.class_name}")
    for setting in report.settings:
        yield from _entry("", f"{setting.name} = {setting.value} — {setting.origin}: {setting.reason}")
    yield ""
    yield from _accounting(report)
    yield from _proofs(report)
    if report.files:
        yield ""
        yield from _entry("folder", report.target)
        for file in report.files:
            yield from _entry("", f"{file.name}, {_size(file.size_bytes)}, sha256 {file.sha256[:16]}…")


def plan_lines(report: Report) -> Iterator[str]:
    """Every step of the plan, folded by block."""
    for target, source, count in report.accounting.steps:
        yield f"  {target}  ×{count}" if count > 1 else f"  {target}"
        yield from textwrap.wrap(f"← {source}", WIDTH, initial_indent="      ", subsequent_indent="        ")


def inspection_lines(found: Inspection) -> Iterator[str]:
    """What is in a source, branch by branch, and what would become of it."""
    yield from _entry("source", found.where)
    yield from _entry("", f"{found.format}, {_size(found.size_bytes)}")
    for branch in found.branches:
        yield ""
        yield from _entry("holds", f"{branch.label}: {branch.count} tensors, {_size(branch.size_bytes)}")
        for note in branch.stripped:
            yield from _entry("", note)
        for names, count, dtype, shape in branch.tensors:
            times = f" ×{count}" if count > 1 else ""
            yield from _entry("", f"{names}{times}  {dtype} {shape}")
    yield ""
    if found.plan:
        yield from _entry("becomes", f"{found.plan.family} → {found.plan.class_name}")
        for setting in found.plan.settings:
            yield from _entry("", f"{setting.name} = {setting.value} — {setting.origin}: {setting.reason}")
        yield from _accounting(found.plan)
        for remark in found.plan.remarks:
            yield from _entry("note", remark)
    else:
        yield "cannot be converted as it is:"
        yield from (f"  {line}" for line in (found.refusal or "").split("\n"))


def _accounting(report: Report) -> Iterator[str]:
    counts = report.accounting.counts
    parts = [f"{counts[kind]} {kind}" for kind in ("bijective", "recomputed", "synthesised") if counts.get(kind)]
    yield from _entry("tensors", f"{', '.join(parts)}; {_size(report.accounting.size_bytes)} to write")
    for line in report.accounting.synthesised:
        yield from _entry("made", f"{line.names}: {line.reason}")
    for line in report.accounting.dropped:
        yield from _entry("dropped", f"{line.count}: {line.names} — {line.reason}")


def _proofs(report: Report) -> Iterator[str]:
    proofs = report.proofs
    if proofs.exact:
        exact = proofs.exact
        text = f"{exact.found} tensors found again bit for bit"
        text += f", {exact.recomputed} recomputed alike" if exact.recomputed else ""
        text += f"; {exact.checksums} checksums of the source hold" if exact.checksums else ""
        yield from _entry("exact", _judged(exact.passed, text, exact.problems))
    if proofs.loading:
        loading = proofs.loading
        text = f"{loading.class_name}, transformers {loading.transformers_version}"
        text += ": no key missing, unexpected or mismatched"
        problems = (
            (loading.failure,) if loading.failure else (*loading.missing, *loading.unexpected, *loading.mismatched)
        )
        yield from _entry("loading", _judged(loading.passed, text, problems))
    if proofs.outputs:
        outputs = proofs.outputs
        height, width = outputs.size
        for name, difference in outputs.float64.items():
            single = outputs.float32[name].absolute if name in outputs.float32 else float("nan")
            text = f"{name} at {height}×{width}: {difference.relative:.1e} relative in float64 (limit {GATE:.0e})"
            yield from _entry("outputs", f"{text}; {single:.1e} absolute in float32")
        if outputs.failure:
            yield from _entry("outputs", f"failed: {outputs.failure}")
        if outputs.rotation:
            text = f"sines and cosines: {outputs.rotation.difference:.1e} absolute (limit {ROTATION_GATE:.0e})"
            yield from _entry("", text)
        for (height, width), difference in outputs.other_sizes.items():
            yield from _entry("", f"at {height}×{width}: {difference.relative:.1e} relative")
    if proofs.pixels:
        pixels = proofs.pixels
        text = pixels.status + (f" ({pixels.backend})" if pixels.backend else "")
        yield from _entry("pixels", text + (f": {pixels.reason}" if pixels.reason else f" on {pixels.picture}"))


def _judged(passed: bool, text: str, problems: tuple[str, ...]) -> str:
    if passed:
        return text
    more = f" … and {len(problems) - 5} more" if len(problems) > 5 else ""
    return "failed: " + "; ".join(problems[:5]) + more


def _entry(label: str, text: str) -> Iterator[str]:
    first = f"{label:<{LABEL}}"
    yield from textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=" " * LABEL, break_long_words=False, break_on_hyphens=False
    ) or [first]


def _size(size_bytes: int) -> str:
    value = float(size_bytes)
    for unit in ("bytes", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.2f} GB"

"""The report as lines of text: verdict first, 80 columns, readable without colour and by a screen reader.

Every line stands on its own: a label, or the indent of the one above, and words. Nothing is said by colour alone.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from dinoport.mapping.folding import fold_names
from dinoport.model import CLAIM, Origin
from dinoport.proofs.verdict import GATE, RUNTIME_GATE, Verdict, Word
from dinoport.report.next_steps import is_command, next_steps
from dinoport.report.tree import text_of, tree_of
from dinoport.shown.packages import needed_by
from dinoport.shown.text import shown
from dinoport.tensor import size_text

if TYPE_CHECKING:
    from dinoport.networks.heads.reading import HeadReading
    from dinoport.pictures.drawing import Visualization
    from dinoport.proofs.diagnosis.diagnosis import Diagnosis
    from dinoport.proofs.exported.findings import ExportedProof
    from dinoport.proofs.genuine import GenuineProof
    from dinoport.proofs.outputs import OutputsProof
    from dinoport.proofs.pixels import PixelClass
    from dinoport.report.inspection import Inspection
    from dinoport.report.report import Report, Setting

WIDTH = 80
LABEL = 12
"""Columns of the labels, on the left."""

FEW = 5
"""How many problems or rules of one kind are shown; the JSON report has all of them."""

KINDS = {
    "bijective": ("copied bit for bit", "to copy bit for bit"),
    "recomputed": ("computed anew", "to compute anew"),
    "synthesised": ("made", "to make"),
    "dropped": ("dropped", "to drop"),
}
"""What became of tensors where the exact proof holds, and what a plan asks for."""

ALIKE = {
    "equal": "are equal",
    "one grey level": "differ by one grey level",
    "two grey levels": "differ by two grey levels",
    "one pixel": "are cropped one pixel aside",
    "on white": "are laid on white",
    "rows as channels": "have rows that are taken for channels",
    "different": "differ otherwise",
    "not shown": "were not compared",
}
"""What was found on pictures, after their number."""


def report_lines(report: Report) -> Iterator[str]:
    """The whole report, one line at a time."""
    yield from _verdict(report)
    for number, step in enumerate(next_steps(report)):  # a command is one line, to be copied
        yield from [shown(f"{'':<{LABEL}}{step}")] if is_command(step) else entry("" if number else "next", step)
    if report.proofs.diagnosis:
        yield from _diagnosis(report.proofs.diagnosis, report.proofs.outputs)
    for remark in report.remarks:
        yield from entry("note", remark)
    yield ""
    source = report.source
    yield from entry("source", source.where)
    yield from entry("", f"{source.format}, {size_text(source.size_bytes)}; {source.branch}")
    for note in source.stripped:
        yield from entry("", note)
    yield from _model(report)
    yield ""
    yield from _accounting(report)
    proofs = [*_proofs(report)]
    yield from ["", *proofs] if proofs else []
    if report.files and not report.verdict.failed:
        yield ""
        yield from entry("folder", report.target)
        for file in report.files:
            yield from entry("", f"{file.name}, {size_text(file.size_bytes)}, sha256 {file.sha256[:16]}…")
        if report.recorded:
            yield from entry("", "dinoport.json, this report")
    if report.usage and report.proofs.exact and not report.verdict.failed:
        yield ""
        for number, line in enumerate(report.usage):
            yield shown(f"{'load it' if number == 0 else '':<{LABEL}}{line}")
        if absent := needed_by(report.usage):
            yield from entry("", f"# first: pip install {' '.join(absent)}")


def plan_lines(report: Report) -> Iterator[str]:
    """Every step of the plan, folded by block."""
    for target, source, count in report.accounting.steps:
        target, source = shown(target), shown(source)
        yield f"  {target}  ×{count}" if count > 1 else f"  {target}"
        yield from textwrap.wrap(f"← {source}", WIDTH, initial_indent="      ", subsequent_indent="        ")


def inspection_lines(found: Inspection) -> Iterator[str]:
    """What is in a source, branch by branch, and what would become of it."""
    yield from entry("source", found.where)
    yield from entry("", f"{found.format}, {size_text(found.size_bytes)}")
    yield from _parts(found) if len(found.parts) > 1 else []
    for branch in found.branches:
        yield ""
        tensors = f"{branch.count} tensor{'' if branch.count == 1 else 's'}"
        yield from entry("holds", f"{branch.label}: {tensors}, {size_text(branch.size_bytes)}")
        for note in branch.stripped:
            yield from entry("", note)
        for names, count, dtype, shape in branch.tensors:
            times = f" ×{count}" if count > 1 else ""
            yield from entry("", f"{names}{times}  {dtype} {shape}")
    yield ""
    if found.plan:
        yield from _model(found.plan, "becomes")
        yield ""
        yield from _accounting(found.plan)
        yield from _entries("warning", found.plan.verdict.warnings)
        yield from _heads(found.plan.heads)
        for remark in found.plan.remarks:
            yield from entry("note", remark)
    else:
        yield "cannot be converted as it is:"
        yield from (part for line in (found.refusal or "").split("\n") for part in _refusal_lines(line))


def _parts(found: Inspection) -> Iterator[str]:
    """The parts of a file as a tree: each model with the command that takes it, and what everything else is."""
    yield ""
    label = "contains"
    for branch, part in tree_of(found.parts):
        yield shown(f"{label:<{LABEL}}{branch.line}{text_of(part) if part else ''}".rstrip())
        label = ""
        if part and part.command:
            yield shown(f"{'':<{LABEL}}{branch.below}{part.command}")
        for words in (*part.needs, *filter(None, [part.refusal])) if part else ():
            yield shown(f"{'':<{LABEL}}{branch.below}{words}")


def visualization_lines(drawn: Visualization) -> Iterator[str]:
    """What was drawn, as text."""
    height, width = drawn.size
    yield from entry("folder", str(drawn.folder))
    yield from entry("", f"{len(drawn.files)} pictures of {width}×{height} pixels")
    yield from entry("picture", "picture.png: what the model saw")
    if drawn.heads:
        yield from entry(
            "attention", f"attention-mean.png, attention-head-… of {drawn.heads} heads: the CLS token's, last block"
        )
        yield from entry("masks", f"mask-mean.png, mask-head-…: the patches that hold {drawn.mass:.0%} of it")
    if "pca.png" in drawn.files:
        yield from entry(
            "components", "pca.png: the three directions in which patches differ most, as red, green, blue"
        )
    for note in drawn.notes:
        yield from entry("note", note)


def _heads(reading: HeadReading | None) -> Iterator[str]:
    """What the weights say of the number of heads, with the curve that they say it by."""
    if reading is None:
        return
    found = reading.found
    looks = f"look like {found} heads of {reading.width // found}" if found else None
    yield from entry("weights", looks or f"cannot tell the number of heads: {reading.silence}")
    if reading.scores:
        curve = ", ".join(f"{score.inside:.1f} inside {score.head_dim}" for score in reading.scores)
        yield from entry("", f"boundaries by channels of a head: {curve}; chance is 1, clear is {reading.limit:.1f}")


def figure(difference: float) -> str:
    """A difference with two digits: `2.1e-16`, and `0` where there is none."""
    return f"{difference:.1e}" if difference else "0"


def counts_text(report: Report) -> str:
    """How many tensors had which fate; or are to have it, where no exact proof holds."""
    counts, exact = report.accounting.counts, report.proofs.exact
    planned = exact is None or not exact.passed
    return ", ".join(f"{counts[kind]} {words[planned]}" for kind, words in KINDS.items() if counts.get(kind))


def _verdict(report: Report) -> Iterator[str]:
    verdict = report.verdict
    yield from entry("verdict", headline(verdict))
    for label, lines in (
        ("because", _few(verdict.failures)),
        ("except", verdict.exceptions),
        ("assuming", () if verdict.failed else folded(verdict.assumptions)),
        ("not shown", verdict.not_shown),
        ("warning", verdict.warnings),
    ):
        yield from _entries(label, lines)


def headline(verdict: Verdict) -> str:
    """The verdict in one line, which says that there is more to it where there is, and names what may be other."""
    word = Word.EQUAL if verdict.word is Word.EQUAL_EXCEPT else verdict.word
    kinds = {"exception": verdict.exceptions, "warning": verdict.warnings}
    parts = [f"{len(lines)} {kind}{'s' if lines[1:] else ''}" for kind, lines in kinds.items() if lines]
    text = f"{word.value} {verdict.shown}".rstrip()
    text += f", {verdict.assuming}" if verdict.assuming and not verdict.failed else ""
    return f"{text}, with {' and '.join(parts)}" if parts else text


def folded(assumptions: Sequence[str]) -> list[str]:
    """Assumptions, those of one reason together: `eps = 1e-06, activation = exact gelu (as in all DINO models)`."""
    by_reason: dict[str, list[str]] = {}
    for assumption in assumptions:
        value, _, reason = assumption.partition(" (")
        by_reason.setdefault(reason, []).append(value)
    return [f"{', '.join(values)}{f' ({reason}' if reason else ''}" for reason, values in by_reason.items()]


def _diagnosis(found: Diagnosis, outputs: OutputsProof | None) -> Iterator[str]:
    if found.by_content:
        same = "; outputs are still equal" if outputs and not outputs.unshown and not outputs.differs else ""
        text = f"at {found.block}, the first whose tensors differ{same}"
    else:
        text = f"at {found.block}, the first that differs"
        text += f" of {len(outputs.blocks)} compared" if outputs and found.block in outputs.blocks else ""
        text += f": {figure(found.relative)} relative in float64" if found.relative is not None else ""
    yield from entry("begins", text)
    yield from entry("cause", cause_text(found))
    yield from _entries("content", _few(found.misplaced))
    yield from _entries("fed by", found.rules)


def cause_text(found: Diagnosis) -> str:
    """The cause in words, and how far it was shown to be one."""
    if found.cause and found.remaining is not None:
        return f"{found.cause}; taken into account, both are equal ({figure(found.remaining)})"
    if found.cause and found.partly:
        return f"in part: {found.cause}; that explains where the difference begins, and not all of it"
    if found.cause:
        return f"{found.cause}, as their contents show"
    from dinoport.proofs.diagnosis.diagnosis import BUDGET_SECONDS

    ending = f"; not all were tried, the time of {BUDGET_SECONDS:.0f} s ran out" if found.out_of_time else ""
    if found.tried:
        return f"none of the usual mistakes explains it ({found.tried} tried{ending})"
    return "not found by the tensors' contents alone"


def _model(report: Report, label: str = "model") -> Iterator[str]:
    yield from entry(label, " → ".join(report.ends))
    for origin in Origin:
        settings = [setting for setting in report.settings if setting.used and setting.origin == origin.value]
        if settings:
            texts = [*map(_setting, settings)]
            listed = ", ".join(texts) if origin is Origin.STORED else "; ".join(folded(texts))
            yield from entry("", f"{origin.value}: {listed}")
    unused = [setting for setting in report.settings if not setting.used]
    if unused:
        yield from entry("", f"not used here: {', '.join(map(_setting, unused))}")
    for label, options, ending in (("asked", report.asked, ""), ("claimed", report.told, f" ({CLAIM})")):
        if options:
            yield from entry(label, ", ".join(f"{option} {value}" for option, value in options.items()) + ending)


def _setting(setting: Setting) -> str:
    text = f"{setting.name} = {setting.value}"
    return text if setting.origin == Origin.STORED.value else f"{text} ({setting.reason})"


def _accounting(report: Report) -> Iterator[str]:
    accounting = report.accounting
    yield from entry("tensors", f"{counts_text(report)}; {size_text(accounting.size_bytes)} in all")
    for group in accounting.groups:
        become = f" become {group.targets}" if group.targets != group.sources else ""
        yield from entry("", f"{group.names}: {group.sources} tensors{become}, {size_text(group.size_bytes)}")
    for line in accounting.synthesised:
        yield from entry("made", f"{line.names}: {line.reason}")
    for line in accounting.dropped:
        yield from entry("dropped", f"{line.names}: {line.reason}")


def _proofs(report: Report) -> Iterator[str]:
    proofs = report.proofs
    if proofs.exact:
        exact = proofs.exact
        text = f"{exact.found} tensors found again bit for bit"
        text += f", {exact.recomputed} recomputed alike" if exact.recomputed else ""
        text += f"; {exact.checksums} checksums of the source hold" if exact.checksums else ""
        yield from entry("exact", _judged(exact.passed, text, exact.problems))
        if exact.zero_matrices:
            share = f"{len(exact.zero_matrices)} of {exact.matrices} matrices are zero throughout"
            yield from entry("", f"{share}: {', '.join(_few(fold_names(exact.zero_matrices)))}")
    if proofs.loading:
        loading = proofs.loading
        text = f"{loading.class_name}, {loading.library} {loading.version}"
        text += ": no key missing, unexpected or mismatched" if proofs.exported is None else ""
        problems = (
            (loading.failure,) if loading.failure else (*loading.missing, *loading.unexpected, *loading.mismatched)
        )
        yield from entry("loading", _judged(loading.passed, text, problems))
    if proofs.outputs:
        yield from _outputs(proofs.outputs)
    if proofs.exported:
        yield from _entries("graph", graph_lines(proofs.exported))
    if proofs.genuine:
        yield from _genuine(proofs.genuine)
    if proofs.pixels:
        pixels = proofs.pixels
        text = pixels.status + (f" ({pixels.backend})" if pixels.backend else "")
        text += f" on {pixels.picture}" if pixels.picture else ""
        text += f": {pixels.reason}" if pixels.reason else ""
        judged = "failed: " if pixels.failures else "" if pixels.status == "not shown" else "passed: "
        yield from entry("pixels", judged + text)
        if pixels.classes:
            yield from entry("", pixel_classes_text(pixels.classes))


def pixel_classes_text(classes: Sequence[PixelClass]) -> str:
    """How many pictures that stand for all others are prepared as the original does it, and what the rest are."""
    sizes = sum(one.share is not None for one in classes)
    found = {status: sum(one.status == status for one in classes) for status in ALIKE}
    results = ", ".join(f"{count} {ALIKE[status]}" for status, count in found.items() if count)
    what = f"{sizes} sizes, which stand for all, and {len(classes) - sizes} kinds such as grey or turned"
    return f"then {len(classes)} more pictures ({what}): {results}"


def _outputs(proof: OutputsProof) -> Iterator[str]:
    height, width = proof.size
    lines = [f"failed: {proof.failure}"] if proof.failure else []
    if proof.unshown:
        values = f" ({proof.undefined} values)" if proof.undefined else ""
        yield from entry("outputs", f"not shown: {proof.unshown}{values}")
        return
    for name, difference in proof.float64.items():
        judged = "passed" if difference.relative <= GATE else "failed"
        text = (
            f"{judged}: {name} at {height}×{width} differ by {figure(difference.relative)} in float64, limit {GATE:.0e}"
        )
        single = proof.float32.get(name)
        lines.append(f"{text}; {figure(single.relative)} in float32" if single else text)
    if proof.blocks:
        name, (difference, _) = max(proof.blocks.items(), key=lambda block: block[1][0].relative)
        lines.append(f"{len(proof.blocks)} blocks differ by {figure(difference.relative)} at most ({name})")
    if proof.rotation:
        judged = "passed" if proof.rotation.passed else "failed"
        difference_text = f"{figure(proof.rotation.difference)}, limit {proof.rotation.limit:.0e}"
        lines.append(f"{judged}: rotary positions (sines and cosines) differ by {difference_text}")
    if proof.summed:
        moved = figure(proof.summed.relative)
        lines.append(f"passed: the sum of cls_token and its position, made in advance, moves outputs by {moved}")
    if proof.merged:
        lines.append(f"merging adapters and rounding once moves outputs by {figure(proof.merged.relative)}")
    if proof.table is not None:
        lines.append(f"the table of positions differs by {figure(proof.table)} from the original's for this size")
    for (height, width), difference in proof.other_sizes.items():
        lines.append(f"at {height}×{width} outputs differ by {figure(difference.relative)}")
    for (height, width), why in proof.uncomputed.items():
        lines.append(f"at {height}×{width} nothing can be computed: {why}")
    yield from _entries("outputs", lines)


def graph_lines(found: ExportedProof) -> list[str]:
    """What is known of a graph besides its tensors and outputs."""
    lines = []
    if found.healed:
        values = dict.fromkeys(f"{written:.9g} as {meant:.9g}" for written, meant in found.healed.values())
        lines.append(f"{len(found.healed)} numbers are read as they were meant: {', '.join(values)}")
    lines += _few([f"folded: {name} is {words}" for name, words in found.folded.items()])
    if found.unhealed:
        lines.append(f"as the file is written, outputs differ by {figure(found.unhealed.relative)}")
    if found.tables:
        lines.append(f"compared by themselves, as tables of positions: {', '.join(_few(found.tables))}")
    if found.remaining:
        lines.append(f"in no form of the original, and no matrix of its: {', '.join(_few(found.remaining))}")
    if found.runtime_difference:
        judged = "passed" if found.runtime_difference.relative <= RUNTIME_GATE else "failed"
        limit = "float16 has no limit" if found.rounds else f"limit {RUNTIME_GATE:.0e}; this is not a proof of equality"
        judged = "measured" if found.rounds else judged
        differ = f"outputs differ by {figure(found.runtime_difference.relative)}"
        lines.append(f"{found.runtime} {judged}: {differ}, {limit}")
    return lines


def _genuine(proof: GenuineProof) -> Iterator[str]:
    lines = [f"{'passed' if proof.passed else 'failed'}: {proof.code}; code from there was run"]
    lines += [proof.failure] if proof.failure else []
    for name, difference in proof.differences.items():
        lines.append(f"{name} differ by {difference.relative:.1e} in float64, limit {GATE:.0e}")
    if proof.rotation is not None:
        lines.append(f"its own sines and cosines differ by {proof.rotation:.1e}")
    yield from _entries("genuine", lines)


def _judged(passed: bool, text: str, problems: Sequence[str]) -> str:
    return f"passed: {text}" if passed else "failed: " + "; ".join(_few(problems))


def _few(lines: Sequence[str]) -> list[str]:
    return [*lines[:FEW], f"and {len(lines) - FEW} more"] if len(lines) > FEW else [*lines]


def _entries(label: str, lines: Iterable[str]) -> Iterator[str]:
    for number, line in enumerate(lines):
        yield from entry("" if number else label, line)


def _refusal_lines(line: str) -> list[str]:
    """A line of a message, indented and in lines as on a terminal."""
    return textwrap.wrap(f"  {line}", WIDTH, subsequent_indent="      ", break_long_words=False, break_on_hyphens=False)


def entry(label: str, text: str) -> Iterator[str]:
    """A label and wrapped words, shown as text. A name that is too long for a line is not broken: it can be copied."""
    first, text = f"{label:<{LABEL}}", shown(text)
    yield from textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=" " * LABEL, break_long_words=False, break_on_hyphens=False
    ) or [first.rstrip()]

"""The report as lines of text: verdict first, readable without colour and by a screen reader.

Every line stands on its own: a label, or the indent of the one above, and words. Nothing is said by colour alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from dinoport.mapping.folding import fold_names
from dinoport.model import CLAIM, Origin
from dinoport.proofs.verdict import Verdict, Word
from dinoport.report.next_steps import next_steps
from dinoport.report.proof_lines import proof_lines
from dinoport.shown.lines import LABEL, arrows, entries, entry, figure, hanging, whole, wrapped
from dinoport.shown.packages import needed_by
from dinoport.shown.text import counted, few, listed
from dinoport.tensor import size_text

if TYPE_CHECKING:
    from dinoport.finding.listing import Part
    from dinoport.networks.heads.reading import HeadReading
    from dinoport.proofs.diagnosis.diagnosis import Diagnosis
    from dinoport.proofs.outputs import OutputsProof
    from dinoport.report.inspection import Inspection
    from dinoport.report.report import Decision, Report


KINDS = {
    "bijective": ("copied bit for bit", "to copy bit for bit"),
    "recomputed": ("computed anew", "to compute anew"),
    "synthesised": ("made", "to make"),
    "dropped": ("dropped", "to drop"),
}
"""What became of tensors where the exact proof holds, and what a plan asks for."""


def report_lines(report: Report) -> Iterator[str]:
    """The whole report, one line at a time."""
    yield from _verdict(report)
    for number, step in enumerate(next_steps(report)):  # a command is one line, to be copied
        yield from entry("" if number else "next", step)
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
    proofs = [*proof_lines(report)]
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
            yield whole(line, "" if number else "load it")
        if absent := needed_by(report.usage):
            yield from entry("", f"# first: pip install {' '.join(absent)}")


def plan_lines(report: Report) -> Iterator[str]:
    """Every step of the plan, folded by block: what is within a block stands below a line for its name."""
    yield from entry("plan", "each tensor to write ← what it is made of")
    blocks: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for target, source, _ in report.accounting.steps:
        (to_block, _, to), (of_block, _, of) = target.rpartition("}."), source.rpartition("}.")
        is_within = to_block.count("{") == of_block.count("{") == 1 and " " not in f"{target}{of_block}"
        block, row = ((to_block, of_block), (to, of)) if is_within else (("", ""), (target, source))
        blocks.setdefault(block, []).append(row)
    for (to_block, of_block), rows in blocks.items():
        yield from arrows([(f"{to_block}}}", f"{of_block}}}")], "  ") if to_block else ()
        yield from arrows(rows, "    " if to_block else "  ")


def inspection_lines(found: Inspection) -> Iterator[str]:
    """What is in a source, branch by branch, and what would become of it; why nothing would before the long list."""
    yield from entry("source", found.where)
    yield from entry("", f"{found.format}, {size_text(found.size_bytes)}")
    yield from _parts(found) if found.parts else []
    if not found.plan:
        yield ""
        yield "cannot be converted as it is:"
        yield from (part for line in (found.refusal or "").split("\n") for part in hanging(f"  {line}"))
    for branch in found.branches:
        yield ""
        tensors = counted(branch.count, "tensor")
        yield from entry("holds", f"{branch.label}: {tensors}, {size_text(branch.size_bytes)}")
        for note in branch.stripped:
            yield from entry("", note)
        for names, count, dtype, shape in branch.tensors:
            times = f" ×{count}" if count > 1 else ""
            yield from entry("", f"{names}{times}  {dtype} {shape}")
    if found.plan:
        yield ""
        yield from _model(found.plan, "becomes")
        yield ""
        yield from _accounting(found.plan)
        yield from entries("warning", found.plan.verdict.warnings)
        yield from _heads(found.plan.heads)
        for remark in found.plan.remarks:
            yield from entry("note", remark)
    for number, command in enumerate(found.commands):
        yield from () if number else ("",)
        yield whole(command, "" if number else "next")


def _parts(found: Inspection) -> Iterator[str]:
    """The parts of a file as a tree: each model with the command that takes it, and what everything else is."""
    yield ""
    label = "contains"
    for branch, part in tree_of(found.parts):
        below = f"{'':<{LABEL}}{branch.below}"
        yield from wrapped(f"{branch.name}{text_of(part) if part else ''}", f"{label:<{LABEL}}{branch.line}", below)
        label = ""
        if part and part.command:
            yield whole(f"{branch.below}{part.command}")
        for words in (*part.needs, *filter(None, [part.refusal])) if part else ():
            yield from wrapped(words, below, below)


def _heads(reading: HeadReading | None) -> Iterator[str]:
    """What the weights say of the number of heads, with the curve that they say it by."""
    if reading is None:
        return
    found = reading.found
    looks = f"look like {counted(found, 'head')} of {reading.width // found}" if found else None
    yield from entry("weights", looks or f"cannot tell the number of heads: {reading.silence}")
    if reading.scores and found:
        yield from entry("", f"boundaries of {reading.curve}")


def counts_text(report: Report) -> str:
    """How many tensors had which fate; or are to have it, where no exact proof holds."""
    counts, exact = report.accounting.counts, report.proofs.exact
    planned = exact is None or not exact.passed
    return ", ".join(f"{counts[kind]} {words[planned]}" for kind, words in KINDS.items() if counts.get(kind))


def _verdict(report: Report) -> Iterator[str]:
    verdict = report.verdict
    yield from entry("verdict", headline(verdict))
    for label, lines in (
        ("because", few(verdict.failures)),
        ("except", verdict.exceptions),
        ("assuming", () if verdict.failed else folded(verdict.assumptions)),
        ("not shown", verdict.not_shown),
        ("warning", verdict.warnings),
    ):
        yield from entries(label, lines)


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
        compared = fold_names(outputs.blocks) if outputs and found.block in outputs.blocks else ()
        text += f" of {listed(compared)}" if compared else ""
        text += f": {figure(found.relative)} relative in float64" if found.relative is not None else ""
    yield from entry("begins", text)
    yield from entry("cause", cause_text(found))
    yield from entries("content", few(found.misplaced))
    yield from entries("fed by", found.rules)


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
    said_above = () if report.verdict.failed else report.verdict.assumptions
    for origin in Origin:
        used = [setting for setting in report.settings if setting.used and setting.origin == origin.value]
        settings = [setting for setting in used if setting.text not in said_above]
        if settings:
            texts = [*map(_decision, settings)]
            said = ", ".join(texts) if origin is Origin.STORED else "; ".join(folded(texts))
            yield from entry("", f"{origin.value}: {said}")
    if said_above:
        yield from entry("", "the other values stand above, under assuming")
    unused = [setting for setting in report.settings if not setting.used]
    if unused:
        yield from entry("", f"not used here: {', '.join(map(_decision, unused))}")
    for label, options, ending in (("asked", report.asked, ""), ("claimed", report.told, f" ({CLAIM})")):
        if options:
            yield from entry(label, ", ".join(f"{option} {value}" for option, value in options.items()) + ending)


def _decision(decision: Decision) -> str:
    return f"{decision.name} = {decision.value}" if decision.origin == Origin.STORED.value else decision.text


def _accounting(report: Report) -> Iterator[str]:
    accounting = report.accounting
    planned = report.verdict.word is Word.PLANNED
    yield from entry("tensors", f"{counts_text(report)}; {size_text(accounting.size_bytes)} in all")
    for group in accounting.groups:
        become = f" become {group.targets}" if group.targets != group.sources else ""
        yield from entry(
            "", f"{group.names}: {counted(group.sources, 'tensor')}{become}, {size_text(group.size_bytes)}"
        )
    for line in accounting.synthesised:
        yield from entry("to make" if planned else "made", f"{line.names}: {line.reason}")
    for line in accounting.dropped:
        yield from entry("to drop" if planned else "dropped", f"{line.names}: {line.reason}")


FORK, LAST, BAR, BLANK = "├─ ", "└─ ", "│  ", "   "


class TreeLine(NamedTuple):
    """A line of the tree, and what stands below it in front of more of the same."""

    line: str
    name: str
    below: str


@dataclass
class _Node:
    part: Part | None = None
    children: dict[str, _Node] = field(default_factory=dict)


def tree_of(parts: Sequence[Part]) -> Iterator[tuple[TreeLine, Part | None]]:
    """Every part with its line, and a line for what several of them lie in."""
    root = _Node()
    for part in parts:
        node = root
        for name in filter(None, part.prefix.rstrip(".").split(".")):
            node = node.children.setdefault(name, _Node())
        node.part = part
    if root.part:
        yield TreeLine("", "the file itself", BAR if root.children else BLANK), root.part
    yield from _below(root, "")


def _below(node: _Node, indent: str) -> Iterator[tuple[TreeLine, Part | None]]:
    for place, (name, child) in enumerate(node.children.items(), 1):
        while child.part is None and len(child.children) == 1:  # a name in which nothing else lies
            ((inner, child),) = child.children.items()
            name = f"{name}.{inner}"
        is_last = place == len(node.children)
        below = indent + (BLANK if is_last else BAR)
        yield TreeLine(f"{indent}{LAST if is_last else FORK}", name, below), child.part
        yield from _below(child, below)


def text_of(part: Part) -> str:
    """What a part is, how many tensors, and their size."""
    what = f"{part.what}, under the names of {part.names}" if part.names else part.what
    return f": {what}, {counted(part.count, 'tensor')}, {size_text(part.size_bytes)}"

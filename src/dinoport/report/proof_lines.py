"""What each proof found, as lines of a report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from dinoport.mapping.folding import fold_names
from dinoport.mapping.operations import Kind
from dinoport.proofs.verdict import GATE, RUNTIME_GATE
from dinoport.shown.lines import entries, entry, figure, limit_text
from dinoport.shown.text import counted, few, listed

if TYPE_CHECKING:
    from dinoport.proofs.exact import ExactProof
    from dinoport.proofs.exported.findings import ExportedProof
    from dinoport.proofs.genuine import GenuineProof
    from dinoport.proofs.outputs import OutputsProof
    from dinoport.proofs.pixels import PixelClass
    from dinoport.report.report import Report

ALIKE = {
    "equal": "are equal",
    "one grey level": "differ by one grey level",
    "two grey levels": "differ by two grey levels",
    "one pixel": "are cropped one pixel off",
    "on white": "are laid on white",
    "rows as channels": "have rows that are taken for channels",
    "different": "differ otherwise",
    "not shown": "were not compared",
}
"""What was found on pictures, after their number."""


def proof_lines(report: Report) -> Iterator[str]:
    proofs = report.proofs
    if proofs.exact:
        exact = proofs.exact
        counts = report.accounting.counts
        written = counts.get(Kind.BIJECTIVE.value, 0) + counts.get(Kind.RECOMPUTED.value, 0)
        text = counted_text(exact)
        text += f", written as {written}" if written != exact.found + exact.recomputed else ""
        text += f"; {exact.checksums} checksums of the source hold" if exact.checksums else ""
        yield from entry("exact", _judged(exact.passed, text, exact.problems))
        if exact.zero_matrices:
            share = f"{exact.zero_share} zero throughout"
            yield from entry("", f"{share}: {listed(fold_names(exact.zero_matrices))}")
    if proofs.loading:
        loading = proofs.loading
        text = f"{loading.class_name}, {loading.loader}"
        text += ": no key missing, unexpected or mismatched" if proofs.exported is None else ""
        problems = (
            (loading.failure,) if loading.failure else (*loading.missing, *loading.unexpected, *loading.mismatched)
        )
        yield from entry("loading", _judged(loading.passed, text, problems))
    if proofs.outputs:
        yield from _outputs(proofs.outputs)
    if proofs.exported:
        yield from entries("graph", graph_lines(proofs.exported))
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


def counted_text(exact: ExactProof) -> str:
    """How many tensors were found again, and how many are others: equal to what was computed again from the source."""
    texts = [f"{counted(exact.found, 'tensor')} found again bit for bit"] if exact.found or not exact.recomputed else []
    anew = exact.recomputed if texts else counted(exact.recomputed, "tensor")
    texts += [f"{anew} computed again from the source, and equal"] if exact.recomputed else []
    return ", ".join(texts)


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
        values = f" ({counted(proof.undefined, 'value')})" if proof.undefined else ""
        yield from entry("outputs", f"not shown: {proof.unshown}{values}")
        return
    for name, difference in proof.float64.items():
        judged = "passed" if difference.relative <= GATE else "failed"
        differ = f"differ by {figure(difference.relative, GATE)} in float64, limit {limit_text(GATE)}"
        text = f"{judged}: {name} at {height}×{width} {differ}"
        single = proof.float32.get(name)
        lines.append(f"{text}; {figure(single.relative)} in float32" if single else text)
    if proof.blocks:
        name, (difference, _) = max(proof.blocks.items(), key=lambda block: block[1][0].relative)
        compared = listed(fold_names(proof.blocks))
        lines.append(f"{compared} differ by {figure(difference.relative)} at most ({name})")
    if proof.rotation:
        judged = "passed" if proof.rotation.passed else "failed"
        found, limit = proof.rotation.difference, proof.rotation.limit
        difference_text = f"{figure(found, limit)}, limit {limit_text(limit)}"
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
    yield from entries("outputs", lines)


def graph_lines(found: ExportedProof) -> list[str]:
    """What is known of a graph besides its tensors and outputs."""
    lines = []
    if found.healed:
        values = dict.fromkeys(f"{written:.9g} as {meant:.9g}" for written, meant in found.healed.values())
        lines.append(f"{counted(len(found.healed), 'number')} read as meant: {', '.join(values)}")
    lines += few([f"folded: {name} is {words}" for name, words in found.folded.items()])
    if found.unhealed:
        lines.append(f"as the file is written, outputs differ by {figure(found.unhealed.relative)}")
    if found.tables:
        lines.append(f"compared by themselves, as tables of positions: {listed(found.tables)}")
    if found.remaining:
        lines.append(f"in no form of the original, and no matrix of its: {listed(found.remaining)}")
    if found.runtime_difference:
        judged = "passed" if found.runtime_difference.relative <= RUNTIME_GATE else "failed"
        limit = (
            "float16 has no limit"
            if found.rounds
            else f"limit {limit_text(RUNTIME_GATE)}; this is not a proof of equality"
        )
        judged = "measured" if found.rounds else judged
        differ = f"outputs differ by {figure(found.runtime_difference.relative, RUNTIME_GATE)}"
        lines.append(f"{found.runtime} {judged}: {differ}, {limit}")
    return lines


def _genuine(proof: GenuineProof) -> Iterator[str]:
    lines = [f"{'passed' if proof.passed else 'failed'}: {proof.code}; code from there was run"]
    lines += [proof.failure] if proof.failure else []
    for name, difference in proof.differences.items():
        lines.append(f"{name} differ by {figure(difference.relative, GATE)} in float64, limit {limit_text(GATE)}")
    if proof.rotation is not None:
        lines.append(f"its own sines and cosines differ by {proof.rotation:.1e}")
    yield from entries("genuine", lines)


def _judged(passed: bool, text: str, problems: Sequence[str]) -> str:
    return f"passed: {text}" if passed else "failed: " + "; ".join(few(problems))

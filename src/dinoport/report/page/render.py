"""From a report to its page: what is shown, in the order of the template."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dinoport.errors import MissingPackageError
from dinoport.pictures.images import Components, Picture, brightest, embedded, heat, is_dark, reduced
from dinoport.proofs.outputs import OutputsProof
from dinoport.proofs.pictures import Pair, Pictures
from dinoport.proofs.verdict import GATE, Proofs, Word
from dinoport.report.next_steps import next_steps
from dinoport.report.page.chart import block_chart, head_chart, size_rows
from dinoport.report.proof_lines import counted_text, graph_lines
from dinoport.report.report import Report
from dinoport.report.text import cause_text, counts_text, folded, headline
from dinoport.shown.lines import figure, limit_text
from dinoport.shown.packages import installing, missing
from dinoport.shown.text import counted, shown
from dinoport.tensor import Array, size_text

if TYPE_CHECKING:
    from markupsafe import Markup

PACKAGES = ("jinja2", "matplotlib", "PIL")
AMPLIFIED = 32
"""How much brighter a difference of pixels is drawn than it is: one grey level is hardly to be seen."""

MARK = "◆"
"""What stands behind the name of a value that the verdict assumes."""


def require_page_packages(what: str) -> None:
    """Raise MissingPackageError, before anything is written, where a page could not be drawn."""
    if absent := missing(*PACKAGES):
        raise MissingPackageError(
            f"{what} needs {', '.join(absent)} (not installed)",
            next_step=(installing(absent), "or a report as .json, which needs none of these"),
        )


def page(report: Report, worded: Callable[[str], str] = str) -> str:
    """The whole page; `worded` goes over each text. What a checkpoint says is escaped: it may say anything."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("dinoport.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: shown(worded(value)) if type(value) is str else value,  # markup was shown before
    )
    filters: dict[str, Callable[[Any], object]] = {"size": size_text, "figure": figure}
    environment.filters |= {**filters, "unbroken": lambda text: unbroken(worded(text))}
    proofs = report.proofs
    diagnosis = proofs.diagnosis
    return environment.get_template("page.html.j2").render(
        report=report,
        verdict=report.verdict,
        headline=_capital(headline(report.verdict)),
        assumptions=_assumptions(report),
        mark=MARK,
        tone=_tone(report.verdict.word),
        tiles=proof_tiles(proofs),
        next_steps=next_steps(report),
        diagnosis=diagnosis,
        cause=_capital(cause_text(diagnosis)) if diagnosis else "",
        counts=counts_text(report),
        gate=limit_text(GATE),
        outputs=proofs.outputs,
        graph=graph_lines(proofs.exported) if proofs.exported else [],
        chart=_chart(proofs),
        sizes=_sizes(proofs.outputs),
        heads=report.heads,
        head_chart=head_chart(report.heads) if report.heads and report.heads.scores else None,
        attention=_attention(proofs.pictures),
        patches=_patches(proofs.pictures),
        pixels=_pixels(proofs.pictures),
        pixels_proof=proofs.pixels,
    )


def _assumptions(report: Report) -> list[str]:
    """What the verdict assumes, but for what the table of decisions marks."""
    if report.verdict.failed:
        return []
    told = {setting.text for setting in report.settings}
    marked = sum(each in told for each in report.verdict.assumptions)
    words = f"{counted(marked, 'value')} that no proof can see, marked {MARK} below"
    return [*([words] if marked else []), *folded([each for each in report.verdict.assumptions if each not in told])]


def write_page(path: Path, report: Report, worded: Callable[[str], str] = str) -> None:
    from dinoport.writing.commit import write_whole

    write_whole({path: page(report, worded).encode(errors="replace")})


_UNBREAKABLE = re.compile(r"\d+(?:\.\d+)?e-\d+|--[a-z][a-z-]*|\d+×\d+")
"""Figures, options and sizes: what a line must not end in the middle of."""


def unbroken(text: str) -> Markup:
    """Escaped text, in which figures and options are kept on one line."""
    from markupsafe import Markup, escape

    spans = _UNBREAKABLE.sub(r'<span class="nowrap">\g<0></span>', str(escape(shown(text))))
    return Markup(spans)  # noqa: S704  # escaped before the spans were put in


@dataclass(frozen=True)
class Tile:
    """One proof at a glance."""

    name: str
    judged: str
    figure: str
    limit: str


def proof_tiles(proofs: Proofs) -> list[Tile]:
    """Every proof with its figure and its limit, or that it was not tried."""
    tiles = [_untried("Exact")]
    if exact := proofs.exact:
        compared = counted(exact.found + exact.recomputed, "tensor")
        tiles = [Tile("Exact", "passed", compared, counted_text(exact))]
        if not exact.passed:
            count = f"{len(exact.problems)} problem{'s' if exact.problems[1:] else ''}"
            tiles = [Tile("Exact", "failed", count, f"among {compared} that were compared")]
    loading = proofs.loading
    if exported := proofs.exported:
        limit = f"by {exported.producer or 'an exporter that gives no name'}"
        tiles.append(Tile("Graph", "read", f"opset {exported.opset}", limit))
    elif loading:
        keys = len(loading.missing) + len(loading.unexpected) + len(loading.mismatched)
        limit = loading.failure or f"missing, unexpected or mismatched in {loading.loader}"
        tiles.append(Tile("Loading", _judged(loading.passed), "—" if loading.failure else counted(keys, "key"), limit))
    else:
        tiles.append(_untried("Loading"))
    outputs = proofs.outputs
    if outputs is None or outputs.unshown:
        tiles.append(_untried("Outputs", outputs.unshown if outputs else None))
    else:
        largest = figure(outputs.worst, GATE) if outputs.float64 else "—"
        judged = _judged(outputs.failure is None and outputs.worst <= GATE)
        limit = f"relative in float64, limit {limit_text(GATE)}"
        tiles.append(Tile("Outputs", judged, largest, limit))
    if outputs and outputs.rotation:
        largest = figure(outputs.rotation.difference, outputs.rotation.limit)
        limit = f"sines and cosines, limit {limit_text(outputs.rotation.limit)}"
        tiles.append(Tile("Rotary positions", _judged(outputs.rotation.passed), largest, limit))
    if genuine := proofs.genuine:
        largest = figure(genuine.worst, GATE) if genuine.differences else "—"
        limit = genuine.failure or f"relative in float64, against {genuine.code}"
        tiles.append(Tile("Genuine code", _judged(genuine.passed), largest, limit))
    pixels = proofs.pixels
    if pixels and pixels.status != "not shown":
        levels = "—" if pixels.max_grey_levels is None else f"{pixels.max_grey_levels:.2g}"
        limit = f"grey levels of 255, {pixels.backend}: {pixels.status}"
        tiles.append(Tile("Pixels", _judged(not pixels.failures), levels, limit))
    else:
        tiles.append(_untried("Pixels", pixels.reason if pixels else None))
    return tiles


def _untried(name: str, why: str | None = None) -> Tile:
    return Tile(name, "not shown", "—", why or "was not tried")


def _judged(passed: bool) -> str:
    return "passed" if passed else "failed"


def _tone(word: Word) -> str:
    if word is Word.NOT_EQUAL:
        return "failed"
    return "proven" if word in (Word.EQUAL, Word.EQUAL_EXCEPT) else "unproven"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _chart(proofs: Proofs) -> Any:
    if proofs.outputs is None or not proofs.outputs.blocks:
        return None
    found = proofs.diagnosis
    return block_chart(proofs.outputs.blocks, GATE, found.block if found and not found.by_content else None)


def _sizes(outputs: OutputsProof | None) -> Any:
    if outputs is None or not outputs.other_sizes:
        return None
    own = {outputs.size: outputs.worst}
    return size_rows(own | {size: found.relative for size, found in outputs.other_sizes.items()}, GATE)


@dataclass(frozen=True)
class Row:
    """Pictures of one thing beside each other: of the original, of the folder, and their difference."""

    name: str
    note: str
    pictures: tuple[Picture, ...]


def _attention(pictures: Pictures | None) -> list[Row]:
    """The mean over the heads, then every head, where both sides have the same; each row is on a scale of its own."""
    if pictures is None or pictures.attention is None:
        return []
    pair = pictures.attention
    rows = [_attention_row("Mean of the heads", Pair(pair.original.mean(axis=0), pair.converted.mean(axis=0)))]
    if pair.original.shape != pair.converted.shape:
        return rows
    return rows + [
        _attention_row(f"Head {number}", Pair(original, converted))
        for number, (original, converted) in enumerate(zip(pair.original, pair.converted, strict=True))
    ]


def _attention_row(name: str, pair: Pair) -> Row:
    bright, above = brightest(pair.original)
    shown = (pair.original, pair.converted, abs(pair.original - pair.converted))
    maps = _maps(name, [heat(values, bright) for values in shown])
    note = f"differs by {figure(pair.difference)}; bright is {figure(bright)}"
    return Row(name, note + (f", and {above} patch{'es' if above > 1 else ''} above it" if above else ""), maps)


def _maps(name: str, shown: Sequence[Array]) -> tuple[Picture, ...]:
    """Maps of patches of both sides, and their difference."""
    original, converted, difference = shown
    return (
        embedded(original, f"{name}, original", pixelated=True),
        embedded(converted, f"{name}, converted", pixelated=True),
        embedded(difference, _said_if_dark(difference, f"{name}, difference"), pixelated=True),
    )


def _said_if_dark(colours: Array, text: str) -> str:
    """A picture that is black everywhere says so, as nobody sees whether it was drawn."""
    return f"{text}: black everywhere" if is_dark(colours) else text


def _patches(pictures: Pictures | None) -> Row | None:
    pair = pictures.patches if pictures else None
    if pair is None or min(pair.original.shape[0] * pair.original.shape[1], pair.original.shape[2]) < 3:
        return None
    if pair.original.shape != pair.converted.shape or not np.isfinite(pair.original).all():
        return None
    components = Components.of(pair.original)
    original, converted = components.colours(pair.original), components.colours(pair.converted)
    difference = abs(original.astype(np.int16) - converted).astype(np.uint8)
    note = f"differ by {figure(pair.difference)}" if pair.difference else "do not differ"
    hidden = ", which no colour shows" if pair.difference and not difference.any() else ""
    return Row("Patch tokens", note + hidden, _maps("Patch tokens", (original, converted, difference)))


def _pixels(pictures: Pictures | None) -> Row | None:
    """The picture, what each side's transform makes of it, and their difference, amplified."""
    if pictures is None or pictures.pixels is None or pictures.before is None:
        return None
    pair = pictures.pixels
    difference = abs(pair.original - pair.converted)
    shown = (
        (pictures.before, "The picture before"),
        (pair.original, "After the original's transform"),
        (pair.converted, "After the folder's processor"),
        (difference * AMPLIFIED, "Their difference"),
    )
    drawn = [(reduced(levels), text) for levels, text in shown]
    images = tuple(embedded(each, _said_if_dark(each, text)) for each, text in drawn)
    largest = float(difference.max())
    note = f"they differ by {largest:.2g} grey levels of 255 at most" if largest else "they do not differ"
    return Row("Pixels", note + (f", drawn {AMPLIFIED} times as bright" if difference.max() >= 0.01 else ""), images)

"""The published names as a table, as JSON, and as a page of the documentation."""

from collections.abc import Sequence
from textwrap import wrap

from dinoport.codebases.published import PublishedModel
from dinoport.codebases.published_names import ADAPTERS, PUBLISHED
from dinoport.files.remote.caches import torch_hub_checkpoints
from dinoport.tensor import size_text

MORE = "+: a file of a training run, which holds more than the model of this size"

COLUMNS = ("name", "size", "licence", "head", "address")


def models_lines(width: int | None = None) -> list[str]:
    """The table that `dinoport models` prints; a file that is in torch.hub's cache is marked.

    On a terminal that is `width` columns wide and no wider than the table, each address has a line of its own, so that
    it can be read and copied, and each name too on a narrow one; elsewhere a model is one line.
    """
    folder = torch_hub_checkpoints()
    marks = ["*" if (folder / model.file_name).exists() else " " for model in PUBLISHED]
    rows = [COLUMNS, *map(_row, PUBLISHED)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    full = sum(widths) + 2 * len(widths)
    narrow = (width or full) < full
    lines = []
    for mark, row in zip([" ", *marks], rows, strict=True):
        cells = [cell.ljust(length) for cell, length in zip(row, widths, strict=True)]
        if narrow and (width or full) < full - widths[-1] - len("  "):
            lines += [f"{mark} {row[0]}", f"    {', '.join(row[1:-1])}", f"    {row[-1]}"]
            continue
        lines.append(f"{mark} {'  '.join(cells[:-1] if narrow else cells)}".rstrip())
        lines += [f"    {row[-1]}"] if narrow else []
    lines += ["", f"* in {folder}"] if "*" in marks else [""]
    if not narrow:
        return [*lines, *_notes()]
    return [*lines, *(line for note in _notes() for line in wrap(note, width or full, subsequent_indent="  "))]


def models_to_dict() -> dict[str, object]:
    folder = torch_hub_checkpoints()
    return {
        "cache": str(folder),
        "models": [
            {
                "name": model.name,
                "family": model.family,
                "size_bytes": model.size_bytes,
                "licence": model.licence,
                "gated": model.gated,
                "address": model.url,
                "sha256_prefix": model.sha256_prefix,
                "head_address": model.head_url,
                "no_head": None if model.head_url else model.no_head,
                "refused": model.refusal,
                "cached": (folder / model.file_name).exists(),
            }
            for model in PUBLISHED
        ],
    }


def models_page() -> str:
    """`docs/models.md`."""
    lines = [
        "# Published models",
        "",
        "A SOURCE may be one of these names. The file is taken from torch.hub's cache, or downloaded into it.",
        "*head* is what `--head imagenet` adds. This page is written by `python -m dinoport.report.models`.",
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"|{'---|' * len(COLUMNS)}",
    ]
    for model in PUBLISHED:
        name, *cells, address = _row(model)
        lines.append(f"| {' | '.join([f'`{name}`', *cells, f'<{address}>'])} |")
    lines += ["", *(f"- {note}" for note in _notes()), "", "## Known, and not converted", ""]
    lines += [f"- `…{suffix}`: {reason}." for suffix, reason in ADAPTERS]
    return "\n".join([*lines, ""])


def _row(model: PublishedModel) -> Sequence[str]:
    head = "refused" if model.refusal else "imagenet" if model.head_url else "-"
    licence = f"{model.licence} (gated)" if model.gated else model.licence
    size = f"{size_text(model.size_bytes)}{'+' if model.holds_more else ''}"
    return model.name, size, licence, head, model.url


def _notes() -> list[str]:
    reasons: dict[str, list[str]] = {}
    for model in PUBLISHED:
        if model.refusal:
            reasons.setdefault(f"refused: {model.refusal}", []).append(model.name)
        elif model.head_url is None:
            reasons.setdefault(f"no head: {model.no_head}", []).append(model.name)
    notes = [f"{_folded(names)}: {reason}" for reason, names in reasons.items()]
    return ["gated: the authors give the file out on request, and a download by name alone is refused", MORE, *notes]


def _folded(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) < 5 else f"{names[0]} … {names[-1]} ({len(names)} models)"


if __name__ == "__main__":
    print(models_page(), end="")

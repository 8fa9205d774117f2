"""The card as it is published: with the verdict and all that it assumes in one line, and a user's own words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dinoport.errors import UsageError
from dinoport.shown.text import shown_markdown
from dinoport.writing.card import UNKNOWN_LICENCE

MAX_CARD_BYTES = 1024 * 1024

FRONT = re.compile(r"---\r?\n(.*?)(?:\r?\n)?---[ \t]*(?:\r?\n|$)", re.DOTALL)
"""The metadata at the start of a card, as the Hub reads them."""

VERDICT = re.compile(r"^\*\*Verdict: .*\.\*\*", re.MULTILINE)


CHECK = "\n## Check it\n"


def verdict_line(verdict: Mapping[str, Any]) -> str:
    """The verdict with everything that it assumes, in one line for people and programs."""
    text, assumed = str(verdict["text"]).partition(", assuming ")[0], [*map(str, verdict["assumptions"])]
    return f"**Verdict: {shown_markdown(', assuming '.join(filter(None, [text, ', '.join(assumed)])))}.**"


def published_card(card: str | None, own: str | None, report: Mapping[str, Any], name: str) -> str:
    """A folder's cleaned `card`, where it has one, for the repository `name`; the user's `own` comes first."""
    card = card if card is not None else _bare(report, name)
    line = verdict_line(report["verdict"])
    card = VERDICT.sub(lambda found: line, card, count=1)
    card = f"{card.partition(CHECK)[0].rstrip()}\n\n{_check(report, name)}"
    return card if own is None else _merged(card, own)


def _check(report: Mapping[str, Any], name: str) -> str:
    lines = [
        CHECK.strip(),
        "",
        "```console",
        f"dinoport verify SOURCE hf://{name}    # prove it again from the source, {report['source']['where']}",
        f"dinoport verify hf://{name}           # whether the files are those that dinoport.json lists",
        "```",
        "",
    ]
    return "\n".join(lines)


def _bare(report: Mapping[str, Any], name: str) -> str:
    """For a target that has no card of its own."""
    before, after = report["ends"] if "ends" in report else (report["source"]["format"], report["model"]["class"])
    lines = [
        "---",
        "tags:",
        "- dino",
        "- vision",
        "- dinoport",
        "---",
        "",
        f"# {shown_markdown(name)}",
        "",
        f"{shown_markdown(str(before))} → {shown_markdown(str(after))}, converted by dinoport.",
        "",
        "**Verdict: .** Figures and hashes are in `dinoport.json`.",
        "",
        "```python",
        *map(str, report.get("usage", ())),
        "```",
    ]
    return "\n".join(lines)


def read_card(path: Path) -> str:
    """A user's own card. Raises UsageError for anything else."""
    try:
        content = path.read_bytes()[: MAX_CARD_BYTES + 1]
        if len(content) > MAX_CARD_BYTES:
            raise ValueError(f"more than {MAX_CARD_BYTES} bytes")
        text = content.decode()
        _metadata(text)
        return text
    except (OSError, ValueError) as error:
        raise UsageError(
            "`card` takes a card in Markdown, with or without metadata before it",
            where=str(path),
            found=error.strerror if isinstance(error, OSError) else str(error),
            next_step="leave `card` out, or mend the file",
        ) from error


def _metadata(card: str) -> dict[str, Any]:
    """The fields before a card's text. Raises ValueError for what is no YAML of plain fields."""
    import yaml

    front = FRONT.match(card)
    try:
        found = yaml.safe_load(front[1]) if front else {}
    except yaml.YAMLError as error:
        raise ValueError(f"metadata that are no YAML: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(found or {}, dict):
        raise ValueError("metadata that are not fields with values")
    return dict(found or {})


def _merged(card: str, own: str) -> str:
    """The user's fields before ours, the tags of both; their text, then ours without its title."""
    import yaml

    ours, theirs = _metadata(card), _metadata(own)
    tags = [theirs.get("tags"), ours.get("tags")]
    both = [tag for each in tags for tag in (each if isinstance(each, list) else [each] if each else [])]
    fields = {**ours, **theirs, "tags": list(dict.fromkeys(map(str, both)))}
    front = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)
    body, text = (FRONT.sub("", each, count=1).strip() for each in (card, own))
    if re.search(r"^# ", text, re.MULTILINE):
        body = re.sub(r"^# .*\n+", "", body, count=1)
    if "license" in theirs:
        body = body.replace(UNKNOWN_LICENCE, "").strip()
    return f"---\n{front}---\n\n{text}\n\n{body}\n"

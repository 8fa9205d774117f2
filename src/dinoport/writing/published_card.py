"""The card as it is published: with the verdict and all that it assumes in one line, and a user's own words."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dinoport.errors import SettingError
from dinoport.shown.text import shown, shown_markdown
from dinoport.writing.card import UNKNOWN_LICENCE, tag_lines

MAX_CARD_BYTES = 1024 * 1024

FRONT = re.compile(r"---\r?\n(.*?)(?:\r?\n)?---[ \t]*(?:\r?\n|$)", re.DOTALL)
"""The metadata at the start of a card, as the Hub reads them."""

VERDICT = re.compile(r"^\*\*Verdict: .*\.\*\*", re.MULTILINE)

CHECK = re.compile(r"\n+## Check it\n\n```console\n(?:.*\n)*?```[ \t]*(?:\n|$)")
"""The section that says how to verify, as it is written below."""

OURS = ("library_name", "license", "license_name", "license_link")
"""Fields that say what is known of the files, and so stand above a user's own words."""


def verdict_line(verdict: Mapping[str, Any]) -> str:
    """The verdict with everything that it assumes, in one line for people and programs."""
    text, assumed = str(verdict["text"]).partition(", assuming ")[0], [*map(str, verdict["assumptions"])]
    return f"**Verdict: {shown_markdown(', assuming '.join(filter(None, [text, ', '.join(assumed)])))}.**"


def published_card(
    card: str | None, own: str | None, report: Mapping[str, Any], name: str
) -> tuple[str, tuple[str, ...]]:
    """A folder's cleaned `card`, where it has one, for the repository `name`; the user's `own` comes first.

    With it comes what was not taken of the user's.
    """
    card = card if card is not None else _bare(report, name)
    if not FRONT.match(card):
        card = "\n".join(["---", *tag_lines(str(report["model"]["family"])), "---", "", card])
    text, overruled = (card, ()) if own is None else _merged(card, own)
    line, check = verdict_line(report["verdict"]), _check(report, name)
    text = VERDICT.sub(lambda found: line, text, count=1)
    text, were_there = CHECK.subn(lambda found: f"\n\n{check}", text, count=1)
    return (text if were_there else f"{text.rstrip()}\n\n{check}"), overruled


def _check(report: Mapping[str, Any], name: str) -> str:
    lines = [
        "## Check it",
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
    """A user's own card. Raises SettingError for anything else."""
    try:
        content = path.read_bytes()[: MAX_CARD_BYTES + 1]
        if len(content) > MAX_CARD_BYTES:
            raise ValueError(f"more than {MAX_CARD_BYTES} bytes")
        text = content.decode()
        _metadata(text)
        return text
    except (OSError, ValueError) as error:
        raise SettingError(
            "`card` takes a card in Markdown, with or without metadata before it",
            where=str(path),
            found=error.strerror if isinstance(error, OSError) else str(error),
            next_step="leave `card` out, or mend the file",
        ) from error


def _metadata(card: str) -> dict[str, Any]:
    """The fields before a card's text. Raises ValueError for what is not YAML of plain fields."""
    import yaml

    front = FRONT.match(card)
    try:
        found = yaml.safe_load(front[1]) if front else {}
    except yaml.YAMLError as error:
        raise ValueError(f"metadata that are not YAML: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(found or {}, dict):
        raise ValueError("metadata that are not fields with values")
    return dict(found or {})


def _merged(card: str, own: str) -> tuple[str, tuple[str, ...]]:
    """The user's fields before ours, but for what is known; the tags of both; their text, then ours without its title.

    A card of dinoport's that somebody went on with has our text already.
    """
    import yaml

    ours, theirs = _metadata(card), _metadata(own)
    tags = [theirs.get("tags"), ours.get("tags")]
    both = [tag for each in tags for tag in (each if isinstance(each, list) else [each] if each else [])]
    fields = {**ours, **theirs, **_known(ours), "tags": list(dict.fromkeys(map(str, both)))}
    lost = [field for field in theirs if field in _known(ours) and theirs[field] != ours.get(field)]
    front = yaml.safe_dump(
        {key: value for key, value in fields.items() if value is not None}, sort_keys=False, allow_unicode=True
    )
    overruled = tuple(
        f"{field} is {ours.get(field, 'left out')}, where your card says {shown(str(theirs[field]))}" for field in lost
    )
    body, text = (FRONT.sub("", each, count=1).strip() for each in (card, own))
    if re.search(r"^# ", text, re.MULTILINE):
        body = re.sub(r"^# .*\n+", "", body, count=1)
    if "license" in fields:
        body = body.replace(UNKNOWN_LICENCE, "").strip()
    text = text if VERDICT.search(text) else f"{text}\n\n{body}"
    return f"---\n{front}---\n\n{text}\n", overruled


def _known(ours: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that a user's card does not change. A licence is known as a whole or not at all."""
    known = [field for field in OURS if field in ours or (field.startswith("license") and "license" in ours)]
    return {field: ours.get(field) for field in known}

"""A report and a card as they may be published: what they say of the machine that they were written on is taken out.

Paths become names, the target becomes `owner/name`, the command is rebuilt. Everything else stays, and the seal is made
anew. It depends on nothing but the folder and the name, so a second publication gives the same bytes.
"""

import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from dinoport.codebases.timm import card as timm
from dinoport.codebases.transformers.labels import IMAGENET as IMAGENET_LABELS
from dinoport.finding.sources import IMAGENET
from dinoport.report.as_json import SEAL
from dinoport.request import FILES
from dinoport.shown.address import scheme_of
from dinoport.shown.text import as_path, python_text, shell_word, shown, shown_markdown

ABSOLUTE = re.compile(r"(?<![\w.:/\\~-])(?:~|[A-Za-z]:)?[/\\][^\s'\"`,;()<>|]*[^\s'\"`,;:()<>|.]")
"""A path from the root, from home or of a drive, within a text. What follows `https:` is not a path."""

QUOTED = re.compile(r"""(\$?'(?=/))((?:[^'\n]|'"'"')*)(')|("(?=/))((?:[^"\\\n]|\\.)*)(")""")
"""A path from the root as one word of a shell, or as a literal of Python, whatever is in it."""

HOME = re.compile(r"(?<![\w.:/\\~-])(?:/(?:home|Users)/|/root/|[A-Za-z]:[/\\]Users[/\\])[^\s'\"`,;()<>|]+")
"""A path within somebody's home folder."""

OPEN_TO_ALL = ("hf",)
"""Addresses that lead others to the same file."""

KEYWORDS = (IMAGENET, IMAGENET_LABELS)

CLEANED = (
    "this report was cleaned for publication: paths, target and command were replaced by names, "
    "and the seal was made anew"
)


def source_name(report: Mapping[str, Any], given: str | None = None) -> str:
    """What a published report calls the source: what the user says, its address on the Hub, or its file's name."""
    where = str(report["source"]["where"])
    return shown(given) if given else (where if scheme_of(where) in OPEN_TO_ALL else _last(where))


def cleaner(report: Mapping[str, Any], name: str, source: str) -> Callable[[str], str]:
    """A function that takes paths of this machine out of a text. `name` is that of the repository."""
    told, target = str(report["source"]["where"]), str(report["target"])
    request = report.get("request", {})
    files = [str(request[each]) for each in FILES if request.get(each) not in (None, *KEYWORDS)]
    known = {told: source, **({target: name} if re.search(r"[/\\]", target) else {})}
    known |= {file: _last(file) for file in files}
    known |= {f"{target}/": "", **{f"{parent}/": "" for path in (told, target, *files) for parent in _parents(path)}}
    known |= {
        _within_quotes(quoted(place)): word for place, word in known.items() for quoted in (python_text, shell_word)
    }
    longest = sorted(known, key=len, reverse=True)
    places = re.compile("|".join(rf"(?<![\w./\\-]){re.escape(place)}" for place in longest))

    def clean(text: str) -> str:
        text = places.sub(lambda found: known[found[0]], text)
        text = QUOTED.sub(_last_quoted, text)
        return ABSOLUTE.sub(lambda found: _last(found[0]), text)

    return clean


def private_places(report: Mapping[str, Any]) -> list[str]:
    """Folders that no published file may name: home, and those that the source and the target lay in."""
    told = [str(report["source"]["where"]), str(report["target"])]
    above = [parent for path in told for parent in _parents(path)[:-1] if Path(parent).is_absolute()]
    with suppress(RuntimeError):
        above.append(str(Path.home()))
    return [f"{place}/" for place in dict.fromkeys(above) if place != "/"]


def cleaned_report(report: Mapping[str, Any], name: str, source: str) -> dict[str, Any]:
    """A report for the public, without its seal."""
    clean = cleaner(report, name, source)
    usage = [_loading(line, str(report["target"]), name) for line in report.get("usage", ())]
    request = report.get("request", {})
    return {
        **{field: _cleaned(value, clean) for field, value in report.items() if field != SEAL},
        "source": {**_cleaned(report["source"], clean), "where": source},
        "target": name,
        "request": {**request, **{field: _last(str(request[field])) for field in FILES if field in request}},
        "remarks": list(dict.fromkeys([*map(clean, report.get("remarks", ())), CLEANED])),
        "command": _command(report, name, source),
        "usage": [clean(line) for line in usage],
    }


def cleaned_card(card: str, report: Mapping[str, Any], name: str, source: str) -> str:
    """The card of a folder for the public: it loads `name`, and quotes nothing that a cleaned report does not say."""
    clean = cleaner(report, name, source)
    folder = Path(str(report["target"])).name
    title = re.compile(rf"^# {re.escape(shown_markdown(folder))}$", re.MULTILINE)
    card = title.sub(lambda found: f"# {shown_markdown(name)}", card, count=1)
    card = _loading(card, folder, name)
    for text in sorted({*_texts(report)}, key=len, reverse=True):
        if clean(text) != text:
            card = card.replace(shown_markdown(text), shown_markdown(clean(text)))
    return card


def _loading(code: str, folder: str, name: str) -> str:
    """Python that loads the repository, where it loaded the folder."""
    code = code.replace(f"from_pretrained({python_text(folder)})", f"from_pretrained({python_text(name)})")
    return code.replace(timm.address(folder), timm.address(name, timm.AT_HUB))


def _command(report: Mapping[str, Any], name: str, source: str) -> str:
    """The command, without paths of this machine."""
    words = {as_path(report["source"]["where"]): source, as_path(report["target"]): name}
    found = [
        words.get(word) or (word if scheme_of(word) in OPEN_TO_ALL else _last(word))
        for word in shlex.split(str(report.get("command", "")))
    ]
    return shlex.join(found)


def _cleaned(value: Any, clean: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, Mapping):
        return {name: _cleaned(each, clean) for name, each in value.items()}
    return [_cleaned(each, clean) for each in value] if isinstance(value, list) else value


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(each)


def _parents(path: str) -> list[str]:
    """The folders above a path, as it was written."""
    if scheme_of(path):
        return []
    return [str(parent) for parent in Path(path).parents if str(parent) not in (".", "/", Path(path).anchor)]


def _within_quotes(word: str) -> str:
    return word.removeprefix("$")[1:-1] if word.endswith(("'", '"')) else word


def _last_quoted(found: re.Match[str]) -> str:
    opening, path, closing = (part for part in found.groups() if part is not None)
    return f"{opening}{path.rstrip('/').rpartition('/')[2]}{closing}"


def _last(path: str) -> str:
    """The last name of a path or an address."""
    return re.split(r"[/\\]", path.partition("?")[0].rstrip("/\\"))[-1] or path

"""What became of a fleet's jobs: a table in the terminal, an object, and a page that leads to each report."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dinoport.shown.lines import LABEL, Printed, entry, hanging, worded
from dinoport.shown.text import counted, listed, shown

ORDER = ("done", "there", "elsewhere", "not equal", "refused", "killed", "crashed", "skipped")
"""The statuses, best first."""

FINE = ("done", "there", "elsewhere")

NOT_EQUAL = "not equal"

FEW = 6
"""How many targets of one cause are named."""


@dataclass(frozen=True, repr=False)
class Fleet(Printed):
    """`results` are those of the jobs, by target; docs/fleets.md names their fields."""

    out: str
    results: tuple[Mapping[str, Any], ...]
    seconds: float

    @property
    def counts(self) -> dict[str, int]:
        found = Counter(str(result["status"]) for result in self.results)
        return {status: found[status] for status in ORDER if found[status]}

    @property
    def exit_code(self) -> int:
        """3 where something is not equal, else 1 where something is not done."""
        return 3 if NOT_EQUAL in self.counts else 1 if set(self.counts) - set(FINE) else 0

    def lines(self) -> Iterator[str]:
        """The counts, and each cause of a failure once, with the targets that failed by it."""
        for status, count in self.counts.items():
            names = [_target(result) for result in self.results if result["status"] == status]
            named = f": {listed(names, FEW)}" if status in FINE else ""  # the others stand by their causes
            yield from entry(status, f"{count} of {len(self.results)}{named}")
        yield from entry("took", f"{self.seconds:.1f} seconds")
        for cause in causes_of(self.results, self.out):
            yield ""
            yield from entry(cause.status, listed(cause.targets, FEW))
            for line in cause.text.split("\n"):
                yield from hanging(f"{'':<{LABEL}}{line}")
        yield ""
        yield from entry("index", f"{self.out}/fleet.html")

    def to_dict(self) -> dict[str, object]:
        """The result as JSON-ready data."""
        results = [dict(result) for result in self.results]
        return {"out": self.out, "counts": self.counts, "seconds": self.seconds, "results": results}


@dataclass(frozen=True)
class Cause:
    """Why some jobs are not done: `text` is the first one's own, where it is the only one."""

    status: str
    text: str
    targets: tuple[str, ...]


def causes_of(results: Iterable[Mapping[str, Any]], out: str) -> list[Cause]:
    """What is not done by its cause, the most frequent first: checkpoints of one run fail for one reason."""
    alike: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for result in results:
        status = str(result.get("status"))
        if status not in FINE and status in ORDER:
            alike.setdefault((status, _without_names(result, out)), []).append(result)
    found = [
        Cause(status, text if same[1:] else _text(same[0]), tuple(map(_target, same)))
        for (status, text), same in alike.items()
    ]
    return sorted(found, key=lambda cause: (ORDER.index(cause.status), -len(cause.targets)))


def _target(result: Mapping[str, Any]) -> str:
    return str(result.get("target"))


def _text(result: Mapping[str, Any]) -> str:
    return str((result.get("error") or {}).get("text", ""))


def _without_names(result: Mapping[str, Any], out: str) -> str:
    """Why a job is not done, with words for the places that are its own."""
    folder = Path(out, _target(result))
    text = _text(result)
    for place, word in ((result.get("source"), "SOURCE"), (folder.absolute(), "TARGET"), (folder, "TARGET")):
        whole = rf"(?<![\w./+-]){re.escape(str(place))}(?![\w+-]|[./][\w+-])"
        text = re.sub(whole, word, text)
    return text


STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #fff; --dim: #666; --line: #ddd;
  --good: #1a7f37; --bad: #b42318; --open: #9a6700 }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6e6; --paper: #161616; --dim: #999; --line: #333;
  --good: #4ac26b; --bad: #ff7b72; --open: #d4a72c } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 72rem;
  margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem; margin: 0 0 .5rem }
p { margin: 0 0 1.5rem; color: var(--dim) }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .4rem .8rem .4rem 0; border-top: 1px solid var(--line) }
th { border-top: 0; color: var(--dim); font-weight: normal }
td:first-child, li { overflow-wrap: anywhere }
td:first-child { min-width: 8rem }
ul.causes { list-style: none; margin: 0 0 1.5rem; padding: 0 }
ul.causes li { margin: 0 0 1rem }
ul.causes pre { margin-top: .2rem; color: var(--dim) }
b.not-equal, b.refused, b.killed, b.crashed { color: var(--bad) }
td.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums }
td.done, td.there { color: var(--good); white-space: nowrap }
td.elsewhere, td.skipped { color: var(--open); white-space: nowrap }
td.not-equal, td.refused, td.killed, td.crashed { color: var(--bad); font-weight: 600; white-space: nowrap }
pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; font: .85rem/1.4 ui-monospace, monospace }
a { color: inherit }
@media (max-width: 40rem) {
  thead { display: none }
  table, tbody, tr, td { display: block }
  tr { border-top: 1px solid var(--line); padding: .6rem 0 }
  td { border: 0; padding: .1rem 0 }
  td.number { text-align: left }
  td.number:not(:empty)::after { content: " s" }
}
"""


def fleet_page(results: Sequence[Mapping[str, Any]], out: str) -> str:
    """An index in HTML that needs nothing beside it. It leads to each target's report, and says why there is none."""
    counts = Counter(str(result.get("status")) for result in results)
    summary = ", ".join(f"{counts[status]} {status}" for status in ORDER if counts[status])
    worst = sorted(results, key=lambda each: (str(each.get("status")) in FINE, str(each.get("target"))))
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8"><title>Fleet</title>',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<style>{STYLE}</style></head><body>",
            f"<h1>{counted(len(results), 'checkpoint')}</h1>",
            f"<p>{escape(summary)}. Each name leads to that target's report, in JSON.</p>",
            '<ul class="causes">',
            *map(_item, causes_of(results, out)),
            "</ul>",
            "<table><thead><tr><th>target<th>status<th>verdict, or why there is none<th>seconds</tr></thead><tbody>",
            *map(_row, worst),
            "</tbody></table></body></html>",
            "",
        ]
    )


def _item(cause: Cause) -> str:
    """A cause of several jobs, once."""
    names = listed([escape(shown(name)) for name in cause.targets], FEW)
    kind = cause.status.replace(" ", "-")
    return f'<li><b class="{kind}">{cause.status}</b>: {names}<pre>{_lines(cause.text)}</pre></li>'


def _lines(text: str) -> str:
    return "\n".join(escape(worded(line)) for line in text.split("\n"))


def _row(result: Mapping[str, Any]) -> str:
    target, status = str(result.get("target")), str(result.get("status"))
    text = str(result.get("verdict") or "") if status in FINE else _text(result).split("\n")[0]
    said = _lines(text)
    name = escape(shown(target))
    if status in ("done", "there"):
        name = f'<a href="{quote(target)}/dinoport.json">{name}</a>'
    seconds = result.get("seconds")
    kind = status.replace(" ", "-") if status in ORDER else ""
    number = f"{seconds:.1f}" if isinstance(seconds, int | float) else ""
    source = escape(shown(str(result.get("source"))))
    return (
        f'<tr><td title="{source}">{name}</td><td class="{kind}">{escape(shown(status))}</td>'
        f'<td><pre>{said}</pre></td><td class="number">{number}</td></tr>'
    )

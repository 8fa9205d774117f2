"""What became of a fleet's jobs: a table in the terminal, an object, and a page that leads to each report."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any
from urllib.parse import quote

from dinoport.report.text import entry
from dinoport.shown.text import shown

ORDER = ("done", "there", "elsewhere", "not equal", "refused", "killed", "crashed", "skipped")
"""The statuses, best first."""

FINE = ("done", "there", "elsewhere")

NOT_EQUAL = "not equal"

FEW = 6
"""How many targets of one cause are named."""


@dataclass(frozen=True)
class Fleet:
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

    def to_dict(self) -> dict[str, object]:
        """The result as JSON-ready data."""
        results = [dict(result) for result in self.results]
        return {"out": self.out, "counts": self.counts, "seconds": self.seconds, "results": results}


def fleet_lines(fleet: Fleet) -> Iterator[str]:
    """The counts, and of what is not done each cause once, with its targets."""
    for status, count in fleet.counts.items():
        yield from entry(status, f"{count} of {len(fleet.results)}")
    yield from entry("took", f"{fleet.seconds:.1f} seconds")
    for (status, cause), targets in _causes(fleet.results).items():
        yield ""
        more = f" and {len(targets) - FEW} more" if targets[FEW:] else ""
        yield from entry(status, ", ".join(targets[:FEW]) + more)
        for line in cause.split("\n"):
            yield from entry("", line.strip())
    yield ""
    yield from entry("index", f"{fleet.out}/fleet.html")


def _causes(results: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], list[str]]:
    """Targets that are not done, by status and cause: checkpoints of one run fail for one reason."""
    found: dict[tuple[str, str], list[str]] = {}
    for result in results:
        if result["status"] not in FINE:
            found.setdefault((str(result["status"]), _cause(result)), []).append(str(result["target"]))
    return dict(sorted(found.items(), key=lambda item: (ORDER.index(item[0][0]), -len(item[1]))))


def _cause(result: Mapping[str, Any]) -> str:
    """Why a job is not done, without its own names and numbers of its own."""
    error = result.get("error") or {}
    text = str(error.get("text", ""))
    for name, word in ((result["source"], "SOURCE"), (result["target"], "TARGET")):
        text = re.sub(rf"(?:[^\s,;:()]*/)?{re.escape(str(name))}", word, text)
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
td.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums }
td.done, td.there { color: var(--good); white-space: nowrap }
td.elsewhere, td.skipped { color: var(--open); white-space: nowrap }
td.not-equal, td.refused, td.killed, td.crashed { color: var(--bad); font-weight: 600; white-space: nowrap }
pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; font: .85rem/1.4 ui-monospace, monospace }
a { color: inherit }
"""


def fleet_page(results: Sequence[Mapping[str, Any]]) -> str:
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
            f"<h1>{len(results)} checkpoint{'' if len(results) == 1 else 's'}</h1>",
            f"<p>{escape(summary)}. Each name leads to its report.</p>",
            "<table><thead><tr><th>target<th>status<th>verdict, or why there is none<th>seconds</tr></thead><tbody>",
            *map(_row, worst),
            "</tbody></table></body></html>",
            "",
        ]
    )


def _row(result: Mapping[str, Any]) -> str:
    target, status = str(result.get("target")), str(result.get("status"))
    error = result.get("error") or {}
    text = str(result.get("verdict") or "") if status in FINE else str(error.get("text", ""))
    said = "\n".join(escape(shown(line)) for line in text.split("\n"))
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

"""Lines of a report: a label on the left and wrapped words, in 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator

from dinoport.shown.text import shown

WIDTH = 80
LABEL = 12
"""Columns of the labels, on the left."""


class Printed:
    """A result that `print` shows as the command line does; a notebook shows its first line, which opens the others."""

    def lines(self) -> Iterator[str]:
        """What the command line prints."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, object]:
        """The result as JSON-ready data."""
        from dinoport.shown.data import plain_fields

        return plain_fields(self)

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self._summary()}>"

    def _repr_html_(self) -> str:
        from html import escape

        text = str(self)
        return f"<details><summary>{escape(self._summary())}</summary><pre>{escape(text)}</pre></details>"

    def _summary(self) -> str:
        return " ".join(next(self.lines()).split())


def entry(label: str, text: str) -> Iterator[str]:
    """A label and wrapped words, shown as text. A name that is too long for a line is not broken: it can be copied."""
    first, text = f"{label:<{LABEL}}", shown(text)
    yield from textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=" " * LABEL, break_long_words=False, break_on_hyphens=False
    ) or [first.rstrip()]


def entries(label: str, lines: Iterable[str]) -> Iterator[str]:
    for number, line in enumerate(lines):
        yield from entry("" if number else label, line)


def figure(difference: float, limit: float | None = None) -> str:
    """A difference with two digits, `2.1e-16`, and `0` where there is none.

    It has more digits where two would put it on the other side of its limit: `1.0000001e-09`.
    """
    texts = [f"{difference:.{digits}e}" for digits in range(1, 17)]
    sides = (text for text in texts if limit is None or (float(text) > limit) == (difference > limit))
    return next(sides, texts[-1]) if difference else "0"


def limit_text(limit: float) -> str:
    """A limit in as many digits as it has, up to three: `1e-09`."""
    return f"{limit:.3g}"

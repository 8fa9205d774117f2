"""What is shown of a result: lines with a label on the left and wrapped words, which fit a terminal; and plain data."""

import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import fields, is_dataclass
from math import isfinite
from pathlib import PurePath
from typing import Any, NamedTuple

from dinoport.shown.calls import CALL
from dinoport.shown.text import shown

WIDTH = 80
LABEL = 12
"""Columns of the labels, on the left."""

TOGETHER = re.compile(
    r"(?:(?<=[,;:] )[A-Za-z]+ )?\S+ = \S+|(?:[a-z]+\d+ )?\(\d+(?:, \d+)*\)|\S*\{\d[^}]*\}|\S+ ×\d+|sha256 \S+"
    r"|--[a-z-]+ [^\s-]\S*|\d (?:[kMGT]B|bytes)"
)
"""What is kept on one line: a value with its name, a dtype and shape, names of blocks, an option, a size."""

SHELL = r"(?:7z|bunzip2|cat|cp|git|gunzip|ls|mkdir|pip|python|rm|unlz4|unrar|unxz|unzip|unzstd) .*$"
"""A command of the shell, which ends its text."""

WHOLE = re.compile(rf"({CALL.pattern}|(?:^|(?<=: )){SHELL})")
"""What is copied whole, within a text."""

COMMAND = re.compile(rf"(?:[a-z ]{{1,20}}: )*(?:{CALL.pattern}$|{SHELL})")
"""A command, after no more than a label: it has a line of its own, however long it is."""

GLUE = "\N{NO-BREAK SPACE}"


class Medium(NamedTuple):
    """Where lines are read: how many columns there are, and how words name what a caller can give.

    A Python program has 80, and names fields.
    """

    columns: int = WIDTH
    worded: Callable[[str], str] = str


PROGRAM = Medium()

_MEDIUM = ContextVar("_MEDIUM", default=PROGRAM)


@contextmanager
def lines_for(columns: int, worded: Callable[[str], str]) -> Iterator[None]:
    """Make lines for another medium than a Python program."""
    before = _MEDIUM.set(Medium(columns, worded))
    try:
        yield
    finally:
        _MEDIUM.reset(before)


def wrapped(text: str, first: str = "", then: str = "") -> list[str]:
    """A text, shown, in lines that fit: `first` stands before the first one, `then` before the others.

    What is to be copied is not broken, however long it is: a command, a name.
    """
    if COMMAND.match(text):
        return [f"{first}{worded(text)}"]
    parts = [worded(part) for part in WHOLE.split(shown(text))]  # every other one is a command
    glued = "".join(_glued(part) if at % 2 else TOGETHER.sub(_glued, part) for at, part in enumerate(parts))
    lines = textwrap.wrap(
        glued,
        _MEDIUM.get().columns,
        initial_indent=first,
        subsequent_indent=then,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace(GLUE, " ") for line in lines]


def hanging(line: str) -> list[str]:
    """A line of a message in lines that fit, each further in than its beginning."""
    text = line.lstrip(" ")
    indent = line[: len(line) - len(text)]
    return wrapped(text, indent, f"{indent}    ")


def _glued(found: str | re.Match[str]) -> str:
    return (found if isinstance(found, str) else found[0]).replace(" ", GLUE)


def worded(text: str) -> str:
    """A text, shown, in the words of its medium."""
    return _MEDIUM.get().worded(shown(text))


def arrows(rows: Sequence[tuple[str, str]], indent: str) -> Iterator[str]:
    """Rows of two columns with an arrow between; the second one stands below the first where both do not fit."""
    room = _MEDIUM.get().columns - len(f"{indent} ← ")
    fitting = [(first, second) for first, second in rows if len(first) + len(second) <= room]
    left = max((len(first) for first, _ in fitting), default=0)
    for first, second in rows:
        if (first, second) in fitting:
            yield f"{indent}{shown(first):<{min(left, room - len(second))}} ← {shown(second)}"
        else:
            yield from wrapped(first, indent, f"{indent}  ")
            yield from wrapped(f"← {second}", f"{indent}  ", f"{indent}    ")


def whole(text: str, label: str = "") -> str:
    """A line that is to be copied, such as a command, after its label: it is not wrapped, however long it is."""
    return f"{label:<{LABEL}}{worded(text)}"


class Printed:
    """A result that `print` shows as the command line does; a notebook shows its first line, which opens the others."""

    def lines(self) -> Iterator[str]:
        """What the command line prints."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, object]:
        """The result as JSON-ready data."""
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
    """A label and wrapped words, shown as text."""
    first = f"{label:<{LABEL}}"
    yield from wrapped(text, first, " " * LABEL) or [first.rstrip()]


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


def plain(value: object) -> Any:
    """What JSON has: objects by their fields, paths as text. It knows no infinity: a number without limit is null."""
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping):
        return {name: plain(each) for name, each in value.items()}
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if is_dataclass(value) or hasattr(value, "_fields"):
        return plain_fields(value)
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def plain_fields(value: Any) -> dict[str, object]:
    """The fields of an object, by name."""
    names = getattr(value, "_fields", None) or [field.name for field in fields(value)]
    return {name: plain(getattr(value, name)) for name in names}

"""Names that strangers chose, shown as text and nothing else.

A name from a file, a folder or a server may hold characters that move a terminal's cursor, turn the direction of a
line, or cannot be seen; or it may be markup. One core finds such characters. Each medium has one function that writes
them in its own way: `shown` for a terminal and a page, `shown_json`, `shown_markdown`, and `python_text` for code.
"""

import json
import re
import shlex
from collections.abc import Callable, Sequence
from unicodedata import category

RANGES = (
    *((0x034F, 0x034F), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F), (0x2800, 0x2800), (0x3164, 0x3164)),
    *((0xFE00, 0xFE0F), (0xFFA0, 0xFFA0), (0x1D159, 0x1D159), (0xE0000, 0xE0FFF)),
)
BLANK = frozenset(chr(code) for first, last in RANGES for code in range(first, last + 1))
"""What Python calls printable and no one sees: Unicode's Default_Ignorable_Code_Point, and three blanks."""

MAX_MARKS = 4
"""Accents upon one letter. More of them cover the lines around."""

NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}

MARKUP = re.compile(r"[\\`*_\[\]<>&#|~$]")
"""What is markup within a line of Markdown, or HTML in it."""

AT_A_START = re.compile(r"^(\s*)([-+=:]|\d{1,9}(?=[.)]))")
"""What makes a line of Markdown a list, a heading or a rule: a mark, or a number before one."""

AUTOLINK = re.compile(r"(:)(?=//)|(?<=\bwww)(\.)", re.IGNORECASE)
"""What makes a link of a plain text."""


def shown(text: str, limit: int | None = None) -> str:
    """One line for a terminal: escapes for what would move its cursor, colour it, turn it, or hide something.

    A text of more than `limit` characters is cut. What was shown once is shown again as it is.
    """
    if limit is not None and len(text) > limit:
        text = text[:limit] + " …"
    return _escaped(text, _python_escape)


def is_plain(text: str) -> bool:
    """Whether a text is shown as it is."""
    return shown(text) == text


def shown_json(text: str) -> str:
    r"""JSON of the same value, in which `\uXXXX` stands for what a reader that prints it should not print."""
    return _escaped(text, _json_escape, kept="\n")


def shown_markdown(text: str) -> str:
    """One line of Markdown that says just this: no heading, list, link, image, code or HTML."""
    line = MARKUP.sub(r"\\\g<0>", shown(text).strip())
    line = AT_A_START.sub(lambda found: f"{found[1]}{_before_last(found[2])}", line, count=1) if line else line
    return AUTOLINK.sub(r"\\\g<0>", line)


def python_text(text: str) -> str:
    """A literal of Python that is this text, on one line."""
    return _escaped(json.dumps(text, ensure_ascii=False), _python_escape)


def value_text(value: object, limit: int = 200) -> str:
    """A value of a file as JSON has it: `true`, `"gelu"`, `[0.5, 0.5]`; `not set` for null. Bytes are shown as text."""
    if value is None:
        return "not set"
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):
        return "a value too large or too deep to be shown"
    return f"{text[:limit]} …" if len(text) > limit else text


def as_path(name: object) -> str:
    """A name that no command takes for an option, or for a home folder: `./-m.pth`, `./~`."""
    return f"./{name}" if str(name).startswith(("-", "~")) else str(name)


def as_word(name: object) -> str:
    """A path as one word of a shell's command."""
    return shell_word(as_path(name))


def shell_word(text: str) -> str:
    """A text as one word of a shell's command that can be copied, whatever is in it."""
    if is_plain(text):
        return shlex.quote(text)
    characters = (each if is_plain(each) and each not in "\\'" else _shell_escape(each) for each in text)
    return f"$'{''.join(characters)}'"


FEW = 5
"""How many problems or rules of one kind are shown; the JSON report has all of them."""


def few(lines: Sequence[object], most: int = FEW) -> list[str]:
    """The first of many lines or names, and how many more there are."""
    more = [f"and {len(lines) - most} more"] if len(lines) > most else []
    return [*map(str, lines[:most]), *more]


def listed(names: Sequence[object], most: int = FEW) -> str:
    """The same in one line."""
    return ", ".join(few(names, most))


def counted(number: int | str, word: str) -> str:
    """`1 tensor`, `2 tensors`."""
    return f"{number} {word}{'' if str(number) == '1' else 's'}"


def _escaped(text: str, form: Callable[[str], str], kept: str = "") -> str:
    def escape(run: re.Match[str]) -> str:
        marks = 0 if run.start() else MAX_MARKS  # one at the start would stand upon what is printed before
        characters = []
        for character in run[0]:
            marks = marks + 1 if category(character) in ("Mn", "Me") else 0
            visible = character.isprintable() and character not in BLANK and marks <= MAX_MARKS
            characters.append(character if visible else form(character))
        return "".join(characters)

    return re.sub(rf"[^\x20-\x7e{kept}]+", escape, text)


def _python_escape(character: str) -> str:
    code = ord(character)
    form = f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    return NAMED.get(character, form)


def _shell_escape(character: str) -> str:
    """Bytes of a name, as bash and zsh read them."""
    found = character.encode("utf-8", "surrogateescape" if "\udc80" <= character <= "\udcff" else "surrogatepass")
    return "".join(f"\\x{byte:02x}" for byte in found)


def _json_escape(character: str) -> str:
    return json.dumps(character)[1:-1] if character != "\x7f" else "\\u007f"


def _before_last(text: str) -> str:
    r"""A mark behind a backslash, or a number before one: `1.` is not an item as `1\.`."""
    return f"{text}\\" if text.isdecimal() else f"\\{text}"


SPOKEN_WITH_A_VOWEL = ("iBOT", "I-JEPA", "MAE", "MSN", "XRay")


def with_article(title: str) -> str:
    """`a DINO ViT`, `an MAE ViT`."""
    return f"an {title}" if title.startswith(SPOKEN_WITH_A_VOWEL) else f"a {title}"

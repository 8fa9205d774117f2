"""From the words of a command line to a command and what was given for it; and the help, which is made of the same."""

import argparse
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from dinoport.cli.options import GROUPS, Option
from dinoport.errors import UsageError
from dinoport.files.address import typed
from dinoport.request import option_of
from dinoport.shown.address import is_address
from dinoport.shown.calls import AND_SO_ON, OUT, SOURCE, call
from dinoport.shown.text import as_path, as_word

MAX_WIDTH, NARROW = 100, 68
"""Columns of the help: the most, and those in which two columns of words are too narrow."""

HELP = ("-h", "--help")

PROGRAM_OPTIONS = ("--version", "--help")

OPTION = re.compile(r"-(-|[^\d.\s-])\S*$")
"""What is taken for an option: a number below zero is not."""

PLACES = {"FILE", "FOLDER"}
"""Values of options that are paths."""


class Command(NamedTuple):
    """`arguments` are its positional ones with their words of help, by name; `fields` are the options that it takes."""

    run: Callable[[Any], object]
    summary: str
    arguments: dict[str, str]
    fields: Sequence[str]
    more: str = ""
    optional: dict[str, object] = {}  # noqa: RUF012  # read only: arguments that may be left out, with their values
    own: tuple[Option, ...] = ()  # in place of those that the table has for their fields

    @property
    def name(self) -> str:
        return self.run.__name__

    @property
    def usage(self) -> str:
        words = [self._word(name) for name in self.arguments]
        return " ".join(["dinoport", self.name, *words, "[options]"])

    def _word(self, name: str) -> str:
        more = " …" if isinstance(self.optional.get(name), list) else ""
        return f"[{name.upper()}{more}]" if name in self.optional else name.upper()

    @property
    def options(self) -> list[Option]:
        return [option for title in GROUPS for option in self.in_group(title)]

    def in_group(self, title: str) -> list[Option]:
        own = {option.field: option for option in self.own}
        return [own.get(option.field, option) for option in GROUPS[title] if option.field in self.fields]


def parse(command: Command, words: Sequence[str]) -> argparse.Namespace:
    """What was given for a command. Raises UsageError for what it does not take, and for what is missing."""
    options = [option_of(option.field) for option in command.options]
    given = argparse.Namespace()
    try:
        given, others = _parser(command).parse_known_intermixed_args(words)
    except argparse.ArgumentError as error:
        others = [word for word in words if OPTION.match(word) and word.partition("=")[0] not in options]
        if not others:
            raise _refused(command, error) from None
    for name, value in vars(given).items():
        if isinstance(value, list) and name not in command.arguments:  # what argparse makes of `--report=--`
            raise _refused(command, argparse.ArgumentError(None, option_of(name)))
    if others:
        kind = "an option" if others[0].startswith("-") else "an argument"
        refusal = unknown(kind, others[0], options, command.name)
        if command.name == "convert" and kind == "an argument":
            fleet = call("fleet", [SOURCE, AND_SO_ON], OUT)
            refusal.next_step = f"one SOURCE and one FOLDER; for several checkpoints: {fleet}"
        if kind == "an option" and Path(others[0]).exists():
            refusal.did_you_mean, refusal.next_step = None, f"{as_word(others[0])} for the file of this name"
        raise refusal
    return given


def with_paths(words: Sequence[str]) -> list[str]:
    """The words of a command line, without `--`: after it `-m.pth` is a path, not an option."""
    at = words.index("--") if "--" in words else len(words)
    return [*words[:at], *map(as_path, words[at + 1 :])]


def unknown(kind: str, word: str, known: Iterable[str], command: str = "") -> UsageError:
    """The error for a command or an option that does not exist."""
    from difflib import get_close_matches

    name = word.partition("=")[0]
    options = list(known)
    ends = [each for each in options if name.startswith("--") and each.endswith(name[1:])]
    close = ends or get_close_matches(name, options, n=1)
    return UsageError(
        f"{name} is not {kind} of {f'dinoport {command}'.rstrip()}",
        did_you_mean=close[0] if close else None,
        next_step=f"{f'dinoport {command}'.rstrip()} --help",
    )


def unknown_command(name: str, others: Sequence[str], names: Sequence[str]) -> UsageError:
    """The error for a first word that is not a command: often a file, or what other programs call their help."""
    kind, known = ("an option", PROGRAM_OPTIONS) if name.startswith("-") else ("a command", names)
    error = unknown(kind, name, known)
    if is_address(name) or Path(name).exists():
        error.next_step = f"dinoport inspect {as_word(name)}"
    elif name == "help":
        error.next_step = " ".join(["dinoport", *(word for word in others[:1] if word in names), "--help"])
    elif name in ("version", "-V", "-v"):
        error.did_you_mean, error.next_step = None, "dinoport --version"
    return error


def _refused(command: Command, error: argparse.ArgumentError) -> UsageError:
    missing = re.search(r"required: (.*)", error.message)
    if missing:
        what = f"{missing[1]} is missing" if "," not in missing[1] else f"{missing[1]} are missing"
    elif "explicit argument" in error.message:
        what = f"{error.argument_name} takes no value"
    else:
        what = f"{error.argument_name or error.message} needs a value"
    return UsageError(what, expected=command.usage, next_step=f"dinoport {command.name} --help")


class _Once(argparse.Action):
    """Keeps a value. Raises UsageError for a second one, of which the last would win in silence."""

    def __call__(self, parser: Any, given: argparse.Namespace, value: Any, option: str | None = None) -> None:
        before = getattr(given, self.dest)
        if before not in (None, value):
            raise UsageError(f"{option} is given twice", found=f"{before} and {value}", next_step="give it once")
        setattr(given, self.dest, value)


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are raised, and whose help is alike in every version of Python."""

    def __init__(self, usage: str, description: str) -> None:
        super().__init__(
            usage=usage,
            description=_filled(description),
            formatter_class=_formatter,
            add_help=False,
            allow_abbrev=False,
            exit_on_error=False,
        )

    def error(self, message: str) -> NoReturn:
        raise argparse.ArgumentError(None, message)


def _width() -> int:
    import shutil

    return max(min(shutil.get_terminal_size().columns, MAX_WIDTH) - 2, 40)


def _formatter(prog: str) -> argparse.HelpFormatter:
    beside = 30 if _width() > NARROW else 14  # else the words of an option stand below it
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=beside, width=_width())


def _filled(description: str) -> str:
    """Paragraphs in lines that fit; examples, which are further in, stay as they are."""
    import textwrap

    paragraphs = description.split("\n\n")
    return "\n\n".join(each if each.startswith("  ") else textwrap.fill(each, _width()) for each in paragraphs)


def _parser(command: Command) -> argparse.ArgumentParser:
    description = "\n\n".join(filter(None, [command.summary, command.more]))
    parser = _Parser(command.usage, description)
    arguments = parser.add_argument_group("arguments")
    for name, words in command.arguments.items():
        default = command.optional.get(name)
        many = "*" if isinstance(default, list) else "?"
        may_lack = {"nargs": many, "default": default} if name in command.optional else {}
        arguments.add_argument(name, metavar=name.upper(), help=words, type=typed, **may_lack)  # type: ignore[arg-type]  # argparse's stubs know each keyword's own type
    for title in GROUPS:
        group = parser.add_argument_group(title)
        for option in command.in_group(title):
            words = option.help + (f"  [default: {option.default}]" if option.default else "")
            reading: dict[str, Any] = {"action": "store_true"}
            if option.metavar:
                reading = {"action": _Once, "metavar": option.metavar, "type": _reading(option)}
            group.add_argument(option_of(option.field), dest=option.field, help=words, **reading)
    parser.add_argument_group("help").add_argument(*HELP, action="store_true", help="Show this message.")
    return parser


def _reading(option: Option) -> Callable[[str], object]:
    """How an option's text is read. One that names a file may be typed as a SOURCE may."""
    return (lambda text: option.read(typed(text))) if PLACES & {*option.metavar.split("|")} else option.read


def help_of(command: Command) -> str:
    return _parser(command).format_help()


def help_of_program(commands: Sequence[Command], description: str) -> str:
    """The help of the program: its commands, and what they do."""
    parser = _Parser("dinoport COMMAND [options]", description)
    group = parser.add_argument_group("commands")
    for command in commands:
        group.add_argument(command.name, help=command.summary, nargs="?")
    others = parser.add_argument_group("options")
    others.add_argument("--version", action="store_true", help="Print the version.")
    others.add_argument(*HELP, action="store_true", help="Show this message, or a command's options after its name.")
    return parser.format_help()

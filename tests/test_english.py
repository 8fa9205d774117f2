"""English that has to be read twice stays out: of README and docs, of help and messages, of docstrings.

Each pattern was found here once. It is listed with what to write instead.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import dinoport
from dinoport.cli.parsing import help_of, help_of_program
from dinoport.cli.program import ABOUT, COMMANDS

ROOT = Path(__file__).parents[1]
PACKAGE = Path(dinoport.__file__).parent

PATTERNS = {
    r"(?<![Tt]here )\b(is|are) no (?!more|less|longer|room|news|use|need|such|other|evidence)[A-Za-z]+\b(?! one)": (
        "is not a …"
    ),
    r"\bbelie(ved|ve in|ves)\b": "taken, followed, counted",
    r"\ball the same\b": "still, alike",
    r"\bwhat only (that|this|it|these)\b": "name the thing",
    r"\b(that|which|what) (is|are) none\b": "is not a …, anything else",
    r"\bfor naught\b": "for nothing",
    r"\bthat it is not there\b": "that it is missing",
    r"\bthat (it|they) (is|are) there is\b": "the verb earlier",
    r"\bto none (is|are|does|do)\b": "the subject first",
    r"\bnor (is|are|does|do) (it|they) either\b": "and not",
    r"\bwhatever it be\b": "whatever it is",
    r"\bbeside (this|that|those|these)[,.;]": "besides, or name the place",
    r"\bwith what (it|they) (is|are) to\b": "name the thing",
    r"\bof which what\b": "two sentences",
    r"\bwhat (that|this|it) (is|does|says) is what\b": "name the thing",
    r"\bbeside (its|the|their) (tensors|weights|outputs|figures)\b": "besides",
    r"\bis none of the [a-z]+'s\b": "does not belong to the …",
    r"\bis a no\b": "was declined",
    r"\bas it is of another\b": "because it describes another …",
    r"\bnothing tells whose it is\b": "its codebase is unknown",
    r"\bsays nothing of what\b": "does not say what",
    r"\b[Nn]obody vouches for it:": "the verb that shows it",
    r"\b(cannot|can|could) be meant\b|\bcan mean\b": "a wrong …, one that the field takes",
    r"\b(is|are) otherwise\b": "differs",
    r"\b(for|but) who (does|means|wants|has)\b": "people who …",
    r"\bstops? no other\b": "does not stop the others",
    r"\bcomes? along\b": "ships with, is kept, is left out",
    r"\bas (it|they) makes? (it|them)\b": "by the same rule",
    r"\bWhatever (of|is|was|has|looks) [^.]{0,80} (is|are|was) ": "name the thing first",
}

FOUND_ONCE = {
    "a target that is no start for training": 0,
    "whose hashes were believed": 1,
    "whether they arrived all the same": 2,
    "what only that says": 3,
    "a device that is none": 4,
    "metadata that are no YAML": 0,
    "rows that are no patch's": 0,
    "what a file says beside its tensors": 15,
    "one that was closed is a no": 17,
    "of the args nothing is taken, as it is of another model": 18,
    "Raises UsageError for jobs that cannot be meant": 22,
    "what is otherwise in the folder": 23,
    "It is there for who does not want to take it on trust": 24,
    "One that fails stops no other": 25,
    "local_cls_norm does not come along": 26,
    "The sum is made as it makes it": 27,
    "Whatever of the source is not compared is hashed": 28,
}


def texts() -> Iterator[tuple[str, str]]:
    """Every text that a person reads, with where it stands."""
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")):
        yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")
    for command in COMMANDS:
        yield f"dinoport {command.name} --help", help_of(command)
    yield "dinoport --help", help_of_program(COMMANDS, ABOUT)
    for path in (*PACKAGE.rglob("*.py"), *(ROOT / "examples").glob("*.py")):
        where = str(path.relative_to(ROOT))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
                yield f"{where}:{node.lineno}", node.value
    for path in PACKAGE.rglob("*.j2"):
        yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def all_texts() -> list[tuple[str, str]]:
    found = [(where, " ".join(text.split())) for where, text in texts()]
    assert len(found) > 3000
    return found


@pytest.mark.parametrize("pattern", PATTERNS)
def test_no_text_has_to_be_read_twice(pattern: str, all_texts: list[tuple[str, str]]) -> None:
    found = [f"{where}: {match[0]}" for where, text in all_texts for match in re.finditer(pattern, text)]
    assert not found, f"write: {PATTERNS[pattern]}"


SEVERAL = re.compile(
    r"len\((found|classes|foreign|links|self\.layers|node|above|explained|names|self\.files|sizes)\)|\bcount\b"
)
"""Lists that have several, or none, where their number stands in a text."""

OF_DAMAGE = ("formats", "exports", "files")
"""Rooms whose numbers tell of damage, in bytes and records by the thousand."""


def numbers_without_a_singular(tree: ast.AST) -> Iterator[str]:
    """Texts with `{len(names)} tensors`, which are wrong for one."""
    for node in ast.walk(tree):
        for value, then in zip(node.values, node.values[1:], strict=False) if isinstance(node, ast.JoinedStr) else ():
            number = ast.unparse(value.value) if isinstance(value, ast.FormattedValue) else ""
            plural = isinstance(then, ast.Constant) and re.match(r" (?:[a-z]+ )?[a-z]+s\b", str(then.value))
            if plural and re.fullmatch(r"len\(.*\)|\w*(count|heads)\w*", number):
                yield f"line {node.lineno}: {{{number}}}{str(then.value)[:30]}"


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(PACKAGE.rglob("*.py")) if path.relative_to(PACKAGE).parts[0] not in OF_DAMAGE],
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_a_number_of_things_is_right_for_one_of_them(path: Path) -> None:
    found = numbers_without_a_singular(ast.parse(path.read_text(encoding="utf-8")))
    wrong = [each for each in found if not SEVERAL.search(each)]
    assert not wrong, "write counted(number, word)"


def test_such_numbers_are_found() -> None:
    tree = ast.parse('f"{len(names)} tensors", f"{heads} heads of {width}", f"{counted(len(names), word)} of"')
    assert [each.partition(": ")[2] for each in numbers_without_a_singular(tree)] == [
        "{len(names)} tensors",
        "{heads} heads of ",
    ]


@pytest.mark.parametrize("text", FOUND_ONCE)
def test_the_patterns_find_what_they_are_for(text: str) -> None:
    assert re.search([*PATTERNS][FOUND_ONCE[text]], text)


@pytest.mark.parametrize(
    "text", ["there is no such file", "it is no longer there", "where there is no room", "is not a file"]
)
def test_good_english_is_left_alone(text: str) -> None:
    assert not any(re.search(pattern, text) for pattern in PATTERNS)

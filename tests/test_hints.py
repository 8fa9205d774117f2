"""Hints for whoever has few packages: each command that is proposed runs where it is proposed."""

import ast
import re
import shlex
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from dinoport.cli.options import as_options
from dinoport.errors import CheckpointError
from dinoport.report.fleet import Fleet
from dinoport.report.inspection import Inspection
from dinoport.shown.calls import FOLDER, SOURCE, runnable
from dinoport.shown.lines import hanging, lines_for
from dinoport.shown.packages import missing, needed_by
from tests.command_line import DEMO, EXACT, HEADS, Run
from tests.test_extras import brought

OPTIONAL = (
    "torch", "transformers", "PIL", "jinja2", "matplotlib", "fsspec", "timm", "torchvision", "onnx", "onnxruntime",
    "zlib_ng", "submitit", "safetensors",
)  # fmt: skip
"""Every package that a conversion does not need."""

COMMAND = re.compile(r"dinoport (?:convert|verify|fleet|inspect|visualize|publish|demo)\b[^;,\n]*")

WITHOUT = f"""
import sys
from importlib.machinery import PathFinder


class Finder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {OPTIONAL} else super().find_spec(name, path, target)


sys.meta_path[:] = [Finder if finder is PathFinder else finder for finder in sys.meta_path]
from dinoport.cli.program import main

main()
"""


def hide(monkeypatch: pytest.MonkeyPatch, *absent: str) -> None:
    monkeypatch.setattr("dinoport.shown.packages.find_spec", lambda name: None if name in absent else find_spec(name))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run) -> Path:
    """A folder with a checkpoint, two in `runs`, what was made of one, and a folder with nothing in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("checkpoint.pth", "runs/a.pth", "runs/b.pth"):
        Path(name).parent.mkdir(exist_ok=True)
        shutil.copy(DEMO, name)
    Path("empty").mkdir()
    assert run("convert", "checkpoint.pth", "made", *HEADS, *EXACT).code == 0
    return tmp_path


def proposed(text: str) -> list[list[str]]:
    """The commands of a text, with files of ours in the place of words in capitals."""
    filled = {"SOURCE": "checkpoint.pth", "BACKBONE": "checkpoint.pth", "OUT": "fleet", "GRAPH": "made"}
    found = [shlex.split(match[0])[1:] for match in COMMAND.finditer(text)]
    return [
        [filled.get(word, f"new-{number}" if word == "FOLDER" else word) for word in words if word != "…"]
        for number, words in enumerate(found)
    ]


@pytest.mark.parametrize(
    "words",
    [
        "inspect checkpoint.pth",
        "inspect runs",
        "convert runs x --verify exact",
        "convert made x --verify exact",
        "convert owner/name x --verify exact",
        "verify made",
        "verify made --num-heads 3",
        "verify empty",
        "verify checkpoint.pth empty --verify exact",
        "publish empty owner/name",
        "fleet out",
    ],
)
def test_every_command_that_is_proposed_runs_without_the_packages_of_the_full_proof(
    words: str, place: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide(monkeypatch, *OPTIONAL)
    done = run(*words.split())
    found = proposed(done.out + done.err)
    assert found, done
    for command in found:
        then = run(*command)
        assert "not installed" not in then.err, command
        assert "error: unrecognized" not in then.err, command


@pytest.mark.parametrize(
    ("absent", "words", "extra"),
    [
        ("torch", "convert checkpoint.pth x --num-heads 2", "verify"),
        ("transformers", "verify checkpoint.pth made", "verify"),
        ("PIL", "fleet out checkpoint.pth --num-heads 2", "verify"),
        ("jinja2", "demo x --report x.html", "report"),
        ("matplotlib", "convert checkpoint.pth x --num-heads 2 --verify exact --report x.html", "report"),
        ("PIL", "verify checkpoint.pth made --report x.html", "report"),
        ("matplotlib", "visualize made picture.jpg", "all"),
        ("torch", "visualize made picture.jpg", "all"),
    ],
)
def test_a_missing_package_is_named_and_the_extra_that_is_proposed_brings_it(
    absent: str, words: str, extra: str, place: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide(monkeypatch, absent)
    done = run(*words.split())
    (name,) = missing(absent)
    assert done.code == 1
    assert re.match(rf"error: .*needs .*{name}.* \(not installed\)\n", done.err)
    assert f"  try: pip install {name}\n" in done.err  # by its own name: a checkout has no package dinoport to install
    assert name in brought(extra)


def test_nothing_is_added_where_the_packages_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch)
    plain, exact = "`dinoport.convert(SOURCE, FOLDER)`", "`dinoport.convert(SOURCE, FOLDER, level='exact')`"
    assert runnable("convert", SOURCE, FOLDER) == (plain if find_spec("torch") else exact)
    hide(monkeypatch, "PIL")
    assert runnable("convert", SOURCE, FOLDER) == exact


@pytest.mark.parametrize(
    ("lines", "needed"),
    [
        (["from transformers import AutoImageProcessor, AutoModel"], ["torch", "transformers", "pillow"]),
        (["from transformers import AutoModel"], ["torch", "transformers"]),
        (["import timm", "model = timm.create_model()"], ["torch", "timm"]),
        (["import torch"], ["torch"]),
        (["torchrun main_dino.py"], []),
    ],
)
def test_what_printed_lines_need_is_read_off_their_imports(
    lines: list[str], needed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hide(monkeypatch, *OPTIONAL)
    assert needed_by(lines) == needed
    monkeypatch.setattr("dinoport.shown.packages.find_spec", lambda name: name)
    assert needed_by(lines) == []


def test_a_machine_without_optional_packages_shows_the_demo_and_what_is_missing_to_load_it(tmp_path: Path) -> None:
    """In a program of its own, which finds none of them."""
    command = [sys.executable, "-c", WITHOUT, "demo", "demo"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("verdict     transported exactly (outputs not shown), assuming heads = 2")
    assert done.stdout.endswith('("demo")\n            # first: pip install torch transformers pillow\n')


PROGRAMS = (
    "7z|brew|bunzip2|cat|chmod|conda|cp|curl|git|gunzip|hf|ls|mkdir|mv|pip|python|rm|rsync|tar|unlz4|unrar|unxz|unzip|"
    "unzstd|wget"
)
SHELL = re.compile(rf"(?:^|: )((?:{PROGRAMS}) (?:[-/<>{{\x00&.]|install|lfs|x ).*)", re.DOTALL)
LONG = f"/scratch/{'a folder with a long name ' * 4}/checkpoint.pth"


def in_source() -> list[str]:
    """Each command of a shell that a text of ours ends with, a long place in each of its gaps."""
    found = []
    for path in sorted((Path(__file__).parents[1] / "src" / "dinoport").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        inner = {id(part) for each in ast.walk(tree) if isinstance(each, ast.JoinedStr) for part in each.values}
        for each in ast.walk(tree):
            parts = each.values if isinstance(each, ast.JoinedStr) else [each] if id(each) not in inner else []
            texts = [getattr(part, "value", "") for part in parts]
            text = "".join(text if isinstance(text, str) else "\0" for text in texts)
            if match := SHELL.search(text):
                found.append(re.sub(r"\{\w+\}|\0", lambda gap: shlex.quote(LONG), text[: match.end()]))
    return found


COMMANDS = (*in_source(), *(f"{label}`dinoport.convert({LONG!r}, FOLDER)`" for label in ("", "as a head, then: ")))


def test_commands_are_found_in_the_source() -> None:
    assert len(COMMANDS) > 15


@pytest.mark.parametrize("columns", [40, 80, 120])
@pytest.mark.parametrize("text", COMMANDS)
def test_no_command_is_broken_or_loses_its_indent_wherever_it_is_shown(text: str, columns: int) -> None:
    command = as_options(text).rpartition(": ")[2] if ": " in text else as_options(text)
    error = str(CheckpointError("it is not read", next_step=("look again", text)))
    result = {"status": "refused", "target": "one", "source": "x.pth", "error": {"text": error}}
    inspected = Inspection("x.pth", "torch file", 1, (), (), None, error)
    with lines_for(columns, as_options):
        shown = [
            [part for line in error.split("\n") for part in hanging(line)],
            list(Fleet("out", (result,), 1.0).lines()),
            list(inspected.lines()),
        ]
    assert not re.search("[,;] [a-z]", command)  # what follows a command is a step of its own
    for lines in shown:
        (whole,) = (line for line in lines if command in line)
        step = next(line for line in lines if "try: look again" in line)
        assert whole.endswith(command)
        assert len(whole) - len(whole.lstrip()) >= step.index("look"), whole

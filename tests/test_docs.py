"""The documentation says what the code does: generated parts are up to date, commands, options, links and code work."""

import html
import importlib.util
import os
import re
import shlex
from pathlib import Path
from types import ModuleType

import pytest

from dinoport import api, errors
from dinoport.cli.program import COMMANDS
from dinoport.request import option_of
from tests.command_line import DEMO
from tests.report import page_picture
from tests.with_torchvision import INSTALLED

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
TEXT = {path: path.read_text(encoding="utf-8") for path in PAGES}


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    """`docs/generate.py`, which is a script and in no package."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_parts_are_up_to_date(generate: ModuleType) -> None:
    stale = [
        str(path.relative_to(ROOT))
        for path, content in generate.pages().items()
        if path.read_text(encoding="utf-8") != content
    ]
    assert not stale, "make docs"


def test_every_family_has_a_page_and_every_class_an_example(generate: ModuleType) -> None:
    from dinoport.codebases.transformers.forms import CLASSES

    assert generate.EXAMPLES.keys() == {family.name for family in generate.FAMILIES}
    shown = {
        generate.target(family, example).form
        for family in generate.FAMILIES
        for example in generate.EXAMPLES[family.name]
    }
    assert shown == set(CLASSES)


def test_a_heading_has_room() -> None:
    for path, text in TEXT.items():
        prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
        crowded = re.findall(r"[^\n]\n(#{2,} .*)|(#{2,} .*)\n[^\n]", prose)
        assert not crowded, path


def test_the_command_line_page_names_every_variable_that_is_read() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    read = set(re.findall(r'environ(?:\.get\(|\[)"(\w+)"', code))
    assert "TORCH_HOME" in read
    assert not {name for name in read if f"`{name}`" not in TEXT[ROOT / "docs" / "cli.md"]}


def test_every_error_has_its_exit_code_in_the_docs() -> None:
    table = {row[0]: row for row in re.findall(r"^\| (\d+) \|(.*)\|$", TEXT[ROOT / "docs" / "cli.md"], re.MULTILINE)}
    assert table.keys() == {"0", "1", "2", "3", "130", "141"}
    found = [error for error in vars(errors).values() if isinstance(error, type)]
    assert len(found) > 8
    for error in found:
        if issubclass(error, errors.DinoportError):
            assert f"`{error.__name__}`:" in table[str(error.exit_code)][1]


def console_lines() -> list[tuple[str, str]]:
    """Every command line that a page shows, with the page's name; comments and outputs are left out."""
    found = []
    for path, text in TEXT.items():
        for block in re.findall(r"^```(?:console|bash)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            found += [(path.name, line.split(" #")[0].strip()) for line in block.splitlines() if line.strip()]
    return found


def test_commands_and_options_in_the_docs_exist() -> None:
    known = {each.name: {option_of(option.field) for option in each.options} | {"--help"} for each in COMMANDS}
    shown = [shlex.split(line)[1:] for _, line in console_lines() if line.startswith("dinoport ")]
    assert len(shown) >= 5
    for name, *arguments in shown:
        assert {each for each in arguments if each.startswith("--")} <= known[name]


def test_commands_of_a_page_run_one_after_the_other() -> None:
    """None writes a folder that one above it on the same page has written, unless it may replace it."""
    for path, text in TEXT.items():
        lines = [line for name, line in console_lines() if name == path.name]
        lines += dict.fromkeys(re.findall(r"`(dinoport demo[^`]*)`", text)) if path.name == "README.md" else []
        commands = [shlex.split(each)[1:] for line in lines for each in line.split("&&") if "dinoport " in each]
        written = [
            folder
            for words in commands
            if words[0] in ("convert", "demo") and "--force" not in words
            for folder in (words[2:3] if words[0] == "convert" else [*words, "the demo's own"][1:2])
        ]
        assert len(written) == len(set(written)), f"{path.name} writes one folder twice: {sorted(written)}"


def test_options_named_in_prose_exist() -> None:
    options = {option_of(option.field) for command in COMMANDS for option in command.options} | {"--help", "--version"}
    for path, text in TEXT.items():
        if path.name == "migration.md":  # of the classic script; tests/test_convert_dino_to_pytorch.py holds those
            continue
        prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
        named = set(re.findall(r"`(--[a-z][a-z-]+)", prose))
        assert named <= options, path.name


def test_make_targets_in_the_docs_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z0-9-]+):", makefile, re.MULTILINE))
    shown = [target for _, line in console_lines() if line.startswith("make ") for target in line.split()[1:]]
    assert {"demo", "test"} <= set(shown) <= targets
    phony = set(re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split())  # type: ignore[index]  # the line is there
    assert phony == targets


def test_links_and_paths_in_the_docs_lead_somewhere() -> None:
    for path, text in TEXT.items():
        own = re.findall(r"https://github.com/dinoport/dinoport/(?:blob|tree)/main/([\w./-]+)", text)
        links = re.findall(r"\]\((?!https?://|#)([^)#]+)", text)
        missing = [link for link in links if not (path.parent / link).exists()]
        missing += [link for link in own if not (ROOT / link).exists()]
        assert not missing, f"{path.name} links to {missing}"
        named = set(re.findall(r"`((?:tests|docs|benchmarks)/[A-Za-z0-9_/.-]+)`", text))
        missing = [name for name in named if not (ROOT / name).exists()]
        assert not missing, f"{path.name} names {missing}"


def test_modules_named_in_the_tour_exist() -> None:
    """Except for those that have yet to be written: NAME."""
    text = TEXT[ROOT / "CONTRIBUTING.md"]
    named = set(re.findall(r"`([a-z_/]+\.py)`", text))
    files = {str(path.relative_to(ROOT)) for path in ROOT.glob("src/**/*.py")} | {"tests/test_layers.py"}
    files |= {str(path.relative_to(ROOT)) for folder in ("tests", "docs") for path in ROOT.glob(f"{folder}/**/*.py")}
    missing = [name for name in named if not any(file == name or file.endswith(f"/{name}") for file in files)]
    assert not missing


def test_the_python_example_runs(tmp_path, monkeypatch, capsys) -> None:
    (tmp_path / "checkpoint.pth").write_bytes(DEMO.read_bytes())
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"^```python\n(.*?)^```$", TEXT[ROOT / "README.md"], re.MULTILINE | re.DOTALL)
    exec(compile(block, "README.md", "exec"), {})  # noqa: S102  # our own page
    assert capsys.readouterr().out.startswith("transported exactly (outputs not shown), assuming ")
    assert (tmp_path / "again" / "dinoport.json").exists()


@pytest.mark.skipif(INSTALLED, reason="the page shows what is printed without torchvision")
def test_the_demo_s_output_is_what_it_prints(tmp_path, monkeypatch, capsys) -> None:
    """Line by line; only figures and hashes may be other ones on another machine."""
    pytest.importorskip("transformers")
    from dinoport.cli.options import as_options
    from dinoport.report.page.render import page
    from dinoport.report.text import report_lines
    from dinoport.shown.lines import lines_for

    monkeypatch.chdir(tmp_path)
    text = TEXT[ROOT / "docs" / "demo.md"]
    shown = re.search(r"<!-- demo -->\n```text\n(.*?)```\n<!-- end of demo -->", text, re.DOTALL)
    assert shown is not None
    report = api.demo("dinoport-demo")
    with lines_for(80, as_options):
        printed = "\n".join(report_lines(report)) + "\n"
    source = os.fspath(DEMO)
    assert without_figures(printed.replace(source, "demo_checkpoint.pth")) == without_figures(shown[1]), "make docs"
    picture = (ROOT / "docs" / "pictures" / "demo.svg").read_text(encoding="utf-8")
    words = "".join(html.unescape(line) for line in re.findall(r">([^<>]*)</text>", picture)).replace("\xa0", " ")
    beginning = without_figures(words.partition("dinoport demo")[2].partition("dinoport demo")[2])
    assert without_figures(printed).startswith(beginning.strip()), "make docs"
    assert "@font-face" not in picture  # which would ask a server
    of_page = page_picture.words(page(report, as_options)), page_picture.style()
    assert page_picture.said_by(page_picture.PICTURE) == of_page, "make docs, where Chromium is"


def without_figures(text: str) -> str:
    text = re.sub(r"[0-9a-f]{16}…|\d+(\.\d+)?(e-\d+)?", "#", text)
    text = re.sub(r"at most\s+\(embedding\)", "at most (blocks.#)", text)  # where all are equal to the last bit
    return re.sub(r"\s+", " ", text)

"""What strangers wrote is shown as text: by one core, in every medium, and on every way out of this program."""

import ast
import html
import json
import os
import re
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from dinoport import api
from dinoport.cli.options import as_options
from dinoport.errors import CheckpointError, DinoportError
from dinoport.files.json_file import json_bytes
from dinoport.formats.torch.writer import write_torch_file
from dinoport.report.page.render import page
from dinoport.report.text import inspection_lines, plan_lines, report_lines
from dinoport.request import Request
from dinoport.shown.calls import AND_SO_ON, FOLDER, OUT, SOURCE, Blank, call
from dinoport.shown.packages import saved_again
from dinoport.shown.text import (
    BLANK,
    MAX_MARKS,
    as_word,
    counted,
    few,
    is_plain,
    listed,
    python_text,
    shown,
    shown_json,
    shown_markdown,
)
from tests import formula, tiny
from tests.command_line import Run
from tests.http_server import Site, serving, status
from tests.writing.stub_tensors import tensor

HIDDEN = "".join(
    character
    for code in range(sys.maxunicode + 1)
    if (character := chr(code)) in BLANK or (not character.isprintable() and unicodedata.category(character) != "Cn")
)
"""Every control, format, private and surrogate character, every separator but the space, and every blank."""

HOSTILE = (
    *("a\x1b]0;title\x07\x1b[31mb", "\x9b2J", "a\rb", "a\nb", "a\u2028b\u2029c\x85d", "\u202ehtp.a", "a\u2066b\u200bc"),
    *("\ufeff\u00ad\u2060\u115f\u3164\ufe0f\U000e0041", "o" + "\u0335" * 40, "\u0301x", "\udcff", "\x7f"),
    *("\n\n## Licence\n\nMIT", "# h", "- [x] y", "1. x", "> q", "---", "===", "```\nrm\n```", "    code", "~~~", "***"),
    *("[a](javascript:1)", "![a](http://x.org/a)", "<script>alert(1)</script>", "&lt;b&gt;", "<!--", "a|b", "`a`"),
    *(
        "https://x.org/a",
        "www.x.org",
        "http://x",
        "*a* _b_ __c__ ~~d~~",
        "$a$",
        "\\",
        "a\\",
        "[^1]: x",
        "<http://x.org>",
    ),
    *(
        "license: mit\n---\n",
        "{{ 7 * 7 }}",
        "[red]x[/red]",
        "[/]",
        "%s%n",
        "$(touch x)",
        "';ls;'",
        '"',
        "\t\tx",
        "日本 é",
    ),
)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_line_is_a_line_and_text(text: str) -> None:
    line = shown(text)
    assert line.isprintable()
    assert len(line.splitlines()) == 1
    assert shown(line) == line
    assert not any(character in HIDDEN for character in line)
    assert is_plain(text) == (line == text)


def test_every_hidden_character_is_escaped_alike() -> None:
    assert len(HIDDEN) > 140_000
    for character in HIDDEN:
        line = shown(f"a{character}b")
        assert line.isascii(), hex(ord(character))
        assert line == "a" + {"\n": r"\n", "\r": r"\r", "\t": r"\t"}.get(character, line[1:-1]) + "b"
    assert shown("a" + HIDDEN + "b").isascii()
    assert shown("\x1b\x9b\u202e\U000e0041\ud800") == r"\x1b\x9b\u202e\U000e0041\ud800"


@pytest.mark.parametrize("count", range(8))
def test_accents_end(count: int) -> None:
    for mark in ("\u0301", "\u20dd", "\u0e48"):
        kept = shown(f"o{mark * count}x")
        assert kept.count(mark) == min(count, MAX_MARKS)
        assert shown(mark * count).count(mark) == 0, "at the start they would stand on what comes before"


@pytest.mark.parametrize("text", HOSTILE)
def test_json_is_the_same_value_and_safe_to_print(text: str) -> None:
    written = shown_json(json.dumps({text: [text]}, ensure_ascii=False, indent=1))
    assert json.loads(written) == {text: [text]}
    assert all(is_plain(line) for line in written.split("\n"))
    assert json.loads(json_bytes({text: text})) == {text: text}


@pytest.mark.parametrize("text", HOSTILE)
def test_a_literal_of_python_is_the_same_text(text: str) -> None:
    literal = python_text(text)
    assert eval(literal, {"__builtins__": {}}) == text  # noqa: S307  # a literal that this test made
    assert is_plain(literal)


def texts(markdown: str) -> Iterator[tuple[str, str]]:
    """The kind of each token of a page, with its content."""
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    for token in parser.parse(markdown):
        yield token.type, token.content
        for child in token.children or ():
            yield child.type, child.content


@pytest.mark.parametrize("place", ["{}", "- {}", "# {}", "**Verdict: {}.**", "- was chosen; also: {}, and more"])
@pytest.mark.parametrize("text", HOSTILE)
def test_no_markup_becomes_markup(text: str, place: str) -> None:
    written = place.format(shown_markdown(text))
    found = [*texts(f"before\n\n{written}\n\nafter")]
    plain = [*texts(f"before\n\n{place.format('x')}\n\nafter")]
    kinds = [kind for kind, _ in found if kind != "text_special"]
    merged = [kind for number, kind in enumerate(kinds) if kind != "text" or kinds[number - 1] != "text"]
    assert merged == [kind for kind, _ in plain]
    said = "".join(content for kind, content in found if kind in ("text", "text_special"))
    assert shown(text).strip() in said
    assert "://" not in re.sub(r"\\://", "", written), "no link of itself"
    assert "www." not in written


@pytest.mark.parametrize("text", HOSTILE)
def test_a_command_to_copy_takes_it_as_one_word(text: str) -> None:
    """As a message shows it, which escapes what is not plain: bash and zsh read that back."""
    word = shown(as_word(text))
    done = subprocess.run(["bash", "-c", f"printf %s {word}"], capture_output=True, check=True)
    assert os.fsdecode(done.stdout) == ("./" if text.startswith(("-", "~")) else "") + text


@pytest.mark.parametrize("text", HOSTILE)
def test_a_call_that_is_proposed_is_python_and_the_command_line_shows_the_command(text: str) -> None:
    """Both take the name as it is, whatever is in it, also after an error has made it printable."""
    error = DinoportError("no", next_step=call("convert", text, FOLDER, prefix=text, num_heads=2, force=True))
    said = str(error).partition("try: ")[2]
    own = ast.parse(said.strip("`"), mode="eval").body
    assert isinstance(own, ast.Call)
    assert [ast.literal_eval(own.args[0]), ast.unparse(own.args[1])] == [text, "FOLDER"]
    command = as_options(said)
    assert command == shown(command)
    done = subprocess.run(["bash", "-c", f"printf '%s\\0' {command}"], capture_output=True, check=True)
    place = ("./" if text.startswith(("-", "~")) else "") + text
    words = ["dinoport", "convert", place, "FOLDER", "--prefix", text, "--num-heads", "2", "--force"]
    assert os.fsdecode(done.stdout).split("\0")[:-1] == words


@pytest.mark.parametrize(
    ("given", "command"),
    [
        (call("fleet", ["a b", "c"], OUT, to="timm"), "dinoport fleet OUT 'a b' c --to timm"),
        (call("fleet", [SOURCE, AND_SO_ON], OUT), "dinoport fleet OUT SOURCE …"),
        (call("convert", Path("x"), FOLDER, num_heads=Blank("N")), "dinoport convert x FOLDER --num-heads N"),
        (call("verify", SOURCE, FOLDER, level="exact"), "dinoport verify SOURCE FOLDER --verify exact"),
        ("`dinoport.convert(` and `dinoport.x(1 2)`", "`dinoport.convert(` and `dinoport.x(1 2)`"),
        ("`dinoport.x(y)(z)`", "`dinoport.x(y)(z)`"),
        ("`dinoport.fleet()`", "dinoport fleet"),
    ],
)
def test_the_command_for_a_call(given: str, command: str) -> None:
    assert as_options(given) == command


@pytest.mark.parametrize("inside", ["-" * 9_000, "not " * 30_000, "a." * 9_000, "(" * 9_000, "0x" + "f" * 9_000])
def test_a_name_like_a_call_that_cannot_be_read_stays(inside: str) -> None:
    text = f"`dinoport.inspect({inside}b)`"
    assert as_options(text) == text


@pytest.fixture(params=range(0, len(HOSTILE)), ids=lambda number: ascii(HOSTILE[number])[:30])
def hostile(request: pytest.FixtureRequest) -> str:
    return HOSTILE[request.param]


def encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def file_name(text: str) -> str:
    return text.replace("/", "∕").replace("\0", "") or "x"


@pytest.fixture
def run_folder(tmp_path: Path, hostile: str) -> Path:
    """A training run with hostile names in every place: its folder, a file beside, a tensor, what its config says."""
    folder = tmp_path / f"run {file_name(hostile)}"
    folder.mkdir()
    write_torch_file(folder / "teacher_checkpoint.pth", tiny.tensors())
    strange = [*tiny.tensors(), tensor(f"blocks.{encodable(hostile)}", formula.tensor("x", (3, 3)))]
    write_torch_file(tmp_path / "strange.pth", strange)
    (folder / f"{file_name(hostile)}.pth").write_bytes(b"")
    text = json.dumps(encodable(hostile))
    (folder / "config.yaml").write_text(f"student:\n  arch: {text}\nteacher:\n  momentum_teacher: 0.9\n")
    return folder


def check_lines(printed: str) -> None:
    for line in printed.split("\n"):
        assert line.isprintable(), ascii(line)
        assert not any(character in BLANK for character in line), ascii(line)


def test_every_way_out(run: Run, run_folder: Path, hostile: str, tmp_path: Path) -> None:
    """convert, inspect, verify; stdout and stderr; the card, the page and the reports as JSON; and errors."""
    out = tmp_path / file_name(f"out {hostile}")
    source = run_folder
    said = [
        run("inspect", source, "--num-heads", "2"),
        run("inspect", source / f"{file_name(hostile)}.pth"),
        run("inspect", tmp_path / "strange.pth"),
        run("convert", tmp_path / "strange.pth", tmp_path / "none", "--num-heads", "2", "--verify", "exact"),
        run("inspect", tmp_path / file_name(hostile)),
        run("convert", source, out, "--num-heads", "2", "--verify", "exact"),
        run("convert", source, out, "--num-heads", "2", "--verify", "exact"),
        run("verify", source, out, "--num-heads", "2", "--verify", "exact"),
        run("convert", source, tmp_path / "none", "--checkpoint-key", hostile),
        run("convert", source, tmp_path / "none", f"--{file_name(hostile)}"),
        run("inspect", source, "--num-heads", "2", "--json"),
        run("verify", source, out, "--num-heads", "2", "--verify", "exact", "--json"),
    ]
    assert [done.code for done in said[5:8]] == [0, 1, 0], said[5].err
    for done in said:
        check_lines(done.out)
        check_lines(done.err)
        assert "Traceback" not in done.err
    json.loads(said[-1].out)
    report = (out / "dinoport.json").read_text(encoding="utf-8")
    check_lines(report)
    assert json.loads(report)["source"]["where"].startswith(str(source).encode("utf-8", "replace").decode()[:20])
    card = (out / "README.md").read_text(encoding="utf-8")
    check_lines(card)
    kinds = [kind for kind, _ in texts(card.partition("---\n\n")[2])]
    assert not {"html_block", "html_inline", "link_open", "image"} & {*kinds}
    assert kinds.count("heading_open") == 3 + card.count("\n## Good to know\n")
    assert kinds.count("fence") == 1
    assert re.fullmatch(r"---\n(([a-z_]+: [a-z-]+|tags:|- [a-z0-9]+)\n)+---\n", card[: card.index("\n\n") + 1])
    found = page(api.verify(source, out, Request(num_heads=2), level="exact"))
    check_lines(re.sub(r"<style>.*?</style>", "", found, flags=re.DOTALL))
    names = re.findall(r"<([a-z]+)", found)
    assert "script" not in names
    assert not re.search(r"<(a|img|iframe|form|object)\b", found.partition("</style>")[2])
    assert shown(source.name).strip() in html.unescape(re.sub(r"<[^>]*>", "", found))


def test_what_a_server_says(hostile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("DINOPORT_CACHE", str(tmp_path / "cache"))
    body = hostile.encode("utf-8", "replace")
    header = re.sub(r"[\r\n]", " ", body.decode("utf-8").encode("latin-1", "replace").decode("latin-1"))
    for step in (status(200, body * 9), status(200, body, ETag=header), status(302, b"", Location=f"ftp://{header}")):
        with serving(Site(files={})) as site:
            site.always = step
            with pytest.raises(DinoportError) as caught:
                api.inspect(site.url("model.pth"))
            check_lines(str(caught.value))
            check_lines(json_bytes(caught.value.to_dict()).decode())


def test_every_part_of_an_error(hostile: str) -> None:
    error = CheckpointError(hostile, where=hostile, expected=hostile, found=hostile, cause=hostile, next_step=hostile)
    check_lines(str(error))
    assert len(str(error).split("\n")) == 6
    assert len(str(CheckpointError("x", next_step=(hostile, hostile))).split("\n")) == 3


def test_labels_are_text_too(run: Run, hostile: str, tmp_path: Path) -> None:
    """In config.json the label is the same text, written so that printing it is safe."""
    if not hostile.strip() or "\udcff" in hostile:
        return
    weights = [
        *tiny.tensors()[: -len(tiny.DROPPED)],
        tensor("head.weight", formula.tensor("w", (2, 8))),
        tensor("head.bias", formula.tensor("b", (2,))),
    ]
    write_torch_file(tmp_path / "with_head.pth", weights)
    (tmp_path / "labels.json").write_text(json.dumps([hostile, "other"]))
    words = ("--num-heads", "2", "--verify", "exact", "--labels", tmp_path / "labels.json")
    done = run("convert", tmp_path / "with_head.pth", tmp_path / "out", *words)
    check_lines(done.out + done.err)
    if done.code == 0:
        config = (tmp_path / "out" / "config.json").read_text(encoding="utf-8")
        check_lines(config)
        assert json.loads(config)["id2label"]["0"] == hostile


def every(report: Any) -> list[str]:
    return [*report_lines(report), *plan_lines(report)]


def test_a_report_that_is_made_in_python(hostile: str, run_folder: Path, tmp_path: Path) -> None:
    planned = api.plan(run_folder, Request(num_heads=2))
    check_lines("\n".join(every(planned)))
    check_lines("\n".join(inspection_lines(api.inspect(run_folder, Request(num_heads=2)))))


def test_of_many_names_the_first_are_shown() -> None:
    assert (listed(["a", "b"], 2), listed(["a", "b", "c"], 2), listed([], 2)) == ("a, b", "a, b, and 1 more", "")
    assert (few(["a", "b"], 2), few(["a", "b", "c", "d"], 2)) == (["a", "b"], ["a", "b", "and 2 more"])


def test_a_count_has_the_number_of_its_word() -> None:
    assert [counted(number, "tensor") for number in (0, 1, 2)] == ["0 tensors", "1 tensor", "2 tensors"]


def test_the_way_of_other_frameworks_weights_to_pytorch() -> None:
    assert saved_again() == "load it in Transformers 4, and save_pretrained"
    assert saved_again("from_flax") == "load it in Transformers 4 with from_flax=True, and save_pretrained"
    both = "load it in Transformers 4 with from_flax=True or from_tf=True, and save_pretrained"
    assert saved_again("from_flax", "from_tf") == both

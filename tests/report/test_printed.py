"""What a verb returns prints as the command line prints it, and opens from one line in a notebook."""

import html
from pathlib import Path

import pytest

import dinoport
from dinoport.cli.options import as_options
from dinoport.pictures.drawing import Visualization
from dinoport.report.published import Published
from dinoport.shown.lines import Printed, lines_for
from tests.command_line import DEMO, HEADS, Run

DRAWN = Visualization(Path("seen"), ("picture.png", "pca.png"), (480, 640), 0, 0.6, ("one note",))
PUBLISHED = Published("owner/name", "main", "c0ffee", "https://hub/owner/name", "equal", True, False, ())


def results(folder: Path) -> dict[str, Printed]:
    dinoport.convert(DEMO, folder / "out", num_heads=2, level="exact")
    return {
        "source": dinoport.inspect(DEMO, num_heads=2),
        "unchanged": dinoport.verify(folder / "out"),
        "verdict": dinoport.plan(DEMO, num_heads=2),
        "done": dinoport.fleet([DEMO], folder / "fleet", num_heads=2, level="exact"),
        "folder": DRAWN,
        "published": PUBLISHED,
    }


def test_every_result_prints_as_lines_that_begin_with_a_label(tmp_path: Path) -> None:
    for label, result in results(tmp_path).items():
        text = str(result)
        assert text.startswith(f"{label:<12}"), text
        assert type(result).__name__ not in text, "a repr of Python"


@pytest.mark.parametrize("result", [DRAWN, PUBLISHED], ids=["drawn", "published"])
def test_a_notebook_shows_a_line_that_opens_the_rest(result: Printed) -> None:
    first, *_ = str(result).split("\n")
    shown = result._repr_html_()
    assert shown.startswith(f"<details><summary>{html.escape(' '.join(first.split()))}</summary><pre>")
    assert html.escape(str(result)) in shown


def test_the_command_line_prints_the_same(run: Run) -> None:
    with lines_for(80, as_options):
        expected = str(dinoport.inspect(DEMO, num_heads=2))
    assert run("inspect", DEMO, *HEADS).out == expected + "\n"

"""The curve of the number of heads, on the page."""

import re
from dataclasses import replace

import pytest

from dinoport import api
from dinoport.networks.heads.reading import HeadReading, Score
from dinoport.report.page import chart, render
from dinoport.report.report import Report
from dinoport.request import Request
from tests.command_line import DEMO

pytest.importorskip("jinja2")

CURVE = {16: 0.6, 32: 0.7, 48: 151.0, 64: 601.0, 96: 903.0, 384: 1513.0}
"""Of a sentence model with 12 heads."""

TOLD = HeadReading(384, 8, tuple(Score(size, 384 // size, inside, 271.0) for size, inside in CURVE.items()))
UNTOLD = TOLD._replace(scores=tuple(score._replace(inside=1.0, moved=0.0) for score in TOLD.scores))


@pytest.fixture(scope="module")
def plan() -> Report:
    return api.plan(DEMO, Request(num_heads=2))


def words(page: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", page).split())


def test_the_curve_is_drawn(plan: Report) -> None:
    shown = render.page(replace(plan, heads=TOLD))
    said = words(shown)
    assert "These weights look like 12 heads of 32." in said
    assert "limit 12.5" in said
    titles = re.findall(r"<title>(inside \d+ channels: [\d.]+)</title>", shown)
    assert titles == [f"inside {size} channels: {inside:.1f}" for size, inside in CURVE.items()]
    assert f"12 32 0.7 {271.0}" in said
    assert "1 384 1513.0 —" in said


def test_weights_that_cannot_tell_say_why(plan: Report) -> None:
    said = words(render.page(replace(plan, heads=UNTOLD)))
    assert "These weights cannot tell the number of heads: no size shows clear boundaries" in said


@pytest.mark.parametrize("reading", [None, HeadReading(64, 0)])
def test_without_a_curve_there_is_no_section(plan: Report, reading: HeadReading | None) -> None:
    assert "as the weights show them" not in render.page(replace(plan, heads=reading))


def test_marks_stand_by_their_figures() -> None:
    laid = chart.head_chart(TOLD)
    low, _, _, _, _, high = (mark.y for mark in laid.main)
    assert 0 <= high < laid.limit < laid.allowed < low <= laid.height
    assert laid.circled == laid.main[1]
    assert len(laid.other) == len(laid.main) - 1
    assert chart.head_chart(UNTOLD).circled is None
    assert max(mark.y for mark in chart.head_chart(UNTOLD).other) == laid.height


def test_the_report_as_data_has_it(plan: Report) -> None:
    heads = replace(plan, heads=TOLD).to_dict()["model"]["heads"]  # type: ignore[index]  # JSON, typed as objects
    assert (heads["found"], heads["layers"], heads["limit"]) == (12, 8, 12.5)
    assert heads["scores"][1] == {"head_dim": 32, "heads": 12, "inside": 0.7, "moved": 271.0}

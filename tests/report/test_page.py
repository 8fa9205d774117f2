"""The page: what it says, that it stands alone, and that a hostile checkpoint can write nothing into it."""

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from dinoport import api
from dinoport.cli import program as cli
from dinoport.errors import MissingPackageError
from dinoport.pictures import images
from dinoport.pictures.images import brightest, heat
from dinoport.proofs.diagnosis.diagnosis import Diagnosis
from dinoport.proofs.difference import Difference
from dinoport.report.next_steps import next_steps
from dinoport.report.page import chart, render
from dinoport.report.report import Group, Line, Report
from dinoport.report.text import report_lines
from dinoport.request import Request
from tests.command_line import DEMO
from tests.report.browser import CHROMIUM, REASON, Browser, browser
from tests.with_torchvision import INSTALLED

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

HOSTILE = "</code><script>alert('x')</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, Path]:
    """The demo's report, and its page."""
    folder = tmp_path_factory.mktemp("page")
    report = api.demo(folder / "out", pictures=True)
    render.write_page(folder / "report.html", report)
    return report, folder / "report.html"


@pytest.fixture(scope="module")
def failed(made: tuple[Report, Path]) -> Path:
    """The page of a folder that computes with another number of heads."""
    folder = made[1].parent
    shutil.copytree(folder / "out", folder / "wrong")
    config = json.loads((folder / "wrong" / "config.json").read_text())
    (folder / "wrong" / "config.json").write_text(json.dumps(config | {"num_attention_heads": 4}))
    report = api.verify(DEMO, folder / "wrong", pictures=True)
    render.write_page(folder / "failed.html", report)
    return folder / "failed.html"


INLINE = {"span", "b", "code", "em"}


class Text(HTMLParser):
    """The words of a page, and its tags."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self.tags: list[str] = []
        self._hidden = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._hidden = tag == "style"
        self.text += "" if tag in INLINE else " "

    def handle_data(self, data: str) -> None:
        self.text += "" if self._hidden else data


def words_of(html: str) -> str:
    parser = Text()
    parser.feed(html)
    return " ".join(parser.text.split())


def test_it_says_what_the_report_says(made: tuple[Report, Path]) -> None:
    report, path = made
    words = words_of(path.read_text())
    first = f"{report.verdict.assuming}, with {len(report.verdict.exceptions)} exceptions"
    assert words.index(f"Equal at 224×224 pixels, {first}") < words.index("What went in")
    for text in (
        *report.verdict.exceptions,
        f"{len(report.verdict.assumptions)} values that no proof can see, marked ◆ below",
        *report.remarks,
        *(setting.reason for setting in report.settings),
        *(line.reason for line in report.accounting.dropped),
        *(file.sha256 for file in report.files),
        *(f"{name} {version}" for name, version in report.versions.items()),
        report.command,
        *report.usage,
    ):
        assert " ".join(text.split()) in words
    assert words.count("◆") == len(report.verdict.assumptions) + 1
    assert all(words.count(setting.value) == 1 for setting in report.settings if setting.name in ("eps", "crop"))
    assert report.source.hashes[0].sha256 in words
    assert len(report.source.hashes[0].sha256) == 64


def test_it_says_what_was_asked_for(made: tuple[Report, Path]) -> None:
    asked = {"num_heads": 2, "image_mean": [0.5, 0.5, 0.25], "pooler": "none"}
    words = words_of(render.page(replace(made[0], request=asked)))
    assert "--image-mean 0.5,0.5,0.25 given asked for --pooler none given asked for" in words
    assert "--num-heads 2 given asked for" not in words, "the setting says so itself"


def test_it_stands_alone(made: tuple[Report, Path]) -> None:
    html = made[1].read_text()
    parser = Text()
    parser.feed(html)
    assert not {"script", "iframe", "object", "embed", "form"} & set(parser.tags)
    assert set(re.findall(r'(?:href|src)="([^"]{0,5})', html)) == {"data:"}
    assert "url(" not in html
    assert "@import" not in html
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in html


def test_the_json_of_a_report_holds_no_picture(made: tuple[Report, Path]) -> None:
    report, _ = made
    assert report.proofs.pictures is not None
    assert len(json.dumps(report.to_dict())) < 20_000


def test_original_and_folder_are_drawn_alike(made: tuple[Report, Path]) -> None:
    pictures = made[0].proofs.pictures
    assert pictures is not None
    assert pictures.attention is not None
    assert pictures.attention.original.shape == (2, 14, 14)
    assert pictures.attention.difference < 1e-8, "Transformers' own softmax is in float32 only in eager attention"
    assert pictures.patches is not None
    assert pictures.patches.original.shape == (14, 14, 32)
    assert pictures.patches.difference < 1e-12
    assert pictures.pixels is not None
    assert pictures.pixels.difference == pytest.approx(int(INSTALLED), abs=1e-4)


def test_a_failed_proof_opens_with_where_and_why(failed: Path) -> None:
    words = words_of(failed.read_text())
    assert words.index("Not equal") < words.index("The difference begins at blocks.0") < words.index("What went in")
    cause = "The number of heads: the folder computes with 4, the original with 2; taken into account, both are equal"
    assert cause in words
    assert "blocks.{i}.norm1.{p} → encoder.layer.{i}.layernorm_before.{p}" in words
    assert "Load it" not in words


def test_a_failed_proof_leads_with_what_to_do(failed: Path) -> None:
    words = words_of(failed.read_text())
    assert words.index("Not equal") < words.index("What to do next") < words.index("54 tensors")
    assert "find out with which of the two values the model was trained" in words
    assert "the tokens differ by" in words
    assert "colours do not differ" not in words


def test_a_passed_proof_asks_for_nothing(made: tuple[Report, Path]) -> None:
    assert "What to do next" not in words_of(made[1].read_text())
    assert next_steps(made[0]) == []


def test_the_page_has_the_order_of_the_terminal(made: tuple[Report, Path]) -> None:
    report, path = made
    lines = "\n".join(report_lines(report))
    words = words_of(path.read_text())
    labels = ["\nsource", "\nmodel", "\ntensors", "\noutputs", "\npixels", "\nfolder", "\nload it"]
    headings = ["What went in", "What was decided", "Where every tensor went", "Outputs, block by block"]
    headings += ["Before and after the image processor", "What came out", "Load it"]
    for order, text in ((labels, lines), (headings, words)):
        places = [text.index(each) for each in order]
        assert places == sorted(places)


def test_a_difference_that_is_black_says_so(made: tuple[Report, Path]) -> None:
    words = words_of(made[1].read_text())
    assert "difference: black everywhere" in words
    assert words.count("black everywhere") >= 3


def test_one_patch_does_not_darken_the_others() -> None:
    values = np.linspace(1.0, 2.0, 196).reshape(14, 14)
    assert brightest(values) == (2.0, 0)
    values[3, 3] = 100.0
    bright, above = brightest(values)
    assert above == 4
    assert 1.9 < bright < 2
    assert heat(values, bright).mean() > 1.5 * heat(values, 100.0).mean()
    assert brightest(np.zeros((3, 3))) == (0.0, 0)
    assert brightest(np.eye(4))[1] == 0


def test_what_is_allowed_is_calm_and_what_is_not_is_marked(made: tuple[Report, Path], failed: Path) -> None:
    assert '<rect class="outside"' in failed.read_text()
    assert '<rect class="outside"' not in made[1].read_text()
    assert "allowed { fill: var(--calm); }" in failed.read_text()


def test_options_are_called_as_on_the_terminal(failed: Path, made: tuple[Report, Path]) -> None:
    from dinoport.cli.options import as_options

    render.write_page(failed.with_name("worded.html"), made[0], as_options)
    assert "student (--checkpoint-key)" in words_of(failed.with_name("worded.html").read_text())


def hostile(report: Report) -> Report:
    accounting = report.accounting._replace(
        groups=(Group(HOSTILE, 1, 1, 1),),
        steps=((HOSTILE, HOSTILE, 2),),
        dropped=(Line(HOSTILE, 1, HOSTILE),),
        synthesised=(Line(HOSTILE, 1, HOSTILE),),
    )
    source = report.source._replace(where=HOSTILE, branch=HOSTILE, stripped=(HOSTILE,), others=(HOSTILE,))
    settings = tuple(setting._replace(value=HOSTILE, reason=HOSTILE) for setting in report.settings)
    diagnosis = Diagnosis(HOSTILE, 1.0, (HOSTILE,), HOSTILE, None, True, (HOSTILE,))
    verdict = replace(report.verdict, shown=HOSTILE, exceptions=(HOSTILE,), failures=(HOSTILE,), not_shown=(HOSTILE,))
    return replace(
        report,
        verdict=verdict,
        source=source,
        accounting=accounting,
        settings=settings,
        proofs=replace(report.proofs, diagnosis=diagnosis),
        remarks=(HOSTILE,),
        family=HOSTILE,
        class_name=HOSTILE,
        target=HOSTILE,
        request={"labels": HOSTILE, HOSTILE: [HOSTILE]},
        command=HOSTILE,
        usage=(HOSTILE,),
        versions={HOSTILE: HOSTILE},
    )


def test_what_a_checkpoint_says_is_never_markup(made: tuple[Report, Path]) -> None:
    html = render.page(hostile(made[0]))
    parser = Text()
    parser.feed(html)
    assert "script" not in parser.tags
    assert "onerror=alert(1)>" not in html
    assert html.count("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;") > 15


def test_a_hostile_file_is_shown_as_it_is_called(tmp_path: Path) -> None:
    """From the file's name and its keys to the page, the whole way."""
    state = torch.load(DEMO, weights_only=False)
    source = tmp_path / "<img src=x onerror=alert(1)>.pth"
    torch.save({"teacher": state["teacher"], "<script>alert(1)</script>": state["student"]}, source)
    report = api.convert(source, tmp_path / "out", Request(num_heads=2), level="exact", pictures=True)
    html = render.page(report)
    assert "<script" not in html
    assert "<img src=x" not in html
    assert "&lt;img src=x onerror=alert(1)&gt;.pth" in html


def test_without_torch_the_page_has_no_pictures(tmp_path: Path) -> None:
    report = api.convert(DEMO, tmp_path / "out", Request(num_heads=2), level="exact", pictures=True)
    words = words_of(render.page(report))
    assert "Transported exactly (outputs not shown), assuming heads = 2 (--num-heads) and 8 values as in" in words
    assert "Outputs not shown — was not tried Pixels not shown — was not tried" in words
    assert "Attention" not in words


@pytest.mark.parametrize(
    ("seen", "why"),
    [({"blind": True}, "they do not depend on the picture"), ({"undefined": 3}, "the original's own are not finite")],
)
def test_outputs_that_show_nothing_are_no_passed_proof(made: tuple[Report, Path], seen: dict, why: str) -> None:
    report = made[0]
    proofs = replace(report.proofs, outputs=replace(report.proofs.outputs, **seen))
    words = words_of(render.page(replace(report, proofs=proofs)))
    assert f"Outputs not shown — {why}" in words
    assert "Outputs passed" not in words
    assert "Outputs passed" in words_of(render.page(report))


@pytest.mark.parametrize(
    ("changes", "tile"),
    [
        ({"exact": {"problems": ("a differs",)}}, "Exact failed 1 problem among 54 tensors that were compared"),
        ({"exact": {"problems": ("a", "b")}}, "Exact failed 2 problems among 54 tensors that were compared"),
        ({"loading": {"failure": "it raised KeyError"}}, "Loading failed — it raised KeyError"),
        ({"loading": {"missing": ("a", "b")}}, "Loading failed 2 keys missing, unexpected or mismatched in"),
    ],
)
def test_a_proof_that_failed_claims_nothing_in_its_tile(
    made: tuple[Report, Path], changes: dict[str, dict[str, object]], tile: str
) -> None:
    report = made[0]
    proofs = report.proofs
    for name, values in changes.items():
        proofs = replace(proofs, **{name: replace(getattr(proofs, name), **values)})
    words = words_of(render.page(replace(report, proofs=proofs)))
    assert tile in words
    assert ("found again bit for bit" in words) == ("exact" not in changes)


def test_a_missing_package_is_one_message_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("dinoport.shown.packages.find_spec", lambda name: None)
    with pytest.raises(MissingPackageError):
        render.require_page_packages("a page")
    arguments = ["dinoport", "convert", str(DEMO), str(tmp_path / "out"), "--report", str(tmp_path / "r.html")]
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    assert exit_.value.code == 1
    assert capsys.readouterr().err == (
        f"error: a report as a page ({tmp_path / 'r.html'}) needs jinja2, matplotlib, pillow (not installed)\n"
        "  try: pip install jinja2 matplotlib pillow\n       or a report as .json, which needs none of these\n"
    )
    assert not list(tmp_path.iterdir())


def test_the_command_line_writes_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the demo, and of a conversion that is not proven and leaves no folder."""
    from tests.proofs.test_diagnosis import WRONG_RULES, with_rules

    monkeypatch.setattr("sys.argv", ["dinoport", "demo", str(tmp_path / "demo"), "--report", str(tmp_path / "d.html")])
    with pytest.raises(SystemExit):
        cli.main()
    assert capsys.readouterr().out.endswith(f"\n\nreport      {tmp_path / 'd.html'}\n")
    assert "Equal at 224×224 pixels" in words_of((tmp_path / "d.html").read_text())
    with_rules(WRONG_RULES["norms"][0], monkeypatch)
    wrong = ["dinoport", "convert", str(DEMO), str(tmp_path / "out"), "--num-heads=2", "--report"]
    monkeypatch.setattr("sys.argv", [*wrong, str(tmp_path / "wrong.html")])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    assert exit_.value.code == 3
    assert (
        "The difference begins at blocks.0 Norm1 and norm2 are swapped in every block; taken into account"
        in words_of((tmp_path / "wrong.html").read_text())
    )
    assert {path.name for path in tmp_path.iterdir()} == {"demo", "d.html", "wrong.html"}


def test_zero_has_a_place_of_its_own_on_the_chart() -> None:
    none, some = Difference(0.0, 0.0), Difference(1e-7, 1e-7)
    laid = chart.block_chart({"embedding": (none, none), "blocks.0": (some, some)}, 1e-9, "blocks.0")
    assert laid.main[0].y == laid.zero > laid.limit > laid.main[1].y > 0
    assert laid.circled == laid.main[1]
    assert [label for _, label in laid.labels] == ["in", "0"]


def test_a_difference_without_limit_is_held_at_the_edge() -> None:
    endless = Difference(float("inf"), float("inf"))
    laid = chart.block_chart({"blocks.0": (endless, endless)}, 1e-9)
    assert 0 <= laid.main[0].y < laid.limit


def test_not_every_block_gets_a_label() -> None:
    assert len(chart.labelled([f"blocks.{i}" for i in range(40)])) <= chart.MAX_LABELS
    assert len(chart.labelled([f"layer1.{i}" for i in range(17)])) <= chart.MAX_LABELS // 2 + 1


def test_principal_components_show_what_differs() -> None:
    """Patches of two kinds get two colours, whatever else is in them."""
    rng = np.random.default_rng(3)
    patches = rng.normal(0, 0.01, (6, 8, 16))
    patches[:, 4:] += rng.normal(0, 1, 16)
    colours = images.Components.of(patches).colours(patches)
    left, right = colours[:, :4, 0].astype(int), colours[:, 4:, 0].astype(int)
    assert abs(left.mean() - right.mean()) > 200
    assert left.std() < 10 > right.std()


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip(REASON)
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.mark.parametrize("width", [1200, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("which", ["made", "failed"])
def test_in_a_browser(which: str, scheme: str, width: int, tab: Browser, request: pytest.FixtureRequest) -> None:
    value = request.getfixturevalue(which)
    path = value if which == "failed" else value[1]
    tab.requests.clear()
    tab.open(path, width, scheme)
    assert tab.complaints == []
    assert {url.split(":")[0] for url in tab.requests} == {"file", "data"}
    assert [url for url in tab.requests if url.startswith("file")] == [path.resolve().as_uri()]
    box = tab.evaluate("JSON.stringify(document.getElementById('verdict').getBoundingClientRect())")
    verdict = json.loads(box)
    assert verdict["width"] > 100
    assert 0 <= verdict["top"] < 300
    starts = {"made": "Equal at 224×224 pixels", "failed": "Not equal"}[which]
    assert tab.evaluate("document.getElementById('verdict').innerText").startswith(starts)
    seen = "Array.from(document.images, i => [i.complete, i.naturalWidth, i.getBoundingClientRect().width, i.alt])"
    pictures = tab.evaluate(seen)
    rows_of_attention = {"made": 3, "failed": 1}[which]  # other heads than the original's are not shown beside them
    assert len(pictures) == 3 * rows_of_attention + 3 + 4
    assert all(complete and natural > 0 and shown > 30 and text for complete, natural, shown, text in pictures)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width, "the page is wider than the screen"
    paper = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    red = int(re.findall(r"\d+", paper)[0])
    assert (red > 200) == (scheme == "light")


def test_a_hostile_page_runs_nothing_in_a_browser(made: tuple[Report, Path], tab: Browser, tmp_path: Path) -> None:
    render.write_page(tmp_path / "hostile.html", hostile(made[0]))
    tab.requests.clear()
    tab.open(tmp_path / "hostile.html", 390)
    assert tab.complaints == []
    assert tab.evaluate("document.scripts.length") == 0
    assert [url for url in tab.requests if not url.startswith("data:")] == [(tmp_path / "hostile.html").as_uri()]
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390

"""`verify` of a graph, as people ask for it: what is refused, what a page and the command line say, and pixels."""

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dinoport.api import convert, verify
from dinoport.errors import SettingError
from dinoport.exports.graph import Export, Graph, Input
from dinoport.proofs.verdict import Word
from dinoport.request import Request
from dinoport.work.exports import _refuse_other_size
from tests import tiny
from tests.command_line import Run
from tests.exports.cases import CASES, RECORDED

VIT = CASES["vit"]
GRAPH = RECORDED / "vit-dynamo23.onnx"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    return VIT.write(tmp_path)


@pytest.mark.parametrize("asked", [{"dtype": "float16"}, {"reference": "hub"}])
def test_what_cannot_be_asked_of_a_graph_is_refused(source: Path, asked: dict[str, str]) -> None:
    [name] = asked
    with pytest.raises(SettingError, match=f"`{name}` is not for an ONNX graph") as raised:
        verify(source, GRAPH, VIT.request, **asked)
    assert f"leave `{name}` out" in str(raised.value)


@pytest.mark.parametrize("level", ["exact", "full"])
def test_another_size_than_the_graph_takes_is_refused(source: Path, level: str) -> None:
    with pytest.raises(SettingError) as raised:
        verify(source, GRAPH, VIT.request, image_size=48, level=level)
    assert str(raised.value) == (
        "`image_size=48` does not fit this graph, which takes pictures of one size\n"
        f"  where: {GRAPH}\n"
        "  found: 32×32 pixels\n"
        "  try: leave `image_size` out, or give the graph that was exported for this size"
    )
    assert not verify(source, GRAPH, VIT.request, image_size=32, level=level).verdict.failed


@pytest.mark.parametrize(
    ("sizes", "is_refused"),
    [
        ((1, 3, 224, 224), True),
        (("n", 1, "h", 224), True),
        ((1, 224, 224, 3), False),
        (("n", "h", "w", 3), False),
        (("n", 3, "h", "w"), False),
        ((1, 3), False),
        (("n",), False),
        (None, False),
    ],
)
def test_a_number_of_channels_is_not_a_side(sizes: tuple[int | str, ...] | None, is_refused: bool) -> None:
    export = Export("graph.onnx", Graph((), {}, (Input("pictures", 1, sizes),), ()), 17, "")
    with pytest.raises(SettingError) if is_refused else nullcontext():
        _refuse_other_size(export, Request(image_size=48), 1)
    _refuse_other_size(export, Request(image_size=224), 1)
    _refuse_other_size(export, Request(), 1)


def test_a_processor_is_for_a_graph(tmp_path: Path) -> None:
    source = tiny.write(tmp_path / "original.pth")
    convert(source, tmp_path / "folder", tiny.REQUEST, level="none")
    with pytest.raises(SettingError, match="`processor` is for an ONNX graph"):
        verify(source, tmp_path / "folder", tiny.REQUEST, level="exact", processor=tmp_path / "folder")


def test_the_processor_that_the_user_names_is_proven(source: Path, tmp_path: Path) -> None:
    convert(source, tmp_path / "folder", VIT.request, level="none")
    named = verify(source, GRAPH, VIT.request, processor=tmp_path / "folder")
    assert named.proofs.pixels is not None
    assert named.proofs.pixels.status == "equal"
    assert not [words for words in named.verdict.not_shown if words.startswith("pixels")]
    without = verify(source, GRAPH, VIT.request)
    assert [words for words in without.verdict.not_shown if words.startswith("pixels: no processor was named")]
    counted = {"pixel mean", "pixel std", "resize", "crop", "filter"}
    assert counted <= {setting.name for setting in named.settings}
    assert not counted & {setting.name for setting in without.settings}
    assert [each for each in named.verdict.assumptions if each.partition(" = ")[0] not in counted] == [
        *without.verdict.assumptions
    ]
    with pytest.raises(SettingError, match="`image_mean` is not for an ONNX graph without its image processor"):
        verify(source, GRAPH, replace(VIT.request, image_mean=(0.5, 0.5, 0.5)))


@pytest.mark.parametrize("value", [0.25, float("nan")])
@pytest.mark.parametrize("level", ["exact", "full"])
def test_values_of_a_second_name_do_not_count_as_weights(level: str, value: float, tmp_path: Path) -> None:
    """A graph of the model before it was trained on: `norms.3` still holds what `norm` held."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    source = CASES["dinov3-convnext"].write(tmp_path)
    state = torch.load(source)
    state["norm.bias"][0] = value
    torch.save(state, source)
    verdict = verify(source, RECORDED / "dinov3-convnext-timm-torchscript17.onnx", level=level).verdict
    assert verdict.word is Word.NOT_EQUAL
    assert "norm.bias but for value 0" in verdict.failures[0]


def test_a_folder_is_a_source_and_its_class_says_how_a_table_is_resampled(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    case = CASES["dinov2"]
    convert(case.write(tmp_path), tmp_path / "folder", case.request, level="none")
    for name in ("dinov2-dynamo20-other-size", "dinov2-dynamo20-any"):
        report = verify(tmp_path / "folder", RECORDED / f"{name}.onnx")
        assert report.verdict.word is Word.EQUAL, report.verdict
        assert report.verdict.failed is False


def test_without_torch_the_tensors_alone_are_compared(source: Path) -> None:
    report = verify(source, GRAPH, VIT.request, level="exact")
    assert report.verdict.word is Word.TRANSPORTED
    assert report.proofs.outputs is None
    assert report.proofs.exact is not None
    assert report.proofs.exact.found == 39


def test_a_graph_in_the_folder_of_its_exporter_is_found(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "exported"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(GRAPH.read_bytes())
    (folder / "config.json").write_text("{}")
    assert verify(source, folder, VIT.request, level="exact").verdict.word is Word.TRANSPORTED


def test_the_command_says_what_was_shown(source: Path, run: Run) -> None:
    done = run("verify", source, GRAPH, "--num-heads", "2", "--quiet")
    assert done.code == 0
    words = " ".join(done.out.split())
    assert "equal at 32×32 pixels" in words
    assert "numbers read as meant: 9.99999997e-07 as 1e-06" in words
    assert "as the file is written, outputs differ by" in words
    assert "pixels: no processor was named for the graph: give --processor" in words


def test_a_mistake_is_an_exit_code_and_json(source: Path, run: Run) -> None:
    done = run("verify", source, GRAPH, "--num-heads", "4", "--quiet", "--json")
    assert done.code == 3
    found = json.loads(done.out)
    assert found["verdict"]["word"] == "not equal"
    assert found["direction"] == "to onnx"
    assert found["proofs"]["exported"]["opset"] == 23
    assert found["diagnosis"]["cause"] == "the number of heads: the graph computes with 2, the original with 4"


def test_the_page_shows_the_graph(source: Path, tmp_path: Path, run: Run) -> None:
    done: Any = run("verify", source, GRAPH, "--num-heads", "2", "--quiet", "--report", tmp_path / "page.html")
    assert done.code == 0
    page = (tmp_path / "page.html").read_text()
    assert "9.99999997e-07" in page
    assert "opset 23" in page

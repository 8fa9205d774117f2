"""The Python API: six names, what they return, and what they raise."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import dinoport
from dinoport import api
from dinoport.errors import CheckpointError, MissingPackageError, NotProvenError, SettingError
from dinoport.formats.transformers_folder import ORIGINAL_FILE
from dinoport.proofs.verdict import Word
from dinoport.report.report import Report
from tests import tiny
from tests.error_text import error_text


@pytest.fixture
def source(tmp_path) -> Path:
    return tiny.write(tmp_path / "checkpoint.pth")


NAMES = """
import sys, dinoport
names = ["Checks", "Request", "__version__"]
verbs = ["convert", "fleet", "inspect", "load", "plan", "progress_bars", "publish", "verify", "visualize"]
assert sorted(dinoport.__all__) == [*names, *verbs]
assert "numpy" not in sys.modules
assert "dinoport.api" not in sys.modules
for name in sys.argv[1:]:
    assert callable(getattr(dinoport, name)), name
assert issubclass(dinoport.errors.CheckpointError, dinoport.errors.DinoportError)
import dinoport.proofs.verdict
from dinoport import convert, inspect, plan, verify
assert {function.__module__ for function in (convert, inspect, plan, verify)} == {"dinoport.api"}
"""


@pytest.mark.parametrize("first", ["convert", "verify", "Request"])
def test_the_names_are_the_functions_whichever_is_asked_for_first(first: str) -> None:
    """No package beneath takes the name of a function once it is imported."""
    others = [name for name in ("verify", "convert", "inspect", "plan", "Request") if name != first]
    subprocess.run([sys.executable, "-c", NAMES, first, *others], check=True)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'dinoport' has no attribute 'transform'"):
        dinoport.transform  # noqa: B018  # asking for it is the test


def test_convert_returns_the_report_that_the_folder_keeps(source: Path, tmp_path) -> None:
    report = api.convert(str(source), str(tmp_path / "out"), tiny.REQUEST, level="exact")
    assert isinstance(report, Report)
    assert report.verdict.word is Word.TRANSPORTED
    assert report.class_name == "ViTModel"
    assert report.to_dict() == json.loads((tmp_path / "out" / "dinoport.json").read_text())


def test_plan_and_inspect_write_nothing(source: Path, tmp_path) -> None:
    planned = api.plan(source, tiny.REQUEST)
    inspected = api.inspect(source, tiny.REQUEST)
    assert planned.verdict.word is Word.PLANNED
    assert inspected.plan is not None
    assert inspected.plan.accounting == planned.accounting
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pth"]


def test_inspect_returns_why_there_is_no_plan(source: Path) -> None:
    inspected = api.inspect(source)
    assert inspected.plan is None
    assert inspected.refusal is not None
    assert "`num_heads=N`" in inspected.refusal


def test_verify_reads_the_request_from_the_folder_unless_it_is_given(source: Path, tmp_path) -> None:
    api.convert(source, tmp_path / "out", tiny.REQUEST, level="exact")
    assert not api.verify(source, tmp_path / "out", level="exact").verdict.failed
    other = api.verify(source, tmp_path / "out", dinoport.Request(num_heads=4), level="exact")
    assert other.verdict.failed
    assert "config.json: num_attention_heads is 2, expected 4" in other.verdict.failures


def test_there_and_back(source: Path, tmp_path) -> None:
    api.convert(source, tmp_path / "out", tiny.REQUEST, level="exact")
    back = api.convert(tmp_path / "out", tmp_path / "back", to="original", level="exact")
    assert back.direction == "to original"
    again = api.convert(tmp_path / "back" / ORIGINAL_FILE, tmp_path / "again", tiny.REQUEST, level="exact")
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("out", "again")]
    assert weights[0] == weights[1]
    assert again.verdict.word is Word.TRANSPORTED


@pytest.mark.usefixtures("miswriting")
@pytest.mark.parametrize("max_shard_bytes", [1000, 1 << 20], ids=["shards", "one file"])
def test_a_failed_proof_raises_with_its_report(source: Path, tmp_path, max_shard_bytes: int) -> None:
    with pytest.raises(NotProvenError) as caught:
        api.convert(source, tmp_path / "out", tiny.REQUEST, level="exact", max_shard_bytes=max_shard_bytes)
    assert caught.value.report.verdict.word is Word.NOT_EQUAL
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_read_raises(tmp_path) -> None:
    (tmp_path / "empty.pth").touch()
    for function in (api.inspect, api.plan):
        with pytest.raises(CheckpointError, match="is not a checkpoint"):
            function(tmp_path / "empty.pth")
    with pytest.raises(CheckpointError, match="is not a checkpoint"):
        api.convert(tmp_path / "empty.pth", tmp_path / "out", level="none")


@pytest.mark.parametrize(
    "wrong", [{"num_heads": 0}, {"num_heads": "2"}, {"dtype": "int8"}, {"image_std": (0.0, 1.0, 1.0)}, {"pooler": None}]
)
def test_a_request_that_means_nothing_is_refused_when_it_is_made(wrong: dict[str, object]) -> None:
    with pytest.raises(SettingError, match=f"`{next(iter(wrong))}` takes "):
        dinoport.Request(**wrong)  # type: ignore[arg-type]  # wrong types are the test


def test_a_request_goes_through_json_and_back() -> None:
    asked = dinoport.Request(head=Path("head.pth"), image_mean=(0.5, 0.5, 0.5), num_heads=3, layer_norm_eps=1e-5)
    assert json.loads(json.dumps(asked.to_dict())) == {
        "head": "head.pth",
        "image_mean": [0.5, 0.5, 0.5],
        "num_heads": 3,
        "layer_norm_eps": 1e-5,
    }
    assert dinoport.Request.from_dict(asked.to_dict()).to_dict() == asked.to_dict()
    assert dinoport.Request().to_dict() == {}


def test_without_torch_the_full_proof_is_refused_before_anything_is_written(source, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("dinoport.shown.packages.find_spec", lambda name: None)
    assert error_text(MissingPackageError, lambda: api.convert(source, tmp_path / "out", tiny.REQUEST)) == (
        "the full proof needs torch, transformers, pillow (not installed)\n"
        "  try: pip install torch transformers pillow\n       or `level='exact'`, which needs none of these"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pth"]


def test_progress_counts_every_byte_of_each_stage(source: Path, tmp_path) -> None:
    seen: dict[str, list[tuple[int, int]]] = {}
    api.convert(
        source,
        tmp_path / "out",
        tiny.REQUEST,
        level="exact",
        on_progress=lambda stage, done, total: seen.setdefault(stage, []).append((done, total)),
    )
    assert {"writing", "comparing tensors"} <= seen.keys()
    for steps in seen.values():
        assert [done for done, _ in steps] == sorted(done for done, _ in steps)
    assert seen["writing"][-1][0] == seen["writing"][-1][1]


def test_a_file_that_is_hashed_whole_is_told_byte_by_byte(source: Path, tmp_path: Path) -> None:
    """Where a report lies beside it, or lists it: of a large file that takes a minute."""
    api.convert(source, tmp_path / "there", tiny.REQUEST, level="none")
    api.convert(tmp_path / "there", tmp_path / "back", to="original", level="exact")
    [file] = (tmp_path / "back").glob("*.pth")
    for work in (lambda told: api.plan(file, on_progress=told), lambda told: api.verify(file.parent, on_progress=told)):
        seen: list[tuple[str, int, int]] = []
        work(lambda *now, seen=seen: seen.append(now))
        size = file.stat().st_size
        assert [now for now in seen if now[0].startswith("hashing ")][:2] == [
            (f"hashing {file.name}", done, size) for done in (0, size)
        ]


@pytest.mark.parametrize(
    ("call", "name", "expected"),
    [
        (lambda source, out: api.convert(source, out, to="bogus"), "to", "transformers, timm, original, training"),
        (lambda source, out: api.plan(source, to="bogus"), "to", "transformers, timm, original, training"),
        (lambda source, out: api.convert(source, out, level="bogus"), "level", "full, exact, none"),
        (lambda source, out: api.verify(source, out, level="bogus"), "level", "full, exact"),
    ],
    ids=["convert to", "plan to", "convert level", "verify level"],
)
def test_a_word_that_names_nothing_is_refused_before_any_work(source: Path, tmp_path, call, name, expected) -> None:
    with pytest.raises(SettingError) as caught:
        call(source, tmp_path / "out")
    assert str(caught.value).startswith(f"`{name}` takes one of {expected}\n  found: 'bogus'\n  try: ")
    assert not (tmp_path / "out").exists()


def test_a_verification_that_proves_nothing_is_none(source: Path, tmp_path) -> None:
    api.convert(source, tmp_path / "out", tiny.REQUEST, level="none")
    with pytest.raises(SettingError, match="`level` takes one of full, exact\n  found: 'none'"):
        api.verify(source, tmp_path / "out", level="none")


@pytest.mark.parametrize(
    ("name", "meant"),
    [("numheads", "did you mean num_heads?"), ("dry_run", "known are all_sizes, "), ("x" * 5, "known are ")],
)
def test_an_argument_that_is_not_known_is_told_from_those_that_are(source, name: str, meant: str) -> None:
    with pytest.raises(TypeError, match=re.escape(f"unknown argument {name!r}; {meant}")):
        dinoport.convert(source, "x", **{name: 2})

"""`dinoport verify` never calls a folder proven that was changed, or that came from another source than it is given."""

import copy
import json
import os
import random
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dinoport.api import convert, verify
from dinoport.errors import DinoportError, NotProvenError
from dinoport.files.json_file import json_bytes
from dinoport.formats.torch.writer import write_torch_file
from dinoport.proofs.verdict import Word
from dinoport.report.as_json import SEAL, seal
from dinoport.report.text import headline
from dinoport.request import Request
from dinoport.work.past_report import COMPUTED_AGAIN
from tests import formula, tiny
from tests.writing.stub_tensors import tensor

JSON_FILES = ("config.json", "preprocessor_config.json", "dinoport.json")


DAMAGE: dict[str, Callable[[Path], object]] = {
    "config.json gone": lambda folder: (folder / "config.json").unlink(),
    "config.json cut off": lambda folder: (folder / "config.json").write_text("{"),
    "weights gone": lambda folder: (folder / "model.safetensors").unlink(),
    "weights cut off": lambda folder: os.truncate(folder / "model.safetensors", 3000),
    "weights empty": lambda folder: os.truncate(folder / "model.safetensors", 0),
    "dinoport.json cut off": lambda folder: (folder / "dinoport.json").write_text("{"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_folder_is_not_proven_equal(made, tmp_path, name: str) -> None:
    """Exit code 3, as for one whose damage leaves something to compare."""
    source, folder = made
    shutil.copytree(folder, tmp_path / "out")
    DAMAGE[name](tmp_path / "out")
    with pytest.raises(NotProvenError) as refused:
        verify(source, tmp_path / "out", level="exact")
    assert refused.value.report is None
    assert str(refused.value).startswith(f"{tmp_path / 'out'} is damaged, and so not equal to {source}\n")
    assert str(refused.value).endswith("  try: fetch the folder again, or convert the source again")


def test_what_was_never_converted_and_a_damaged_source_are_wrong_input(made, tmp_path) -> None:
    source, folder = made
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "README.md").touch()
    (tmp_path / "cut.pth").write_bytes(source.read_bytes()[:-100])
    for given in ((source, tmp_path / "notes"), (source, tmp_path / "none"), (tmp_path / "cut.pth", folder)):
        with pytest.raises(DinoportError) as refused:
            verify(*given, level="exact")
        assert refused.value.exit_code == 1


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, Path]:
    """A source and its folder; tests put back what they change."""
    root = tmp_path_factory.mktemp("made")
    source = tiny.write(root / "checkpoint.pth")
    convert(source, root / "out", tiny.REQUEST, level="exact")
    return source, root / "out"


def complaint(source: Path, folder: Path) -> str | None:
    """What `verify` says against a folder: a failure, or what is not as it was and makes no other model.

    Anything but a declared error fails the test.
    """
    try:
        verdict = verify(source, folder, level="exact").verdict
    except DinoportError as error:
        return str(error)
    told = [warning for warning in verdict.warnings if "is another file than the one" not in warning]
    return str(verdict) if verdict.failed else "; ".join(told) or None


def flips(path: Path, count: int, seed: int, begin: int = 0) -> Iterator[int]:
    """Flip one bit from byte `begin` on after the other, each put back before the next; yields the bit's place."""
    content = path.read_bytes()
    for bit in random.Random(seed).sample(range(8 * begin, 8 * len(content)), count):  # noqa: S311  # not a secret
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        yield bit
    path.write_bytes(content)


def test_what_was_not_changed_is_proven(made) -> None:
    assert complaint(*made) is None


def test_a_processor_that_is_gone_is_missed_and_no_difference_is_made_up(made, tmp_path) -> None:
    source, folder = made
    shutil.copytree(folder, tmp_path / "out")
    (tmp_path / "out" / "preprocessor_config.json").unlink()
    report = verify(source, tmp_path / "out")
    assert report.verdict.failures == ("preprocessor_config.json is missing",)
    assert report.verdict.warnings == ()
    assert report.proofs.pixels is None


def test_a_thousand_flipped_bits_in_the_weights_are_caught(made) -> None:
    source, folder = made
    missed = [bit for bit in flips(folder / "model.safetensors", 1000, seed=1) if complaint(source, folder) is None]
    assert not missed
    assert complaint(source, folder) is None


def test_flipped_bits_are_caught_by_comparing_alone_where_no_hash_is_left(made, tmp_path) -> None:
    source, folder = made
    shutil.copytree(folder, tmp_path / "out")
    (tmp_path / "out" / "dinoport.json").unlink()
    weights = tmp_path / "out" / "model.safetensors"
    values = 8 + int.from_bytes(weights.read_bytes()[:8], "little")
    verdicts = {
        bit: verify(source, tmp_path / "out", tiny.REQUEST, level="exact").verdict
        for bit in flips(weights, 200, seed=5, begin=values)
    }
    assert all(verdict.failed for verdict in verdicts.values())


def test_flipped_bits_in_the_source_are_caught(made) -> None:
    """In what was converted, in what was dropped, and in what lies between."""
    source, folder = made
    missed = [bit for bit in flips(source, 500, seed=2) if complaint(source, folder) is None]
    assert not missed
    assert complaint(source, folder) is None


@pytest.mark.parametrize("name", JSON_FILES)
def test_flipped_bits_in_the_other_files_are_caught(made, name: str) -> None:
    source, folder = made
    missed = [bit for bit in flips(folder / name, 100, seed=3) if complaint(source, folder) is None]
    assert not missed


def test_a_changed_card_is_told_and_makes_no_other_model(made, tmp_path) -> None:
    source, folder = made
    seen = {verify(source, folder, level="exact").verdict for _ in flips(folder / "README.md", 100, seed=3)}
    (verdict,) = seen
    changed = "README.md has another sha256 than dinoport.json says; no model is made of it"
    assert (verdict.word, verdict.warnings) == (Word.TRANSPORTED, (changed,))
    assert headline(verdict).endswith(", with 1 warning")
    shutil.copytree(folder, tmp_path / "out")
    (tmp_path / "out" / "README.md").unlink()
    verdict = verify(source, tmp_path / "out", level="exact").verdict
    assert verdict.warnings == ("README.md is missing; no model is made of it",)
    assert not verdict.failed


@pytest.mark.parametrize("name", JSON_FILES)
def test_a_change_of_every_field_is_caught(made, name: str) -> None:
    source, folder = made
    whole = json.loads((folder / name).read_text())
    content = (folder / name).read_bytes()
    missed = []
    fields = 0
    for what, changed in changes(whole):
        fields += 1
        (folder / name).write_bytes(json_bytes(changed))
        if complaint(source, folder) is None:
            missed.append(what)
    (folder / name).write_bytes(content)
    assert not missed
    assert fields > 2 * len(whole)


def changes(whole: Any) -> Iterator[tuple[str, Any]]:
    """The document with one field changed, with one left out, and with one added, for every field at every depth."""
    for path in paths(whole):
        for how in ("changed", "left out"):
            document = copy.deepcopy(whole)
            holder = document
            for key in path[:-1]:
                holder = holder[key]
            if how == "left out":
                del holder[path[-1]]
            else:
                holder[path[-1]] = other(holder[path[-1]])
            yield f"{how}: {'.'.join(map(str, path))}", document
    yield "one added", {**whole, "added": 1}


def paths(node: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield (*above, key)
        yield from paths(value, (*above, key))


def other(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return value + "x"
    if value is None:
        return 0
    return [*value, 1] if isinstance(value, list) else {**value, "added": 1}


@pytest.mark.parametrize("keys", [*COMPUTED_AGAIN, ("model", "settings")], ids=".".join)
def test_a_forged_hash_does_not_hide_what_the_source_says_otherwise(made, keys: tuple[str, ...]) -> None:
    source, folder = made
    content = (folder / "dinoport.json").read_bytes()
    document = json.loads(content)
    holder = document
    for key in keys[:-1]:
        holder = holder[key]
    holder[keys[-1]] = holder[keys[-1]][1:] if isinstance(holder[keys[-1]], list) else other(holder[keys[-1]])
    (folder / "dinoport.json").write_bytes(json_bytes({**document, SEAL: seal(document)}))
    said = complaint(source, folder)
    (folder / "dinoport.json").write_bytes(content)
    assert said is not None
    assert "does not have its own sha256" not in said


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "preprocessor_config.json"])
def test_a_file_that_is_gone_is_missed(made, tmp_path, name: str) -> None:
    source, folder = made
    shutil.copytree(folder, tmp_path / "out")
    (tmp_path / "out" / name).unlink()
    assert complaint(source, tmp_path / "out") is not None


@pytest.mark.parametrize("name", ["adapter_config.json", "modeling_own.py", "processor_config.json", "model-00001.bin"])
def test_a_file_that_transformers_may_read_too_is_named(made, tmp_path, name: str) -> None:
    source, folder = made
    shutil.copytree(folder, tmp_path / "out")
    (tmp_path / "out" / ".gitattributes").write_text("")  # as on the Hub; nobody loads it
    assert complaint(source, tmp_path / "out") is None
    (tmp_path / "out" / name).write_text("{}")
    said = complaint(source, tmp_path / "out")
    assert said is not None
    assert f"{name} is in the folder, and no conversion writes it there" in said


def test_without_its_report_a_folder_is_proven_and_what_was_not_looked_at_is_said(made, tmp_path) -> None:
    source, folder = made
    shutil.copytree(folder, tmp_path / "out")
    (tmp_path / "out" / "dinoport.json").unlink()
    report = verify(source, tmp_path / "out", tiny.REQUEST, level="exact")
    assert not report.verdict.failed
    assert any("has no dinoport.json: its README.md was not looked at" in remark for remark in report.remarks)


def test_a_bit_that_a_cast_rounds_away_is_caught(tmp_path) -> None:
    """In float16 the lowest bits of a float32 weight leave no trace; the pin of the source holds them."""
    source = tiny.write(tmp_path / "checkpoint.pth")
    convert(source, tmp_path / "out", replace(tiny.REQUEST, dtype="float16"), level="exact")
    assert complaint(source, tmp_path / "out") is None
    whole = json.loads((tmp_path / "out" / "dinoport.json").read_text())
    assert whole["source"]["files"][0]["other_bytes"] == source.stat().st_size
    missed = [bit for bit in flips(source, 100, seed=4) if complaint(source, tmp_path / "out") is None]
    assert not missed


def test_another_file_with_the_same_tensors_is_not_taken_for_the_source(made, tmp_path) -> None:
    """Converted tensors are equal bit for bit, and the dropped head is another: said, and by name."""
    source, folder = made
    name, shape = next(iter(tiny.DROPPED.items()))
    another = tensor(name, formula.tensor("another", shape))
    tensors = [another if each.target.name == name else each for each in tiny.tensors()]
    write_torch_file(tmp_path / "other.pth", tensors)
    assert (tmp_path / "other.pth").stat().st_size == source.stat().st_size
    said = complaint(tmp_path / "other.pth", folder)
    assert said is not None
    assert "other.pth is not the file that was converted: what else it holds, besides the tensors, differs" in said


def save(path: Path, tensors: dict[str, np.ndarray]) -> Path:
    from safetensors.numpy import save_file

    save_file(tensors, path)
    return path


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "backbone"])
def test_the_same_tensors_in_another_container_are_equal_and_it_is_told(made, tmp_path, whole: bool) -> None:
    """Also where only the backbone was saved again: what was dropped makes no other model."""
    source, folder = made
    shapes = {**tiny.ARCHITECTURE.tensors(), **(tiny.DROPPED if whole else {})}
    tensors = {name: formula.tensor(name, shape) for name, shape in shapes.items()}
    again = save(tmp_path / "again.safetensors", tensors)
    verdict = verify(again, folder, level="exact").verdict
    assert not verdict.failed, str(verdict)
    (warning,) = verdict.warnings
    assert warning == (
        f"{again} (safetensors file, {again.stat().st_size} bytes) is another file than the one that was converted "
        f"(torch zip file, {source.stat().st_size} bytes); its tensors are equal, and what else that one held was not "
        "looked at"
    )
    for name in tiny.ARCHITECTURE.tensors():
        changed = {**tensors, name: tensors[name].copy()}
        changed[name].reshape(-1).view(np.uint32)[-1] ^= 1
        verdict = verify(save(tmp_path / "other.safetensors", changed), folder, level="exact").verdict
        assert verdict.failed, name
        assert "its tensors are not all equal" in verdict.warnings[0]


@pytest.mark.parametrize("name", JSON_FILES)
def test_another_container_excuses_no_other_change(made, tmp_path, name: str) -> None:
    _, folder = made
    shapes = {**tiny.ARCHITECTURE.tensors(), **tiny.DROPPED}
    again = save(tmp_path / "again.safetensors", {n: formula.tensor(n, shape) for n, shape in shapes.items()})
    content = (folder / name).read_bytes()
    missed = []
    for what, changed in changes(json.loads(content)):
        (folder / name).write_bytes(json_bytes(changed))
        if complaint(again, folder) is None:
            missed.append(what)
    (folder / name).write_bytes(content)
    assert not missed
    assert complaint(again, folder) is None


def test_a_source_may_be_renamed(made, tmp_path) -> None:
    source, folder = made
    shutil.copy(source, tmp_path / "renamed.bin")
    assert complaint(tmp_path / "renamed.bin", folder) is None


def test_an_unproven_conversion_pins_nothing_and_verifies_all_the_same(tmp_path) -> None:
    source = tiny.write(tmp_path / "checkpoint.pth")
    convert(source, tmp_path / "out", tiny.REQUEST, level="none")
    assert json.loads((tmp_path / "out" / "dinoport.json").read_text())["source"]["files"] == []
    assert complaint(source, tmp_path / "out") is None


def test_a_request_that_no_conversion_can_mean_is_a_message(made, tmp_path) -> None:
    source, folder = made
    shutil.copytree(folder, tmp_path / "out")
    document = json.loads((folder / "dinoport.json").read_text())
    for name, value in {"num_heads": "two", "dtype": "int8", "image_mean": [0, "x"], "pooler": 3, "head": 1}.items():
        changed = {**document, "request": {**document["request"], name: value}}
        (tmp_path / "out" / "dinoport.json").write_bytes(json_bytes(changed))
        with pytest.raises(NotProvenError, match="is damaged, and so not equal") as refused:
            verify(source, tmp_path / "out", level="exact")
        assert f"found: dinoport.json: `{name}` takes " in str(refused.value)


def test_a_head_s_file_may_lie_elsewhere_by_now(tmp_path) -> None:
    source = tiny.write(tmp_path / "checkpoint.pth")
    head = tmp_path / "head.pth"
    shapes = {"linear.weight": (3, tiny.ARCHITECTURE.width), "linear.bias": (3,)}
    write_torch_file(head, [tensor(name, formula.tensor(name, shape)) for name, shape in shapes.items()])
    convert(source, tmp_path / "out", replace(tiny.REQUEST, head=head), level="exact")
    moved = head.rename(tmp_path / "moved.pth")
    assert not verify(source, tmp_path / "out", Request(head=moved), level="exact").verdict.failed
    content = bytearray(moved.read_bytes())
    content[content.index(b"linear.weight")] ^= 1
    moved.write_bytes(content)
    with pytest.raises(DinoportError):
        verify(source, tmp_path / "out", Request(head=moved), level="exact")


SOURCE_CHANGED = (
    "the folder has the hashes with which it was written (dinoport.json): the source changed since, or is another file"
)
FOLDER_CHANGED = "of the two, the folder changed: it does not have the hashes with which it was written (dinoport.json)"


@pytest.mark.parametrize("back", [False, True], ids=["there", "back"])
@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("source", SOURCE_CHANGED),
        ("folder", FOLDER_CHANGED),
        ("both", FOLDER_CHANGED),
        ("folder and report", "which of the two changed cannot be told: dinoport.json was changed itself"),
    ],
)
def test_which_of_the_two_changed_is_told(tmp_path: Path, what: str, told: str, back: bool) -> None:
    """A value of one tensor, in one of the two or in both; file sizes stay."""
    source, folder = tiny.write(tmp_path / "checkpoint.pth"), tmp_path / "out"
    convert(source, folder, tiny.REQUEST, level="exact")
    if back:
        source, folder = folder, tmp_path / "back"
        convert(source, folder, to="original", level="exact")
    originals = {True: source / "model.safetensors", False: source}
    written = {True: folder / "checkpoint.pth", False: folder / "model.safetensors"}
    if what in ("source", "both"):
        change_a_value(originals[back])
    if what != "source":
        change_a_value(written[back], 1.25 if what == "both" else 1.5)
    if what == "folder and report":
        document = json.loads((folder / "dinoport.json").read_text())
        document["files"] = []
        (folder / "dinoport.json").write_bytes(json_bytes(document))
    request = None if back else tiny.REQUEST
    verdict = verify(source, folder, request, level="exact").verdict
    assert verdict.failed
    assert told in verdict.warnings


def change_a_value(path: Path, factor: float = 1.5) -> None:
    """One value of the CLS token, wherever it lies in a file of whatever format, and the zip's checksums after it."""
    value = formula.tensor("cls_token", (1, 1, 8)).astype("<f4").tobytes()
    content = path.read_bytes()
    assert content.count(value) == 1
    changed = (np.frombuffer(value, "<f4") * np.float32(factor)).tobytes()
    sums = [struct.pack("<I", zlib.crc32(data)) for data in (value, changed)]  # of a zip's record
    path.write_bytes(content.replace(value, changed).replace(*sums))

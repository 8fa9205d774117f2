"""A few hundred files of the differential fuzzers, always the same ones: read as the genuine readers do, or refused.

`make fuzz-differential` goes on from there for as long as one likes. Faults that are planted here must be found.
"""

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from tests.fuzz.differential.comparison import Answer, GenuineReader, difference, ours

pytest.importorskip("torch")

from dinoport.formats.torch import pickle_objects, rebuilding
from tests.fuzz.differential import run

FILES = {"torch": 400, "safetensors": 600, "distributed": 60}
MIN_READ_ALIKE = {"torch": 60, "safetensors": 80, "distributed": 8}

SEED = 7


@pytest.fixture(scope="module", params=FILES)
def form(request) -> Iterator[tuple[str, list[GenuineReader]]]:
    readers = run.readers_of(request.param, (), ())
    yield request.param, readers
    for reader in readers:
        reader.close()


@pytest.fixture(scope="module")
def torch_readers() -> Iterator[list[GenuineReader]]:
    readers = run.readers_of("torch", (), ())
    yield readers
    for reader in readers:
        reader.close()


def test_it_is_read_as_the_genuine_reader_reads_it_or_refused(form) -> None:
    name, readers = form
    outcomes: Counter[str] = Counter()
    for case, _, mine, problem in run.compared(islice(run.FORMATS[name](SEED), FILES[name]), readers):
        assert problem is None, f"{case}: {problem}"
        outcomes["refused" if mine.tensors is None else "read alike"] += 1
    assert outcomes["read alike"] >= MIN_READ_ALIKE[name]
    assert outcomes["refused"] > FILES[name] // 4


def planted_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """A state that is set on a tensor is skipped."""
    monkeypatch.setattr(pickle_objects.PickleObjects, "set_state", lambda self, target, state: None)


def planted_attributes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attributes of a tensor are skipped."""
    monkeypatch.setattr(rebuilding, "is_harmless", lambda name, value: True)


@pytest.mark.parametrize("fault", [planted_state, planted_attributes])
def test_a_planted_fault_is_found(monkeypatch, torch_readers, fault) -> None:
    fault(monkeypatch)
    found = (problem for *_, problem in run.compared(islice(run.torch_files(SEED), 3000), torch_readers) if problem)
    assert next(found, None), fault.__doc__


@pytest.mark.parametrize(
    ("mine", "theirs", "found"),
    [
        ({"a": ["float32", [1], "x"]}, {"a": ["float32", [1], "x"]}, None),
        (None, {"a": ["float32", [1], "x"]}, None),
        ({"a": ["float32", [1], "x"]}, {"a": ["float32", [1], "y"]}, "'a': ['float32', [1], 'x'] here, "),
        ({"a": ["float32", [1], "x"]}, {"a": ["int32", [1], "x"]}, "'a': "),
        ({"a": ["float32", [1], "x"]}, {}, "'a': ['float32', [1], 'x'] here, None by the genuine reader"),
        ({}, {"a": ["float32", [1], "x"]}, "'a': None here, "),
        ({}, {"optimizer/a": ["float32", [1], "x"]}, None),
        ({"a": ["", [], "unread"]}, {"a": ["float32", [1], "x"]}, None),
        ({"a": ["float32", [1], "x"]}, None, "read here alone"),
    ],
)
def test_what_counts_as_a_difference(mine, theirs, found) -> None:
    same = Answer({"a": ["float32", [1], "x"]} if mine == {"a": ["float32", [1], "x"]} else mine)
    problem = difference(Answer(mine), [same, Answer(theirs, "safe")] if mine else [Answer(theirs, "safe")])
    assert (problem is None) if found is None else (problem or "").startswith(found)


def test_the_files_are_the_same_for_the_same_seed(tmp_path: Path) -> None:
    for make in run.FORMATS.values():
        first, second = (list(islice(make(SEED), 90)) for _ in range(2))
        assert first == second
    assert len({str(files) for _, files in islice(run.torch_files(SEED), 300)}) > 250


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"text")
    assert ours(tmp_path / "a").tensors is None

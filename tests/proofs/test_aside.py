from __future__ import annotations

import gc
import sys
import threading
import time
import types

import pytest

from dinoport.proofs.aside import _without_garbage_collection, importing, side_by_side

torch = pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def four_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def test_both_run_at_once_without_gradients_on_half_of_the_threads_each() -> None:
    met = threading.Barrier(2, timeout=10)

    def run(name: str) -> tuple[str, int, bool]:
        met.wait()
        return name, torch.get_num_threads(), torch.is_inference_mode_enabled()

    found = side_by_side(lambda: run("ours"), lambda: run("theirs"))
    assert found == (("ours", 2, True), ("theirs", 2, True))
    assert torch.get_num_threads() == 4


@pytest.mark.parametrize("failing", [0, 1])
def test_an_error_of_either_comes_through_and_the_threads_are_given_back(failing: int) -> None:
    def fail() -> None:
        raise ValueError("a layer failed")

    both = [lambda: None, lambda: None]
    both[failing] = fail
    with pytest.raises(ValueError, match="a layer failed"):
        side_by_side(*both)
    assert torch.get_num_threads() == 4


@pytest.mark.parametrize("enabled", [True, False])
def test_imports_leave_the_look_for_garbage_as_it_was(enabled: bool) -> None:
    (gc.enable if enabled else gc.disable)()
    try:
        importing(()).result()
        assert gc.isenabled() is enabled
    finally:
        gc.enable()


def test_the_last_import_to_end_looks_for_garbage_again(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = _without_garbage_collection, _without_garbage_collection
    with first:
        second.__enter__()
        assert not gc.isenabled()
    assert not gc.isenabled()
    second.__exit__()
    assert gc.isenabled()


def test_one_thread_at_a_time_imports_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    inside: list[str] = []

    class Transformers(types.ModuleType):
        def __getattr__(self, name: str) -> str:
            inside.append(name)
            time.sleep(0.02)
            met.append(len(inside))
            inside.remove(name)
            return name

    met: list[int] = []
    monkeypatch.setitem(sys.modules, "transformers", Transformers("transformers"))
    for each in [importing(("AutoImageProcessor", "ViTModel")) for _ in range(3)]:
        each.result()
    assert met == [1] * 6

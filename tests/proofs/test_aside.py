import gc
import sys
import threading
import time
import types
import weakref

import pytest

from dinoport.progress import aside
from dinoport.proofs.aside import _without_garbage_collection, half_of_the_threads, importing

torch = pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def four_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def test_what_goes_on_aside_runs_at_once_and_leaves_the_threads_as_they_were() -> None:
    met = threading.Barrier(2, timeout=10)
    with half_of_the_threads():
        other = aside(lambda: (met.wait(), torch.get_num_threads()))
        met.wait()
        assert torch.get_num_threads() == 2
        assert other.result()[1] == 2
    assert torch.get_num_threads() == 4


def test_an_error_aside_comes_with_its_result_and_the_threads_are_given_back() -> None:
    def fail() -> None:
        raise ValueError("a layer failed")

    other = aside(fail)
    with pytest.raises(ValueError, match="a layer failed"), half_of_the_threads():
        other.result()
    assert torch.get_num_threads() == 4


def test_garbage_that_imports_leave_is_still_found() -> None:
    class Node:
        pass

    node = Node()
    node.itself = node
    seen = weakref.ref(node)
    importing(()).result()
    del node
    gc.collect()
    assert seen() is None


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

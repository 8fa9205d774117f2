"""The same sums by either library, carried on from part to part."""

import importlib
import sys
import zlib

import pytest

from dinoport.files import checksums as module

DATA = bytes(range(256)) * 5000


@pytest.mark.parametrize("has_zlib_ng", [True, False])
def test_a_sum_is_zlibs_sum(monkeypatch: pytest.MonkeyPatch, has_zlib_ng: bool) -> None:
    if has_zlib_ng:
        pytest.importorskip("zlib_ng")
    else:
        monkeypatch.setitem(sys.modules, "zlib_ng.zlib_ng", None)
    chosen = importlib.reload(module).crc32
    assert (chosen is zlib.crc32) is not has_zlib_ng
    assert chosen(memoryview(DATA)[999:], chosen(memoryview(DATA)[:999])) == zlib.crc32(DATA)
    monkeypatch.undo()
    importlib.reload(module)

import hashlib

import numpy as np
import pytest

from dinoport.errors import FolderError
from dinoport.files.json_file import json_bytes, write_json
from tests.error_text import error_text


def test_the_same_data_are_the_same_bytes(tmp_path):
    written = write_json(tmp_path / "a.json", {"b": 100.0, "a": [1, 1e-12], "Größe": "é"})
    expected = '{\n  "b": 100.0,\n  "a": [\n    1,\n    1e-12\n  ],\n  "Größe": "é"\n}\n'.encode()
    assert (tmp_path / "a.json").read_bytes() == expected
    assert (written.name, written.size_bytes) == ("a.json", len(expected))
    assert written.sha256 == hashlib.sha256(expected).hexdigest()


def test_what_is_there_is_replaced(tmp_path):
    (tmp_path / "a.json").write_text("something longer than the new content")
    write_json(tmp_path / "a.json", {})
    assert (tmp_path / "a.json").read_bytes() == b"{}\n"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_has_no_nan_and_no_infinity(tmp_path, value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"figure": value})
    assert not (tmp_path / "a.json").exists()


def test_only_plain_data():
    assert json_bytes(np.float64(0.5)) == b"0.5\n"
    with pytest.raises(TypeError, match="float32"):
        json_bytes(np.float32(0.5))


def test_a_missing_folder_is_named(tmp_path):
    assert error_text(FolderError, lambda: write_json(tmp_path / "gone" / "a.json", {})) == (
        "a.json cannot be written: no such file or directory\n"
        f"  where: {tmp_path / 'gone' / 'a.json'}\n"
        "  likely cause: a folder of this path is missing, or was removed meanwhile\n"
        "  try: check the path, then convert again"
    )

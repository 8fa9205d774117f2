"""Safetensors files, against the library where it reads them, and each lie a header can tell."""

import json

import ml_dtypes
import numpy as np
import pytest

from dinoport.errors import CheckpointError
from dinoport.formats.opening import open_checkpoint
from dinoport.formats.safetensors import reader
from dinoport.formats.safetensors.reader import read_safetensors
from tests.formats.memory import Memory

A = {"dtype": "F32", "shape": [2, 4], "data_offsets": [0, 32]}
B = {"dtype": "I16", "shape": [16], "data_offsets": [32, 64]}
DATA = bytes(range(64))


def file(header: object, data: bytes = DATA, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def refused(data: bytes) -> str:
    with pytest.raises(CheckpointError) as caught:
        read_safetensors(Memory(data, "file.safetensors"))
    return str(caught.value)


def unsound(found: str, expected: str) -> str:
    return (
        "file.safetensors is not a sound safetensors file\n"
        f"  expected: {expected}\n"
        f"  found: {found}\n"
        "  likely cause: a download that broke off, a damaged file, or one that was made to mislead\n"
        "  try: fetch the file again and compare its size with the original's"
    )


@pytest.mark.parametrize(
    "dtype",
    ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "bool", ml_dtypes.bfloat16,
     ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2],
)  # fmt: skip
def test_what_the_library_writes(tmp_path, dtype):
    from safetensors.numpy import save_file

    tensors = {
        "module.weight": np.arange(1, 7).reshape(2, 3).astype(dtype),
        "scalar": np.array(7).astype(dtype),
        "empty": np.zeros((0, 3), dtype),
    }
    save_file(tensors, tmp_path / "a.safetensors", metadata={"format": "pt"})
    with open_checkpoint(tmp_path / "a.safetensors") as checkpoint:
        assert checkpoint.format == "safetensors file"
        assert checkpoint.tree.keys() == tensors.keys()
        for name, expected in tensors.items():
            ours = checkpoint.tree[name].read()
            assert (ours.dtype, ours.shape) == (expected.dtype, expected.shape)
            assert ours.tobytes() == expected.tobytes()


def test_it_is_known_by_its_content(tmp_path):
    (tmp_path / "named_otherwise.pth").write_bytes(file({"a": A, "b": B}))
    with open_checkpoint(tmp_path / "named_otherwise.pth") as checkpoint:
        assert checkpoint.format == "safetensors file"


def replaced(**values: object) -> bytes:
    return file({"a": A | values, "b": B})


ENTRY = "an entry a without dtype, shape and data_offsets"
TWICE = "in its header, two values of the name 'dtype'"
GAP = "byte 32: neither a gap nor an overlap"
NUMBERS = "32 whole numbers at most, from 0 on"


@pytest.mark.parametrize(
    ("data", "found", "expected"),
    [
        (b"\1\2\3", "3 bytes", "a length of 8 bytes, then a header"),
        (file({"a": A, "b": B}, length=2**63 - 1), f"a header that is said to take {2**63 - 1} bytes", "at most 193"),
        (file(b'{"a":'), "in its header, text that is not JSON at character 5: Expecting value", "a JSON object"),
        (file(b"[1]"), "in its header, a list where an object was expected", "a JSON object"),
        (file(b'{"\xff":1}'), "in its header, bytes that are not UTF-8 at byte 2", "a JSON object"),
        (file(b'{"a":NaN}'), "in its header, NaN, which JSON does not have", "a JSON object"),
        (file(b'{"a":-Infinity}'), "in its header, -Infinity, which JSON does not have", "a JSON object"),
        (file(b'{"a":1,"b":2,"a":3}'), "in its header, two values of the name 'a'", "a JSON object"),
        (file(b'{"a":{"dtype":"F32","dtype":"I64"}}'), TWICE, "a JSON object"),
        (file(b'{"a":' + b"9" * 65 + b"}"), "in its header, a number of 65 digits", "a JSON object"),
        (file(b'{"a":' + b"[" * 100_000), "in its header, values that nest too deep", "a JSON object"),
        (file({"a": 1}), ENTRY, "these three"),
        (file({"a": {**A, "more": 1}}), ENTRY, "these three"),
        (file({"a": {"dtype": "F32"}}), ENTRY, "these three"),
        (replaced(dtype="F99"), "a of dtype 'F99'", f"one of {', '.join(reader.DTYPES)}"),
        (replaced(dtype=["F32"]), "a of dtype ['F32']", f"one of {', '.join(reader.DTYPES)}"),
        (replaced(shape=[-2, -4]), "a with [-2, -4]", NUMBERS),
        (replaced(shape=[2.0, 4]), "a with [2.0, 4]", NUMBERS),
        (replaced(shape=[True, 8]), "a with [True, 8]", NUMBERS),
        (replaced(shape="24"), "a with '24'", NUMBERS),
        (replaced(shape=[1] * 33), "a with [1, 1, 1, 1, 1, 1, ...]", NUMBERS),
        (replaced(shape=[2**63, 0]), "a with [9223372036854775808, 0]", NUMBERS),
        (replaced(data_offsets=[0, 2**64]), "a with [0, 18446744073709551616]", NUMBERS),
        (replaced(shape=[2, 5]), "a: shape (2, 5) of float32 in bytes [0, 32]", "40 bytes"),
        (replaced(shape=[2**40]), "a: shape (1099511627776) of float32 in bytes [0, 32]", "4398046511104 bytes"),
        (replaced(data_offsets=[32, 0]), "a: shape (2, 4) of float32 in bytes [32, 0]", "32 bytes"),
        (replaced(data_offsets=[0, 32, 64]), "a: shape (2, 4) of float32 in bytes [0, 32, 64]", "32 bytes"),
        (replaced(data_offsets=[16, 48]), "a begins at byte 16", "byte 0: neither a gap nor an overlap"),
        (file({"a": A, "b": B | {"data_offsets": [0, 32]}}), "b begins at byte 0", GAP),
        (file({"a": A}), "64 bytes of tensors", "32, as the header says"),
        (file({"a\x1b[2J": A, "b": B}), r"an impossible name: 'a\x1b[2J'", "at most 1000 characters"),
        (file({"a" * 1001: A, "b": B}), f"an impossible name: '{'a' * 27}...{'a' * 28}'", "at most 1000 characters"),
    ],
)  # fmt: skip
def test_lies(data, found, expected):
    assert refused(data) == unsound(found, expected)


@pytest.mark.parametrize(("name", "codebase"), [("tf", "TensorFlow"), ("flax", "Flax")])
def test_weights_that_transformers_turns_as_it_loads_them(name, codebase):
    assert refused(file({"__metadata__": {"format": name}, "a": A, "b": B})) == (
        f"file.safetensors holds the weights of a {codebase} model\n"
        "  expected: weights that PyTorch saved\n"
        f"  found: format {name} in its metadata\n"
        f"  likely cause: {codebase} keeps the axes of weights in another order, and Transformers turns them\n"
        "  try: load it in Transformers 4, and save_pretrained"
    )


def test_more_tensors_than_any_model_has(monkeypatch):
    monkeypatch.setattr(reader, "MAX_TENSORS", 1)
    assert refused(file({"a": A, "b": B})) == unsound("2 tensors", "at most 1")


def test_a_file_that_is_cut_off():
    sound = file({"a": A, "b": B})
    for length in range(len(sound)):
        assert refused(sound[:length]).startswith("file.safetensors ")
    assert refused(sound[:-20]) == (
        "file.safetensors ends too early\n"
        "  expected: 64 bytes of tensors, as its header says\n"
        "  found: 44\n"
        "  likely cause: a download or a copy that broke off, or a header that was made to mislead\n"
        "  try: fetch the file again and compare its size with the original's"
    )


def test_empty_tensors_take_no_place():
    entries = {"a": A, "b": B, "none": {"dtype": "F64", "shape": [3, 0], "data_offsets": [32, 32]}}
    assert read_safetensors(Memory(file(entries)))["none"].read().shape == (3, 0)


def test_a_length_that_reads_as_a_pickle_is_no_second_format(tmp_path):
    """A header of 38280 bytes begins with the opcodes of true and of a frame, which would be longer than any file."""
    header = b'{"norm.weight":{"dtype":"F32","shape":[100000],"data_offsets":[0,400000]}}'.ljust(0x9588)
    values = np.arange(100_000, dtype="<f4")
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + values.tobytes())
    with open_checkpoint(path) as checkpoint:
        assert np.array_equal(checkpoint.tensors["norm.weight"].read(), values)

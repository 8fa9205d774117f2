import hashlib
import json
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file

from dinoport.errors import FolderError
from dinoport.files.census import Census
from dinoport.formats.safetensors.writer import write_safetensors, write_sharded
from tests.writing.stub_tensors import Stub, arrays, equal_bits, tensor


def header_of(path):
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    return 8 + size, json.loads(data[8 : 8 + size])


def test_safetensors_reads_the_same_bits(tmp_path):
    given_arrays = arrays()
    written = write_safetensors(tmp_path / "a.safetensors", [tensor(*item) for item in given_arrays.items()])
    loaded = load_file(tmp_path / "a.safetensors")
    assert sorted(loaded) == sorted(given_arrays)
    assert [name for name, array in given_arrays.items() if not equal_bits(loaded[name], array)] == []
    data = (tmp_path / "a.safetensors").read_bytes()
    assert written.sha256 == hashlib.sha256(data).hexdigest()
    assert (written.name, written.size_bytes, written.census.keys()) == ("a.safetensors", len(data), loaded.keys())


def test_torch_reads_the_same_bits(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file as load_torch

    given_arrays = arrays()
    write_safetensors(tmp_path / "a.safetensors", [tensor(*item) for item in given_arrays.items()])
    loaded = load_torch(tmp_path / "a.safetensors")
    for name, array in given_arrays.items():
        assert loaded[name].shape == array.shape
        assert str(loaded[name].dtype) == f"torch.{array.dtype.name}"
        assert loaded[name].reshape(-1).view(torch.uint8).numpy().tobytes() == array.tobytes()


def test_metadata_tells_transformers_what_wrote_it(tmp_path):
    write_safetensors(tmp_path / "a.safetensors", [tensor("a", np.ones(3))])
    with safe_open(tmp_path / "a.safetensors", "numpy") as file:
        assert file.metadata() == {"format": "pt"}


def test_every_tensor_is_aligned_and_none_leaves_a_gap(tmp_path):
    given_arrays = arrays()
    write_safetensors(tmp_path / "a.safetensors", [tensor(*item) for item in given_arrays.items()])
    start, header = header_of(tmp_path / "a.safetensors")
    assert start % 8 == 0
    assert header.pop("__metadata__") == {"format": "pt"}
    expected = 0
    for name, entry in header.items():
        first, stop = entry["data_offsets"]
        assert (start + first) % given_arrays[name].itemsize == 0
        assert first == expected
        expected = stop
    assert start + expected == (tmp_path / "a.safetensors").stat().st_size


def test_tensors_of_one_dtype_keep_their_order(tmp_path):
    names = ["z", "a", "m"]
    write_safetensors(tmp_path / "a.safetensors", [tensor(name, np.ones(2, np.float32)) for name in names])
    assert [name for name in header_of(tmp_path / "a.safetensors")[1] if name != "__metadata__"] == names


def test_the_same_tensors_are_the_same_bytes(tmp_path):
    files = [
        write_safetensors(tmp_path / name, [tensor(*item, block=block) for item in arrays().items()])
        for name, block in (("a", 7), ("b", 1000))
    ]
    assert files[0].sha256 == files[1].sha256


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([np.float32, np.float16, ml_dtypes.bfloat16, np.float64, np.int64, np.uint8, np.bool_]),
            st.lists(st.integers(0, 5), max_size=4),
        ),
        max_size=6,
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
)
def test_any_shapes_dtypes_and_names(tmp_path_factory, kinds, prefix):
    path = tmp_path_factory.mktemp("any") / "a.safetensors"
    random = np.random.default_rng(0)
    made = {
        f"{prefix}{number}": random.integers(0, 2, shape).astype(dtype) for number, (dtype, shape) in enumerate(kinds)
    }
    write_safetensors(path, [tensor(*item) for item in made.items()])
    loaded = load_file(path)
    assert set(loaded) == set(made)
    assert all(equal_bits(loaded[name], array) for name, array in made.items())


def test_progress_adds_up_to_the_values(tmp_path):
    counts: list[int] = []
    write_safetensors(tmp_path / "a", [tensor("a", np.ones(20)), tensor("b", np.ones(3))], on_bytes=counts.append)
    assert counts == [56, 56, 48, 24]


def test_nonfinite_values_are_written_and_counted(tmp_path):
    bad = np.array([1, np.nan, np.inf, -np.inf] * 5, np.float32)
    written = write_safetensors(tmp_path / "a", [tensor("good", np.ones(9)), tensor("bad", bad)])
    assert written.census == {"good": Census(all_zero=False), "bad": Census(nan=5, infinite=10, all_zero=False)}
    assert equal_bits(load_file(tmp_path / "a")["bad"], bad)


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ([3], "a: 3 of 4 elements came"),
        ([], "a: 0 of 4 elements came"),
        ([3, 2], "a: more than 4 elements came"),
        ([4, 1], "a: more than 4 elements came"),
    ],
)
def test_a_producer_that_breaks_its_word_is_an_internal_error(tmp_path, blocks, message):
    broken = Stub("a", np.float32, (2, 2), lambda: (np.ones(count, np.float32) for count in blocks))
    with pytest.raises(RuntimeError, match=message):
        write_safetensors(tmp_path / "a", [broken, tensor("b", np.ones(3))])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", [np.float64, np.int32, ">f4"])
def test_blocks_of_another_dtype_are_an_internal_error(tmp_path, dtype):
    broken = Stub("a", np.float32, (4,), lambda: iter([np.ones(4, dtype)]))
    with pytest.raises(RuntimeError, match=r"a: \w+ came for float32"):
        write_safetensors(tmp_path / "a", [broken])
    assert list(tmp_path.iterdir()) == []


def test_two_tensors_of_one_name_are_an_internal_error(tmp_path):
    pair = [tensor("a", np.ones(3)), tensor("a", np.zeros(3))]
    with pytest.raises(RuntimeError, match="would be written twice: a"):
        write_safetensors(tmp_path / "a", pair)
    with pytest.raises(RuntimeError, match="would be written twice: a"):
        write_sharded(tmp_path, pair, 1)
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_source_stays_what_it_is(tmp_path):
    def blocks():
        yield np.ones(2)
        raise OSError("the source's disk failed")

    with pytest.raises(OSError, match="the source's disk failed"):
        write_safetensors(tmp_path / "a", [Stub("a", np.float64, (4,), blocks)])
    assert list(tmp_path.iterdir()) == []


def test_a_dtype_that_the_format_lacks_is_refused_by_name(tmp_path):
    with pytest.raises(FolderError) as caught:
        write_safetensors(tmp_path / "a", [tensor("a", np.ones(3, np.complex128))])
    assert str(caught.value) == (
        "a has a dtype that safetensors files do not hold\n"
        "  expected: float64, float32, float16, bfloat16, int64, int32, int16, int8, uint64, uint32, uint16, uint8, "
        "bool\n"
        "  found: complex128\n"
        "  try: store it as one of these in the source"
    )
    assert list(tmp_path.iterdir()) == []


def test_values_are_little_endian_on_every_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "byteorder", "big")
    write_safetensors(tmp_path / "a", [tensor("a", np.array([1, 256], np.int32))])
    assert (tmp_path / "a").read_bytes()[-8:] == b"\0\0\0\1\0\0\1\0"


def test_memory_stays_at_one_block(tmp_path):
    """64 MiB in blocks of 1 MiB; the peak is measured in a process of its own."""
    code = f"""
import resource, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import numpy as np
from pathlib import Path
from tests.writing.stub_tensors import Stub
from dinoport.formats.safetensors.writer import write_safetensors
def blocks():
    for _ in range(64):
        yield np.ones(2**18, np.float32)
stub = Stub("a", np.float32, (2**24,), blocks)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
write_safetensors(Path({str(tmp_path / "a")!r}), [stub])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    pytest.importorskip("resource")
    grown_kib = int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
    assert grown_kib < 8 * 1024


SIX = {f"layer.{number}.weight": np.full(10, number, np.float32) for number in range(6)}


def test_what_fits_is_one_file_without_an_index(tmp_path):
    files = write_sharded(tmp_path, [tensor(*item) for item in SIX.items()], 240)
    assert [file.name for file in files] == ["model.safetensors"]
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_shards_and_their_index(tmp_path):
    files = write_sharded(tmp_path, [tensor(*item) for item in SIX.items()], 100)
    shards = [f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)]
    assert [file.name for file in files] == [*shards, "model.safetensors.index.json"]
    assert all(file.sha256 == hashlib.sha256((tmp_path / file.name).read_bytes()).hexdigest() for file in files)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index == {
        "metadata": {"total_parameters": 60, "total_size": 240},
        "weight_map": {name: shards[number // 2] for number, name in enumerate(SIX)},
    }
    for number, shard in enumerate(shards):
        loaded = load_file(tmp_path / shard)
        assert all(
            equal_bits(loaded.pop(f"layer.{layer}.weight"), SIX[f"layer.{layer}.weight"])
            for layer in (2 * number, 2 * number + 1)
        )
        assert loaded == {}


def test_a_tensor_larger_than_a_shard_has_one_of_its_own(tmp_path):
    sizes = {"a": 5, "b": 100, "c": 5}
    write_sharded(tmp_path, [tensor(name, np.ones(size)) for name, size in sizes.items()], 99)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) == 3


def test_nothing_to_write_is_an_empty_file(tmp_path):
    write_sharded(tmp_path, [], 100)
    assert load_file(tmp_path / "model.safetensors") == {}


def test_transformers_loads_the_shards(tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, image_size=8, patch_size=4
    )
    model = transformers.ViTModel(config)
    model.save_pretrained(tmp_path / "theirs")
    stored = load_file(tmp_path / "theirs" / "model.safetensors")
    ours = tmp_path / "ours"
    ours.mkdir()
    (ours / "config.json").write_bytes((tmp_path / "theirs" / "config.json").read_bytes())
    files = write_sharded(ours, [tensor(*item) for item in stored.items()], 2000)
    assert len(files) > 3
    loaded, info = transformers.ViTModel.from_pretrained(ours, output_loading_info=True, local_files_only=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), loaded.parameters(), strict=True))

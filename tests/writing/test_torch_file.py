import hashlib
import pickletools
import struct
import zipfile
from collections import OrderedDict

import numpy as np
import pytest

from dinoport.errors import FolderError
from dinoport.files.census import Census
from dinoport.formats.torch import writer as torch_file
from dinoport.formats.torch.writer import pickle_tree, write_torch_file
from dinoport.tensor import TensorSpec
from tests.error_text import error_text
from tests.writing.stub_tensors import Stub, arrays, tensor


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def write(path, given_arrays):
    return write_torch_file(path, [tensor(*item) for item in given_arrays.items()])


@pytest.mark.parametrize("zip64_from", [2**30, 0])
@pytest.mark.parametrize("mmap", [False, True])
def test_torch_loads_the_same_bits(tmp_path, torch, monkeypatch, mmap, zip64_from):
    monkeypatch.setattr(torch_file, "ZIP64_FROM_BYTES", zip64_from)
    given_arrays = arrays()
    write(tmp_path / "a.pth", given_arrays)
    loaded = torch.load(tmp_path / "a.pth", map_location="cpu", weights_only=True, mmap=mmap)
    assert type(loaded) is OrderedDict
    assert list(loaded) == list(given_arrays)
    for name, array in given_arrays.items():
        assert loaded[name].shape == array.shape
        assert str(loaded[name].dtype) == f"torch.{array.dtype.name}"
        assert loaded[name].is_contiguous()
        assert not loaded[name].requires_grad
        assert loaded[name].reshape(-1).view(torch.uint8).numpy().tobytes() == array.tobytes()


def test_strides_are_torchs_own(tmp_path, torch):
    shapes = [(), (0,), (1,), (3,), (2, 3), (2, 0, 3), (0, 2), (1, 1, 1), (4, 1, 2, 3)]
    write(tmp_path / "a.pth", {str(shape): np.zeros(shape, np.float32) for shape in shapes})
    loaded = torch.load(tmp_path / "a.pth", weights_only=True)
    assert [loaded[str(shape)].stride() for shape in shapes] == [torch.empty(shape).stride() for shape in shapes]


def test_an_empty_state_dict(tmp_path, torch):
    write(tmp_path / "a.pth", {})
    assert torch.load(tmp_path / "a.pth", weights_only=True) == OrderedDict()


def test_the_records_are_those_of_torch(tmp_path, torch):
    """All but two that torch added in 2.7, and reads only to work out offsets from its own layout."""
    given_arrays = {"a": np.ones(3, np.float32), "b": np.array(1)}
    write(tmp_path / "ours.pth", given_arrays)
    state = OrderedDict((name, torch.from_numpy(array)) for name, array in given_arrays.items())
    torch.save(state, tmp_path / "theirs.pth")
    ours, theirs = (
        {name.partition("/")[2]: file.read(name) for name in file.namelist()}
        for file in (zipfile.ZipFile(tmp_path / "ours.pth"), zipfile.ZipFile(tmp_path / "theirs.pth"))
    )
    assert set(theirs) - set(ours) <= {".format_version", ".storage_alignment"}
    assert set(ours) <= set(theirs)
    for name in ("byteorder", "version", "data/0", "data/1"):
        assert ours[name] == theirs[name]
    assert ours[".data/serialization_id"].isdigit()
    assert len(ours[".data/serialization_id"]) == len(theirs[".data/serialization_id"])


def test_the_zip_is_sound_and_every_record_aligned(tmp_path):
    given_arrays = arrays()
    written = write(tmp_path / "a.pth", given_arrays)
    data = (tmp_path / "a.pth").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.pth") as file:
        assert file.testzip() is None
        for info in file.infolist():
            name_bytes, extra_bytes = struct.unpack_from("<HH", data, info.header_offset + 26)
            assert (info.header_offset + 30 + name_bytes + extra_bytes) % 64 == 0
            assert info.compress_type == zipfile.ZIP_STORED
        contents = [file.read(f"archive/data/{number}") for number in range(len(given_arrays))]
    assert contents == [array.tobytes() for array in given_arrays.values()]
    assert (written.size_bytes, written.sha256) == (len(data), hashlib.sha256(data).hexdigest())


def test_the_same_tensors_are_the_same_bytes(tmp_path):
    assert write(tmp_path / "a.pth", arrays()).sha256 == write(tmp_path / "b.pth", arrays()).sha256


def test_the_serialization_id_follows_the_values(tmp_path):
    write(tmp_path / "a.pth", {"a": np.ones(3)})
    write(tmp_path / "b.pth", {"a": np.zeros(3)})
    one, other = (
        zipfile.ZipFile(tmp_path / name).read("archive/.data/serialization_id") for name in ("a.pth", "b.pth")
    )
    assert one != other


def test_the_pickle_names_nothing_but_what_a_state_dict_needs():
    specs = [TensorSpec(name, array.dtype, array.shape) for name, array in arrays().items()]
    names = {
        argument
        for opcode, argument, _ in pickletools.genops(
            pickle_tree({spec.name: number for number, spec in enumerate(specs)}, specs)
        )
        if opcode.name == "GLOBAL"
    }
    storages = {name for name in names if name.startswith("torch ") and name.endswith("Storage")}
    assert names - storages == {"collections OrderedDict", "torch._utils _rebuild_tensor_v2"}
    assert len(storages) == len({array.dtype for array in arrays().values()})


def test_sizes_beyond_32_bits():
    """Only pickled; nobody has the room to write it."""
    pickled = pickle_tree({"a": 0}, [TensorSpec("a", np.dtype(np.float32), (2**16, 2**17))])
    numbers = [argument for opcode, argument, _ in pickletools.genops(pickled) if opcode.name in ("BININT", "LONG1")]
    assert numbers == [2**33, 0, 2**16, 2**17, 2**17, 1]


def test_nonfinite_values_and_progress(tmp_path):
    counts: list[int] = []
    bad = np.array([np.nan, np.inf, 1], np.float16)
    tensors = [tensor("good", np.ones(8, np.float32)), tensor("bad", bad)]
    written = write_torch_file(tmp_path / "a.pth", tensors, on_bytes=counts.append)
    assert written.census == {"good": Census(all_zero=False), "bad": Census(nan=1, infinite=1, all_zero=False)}
    assert counts == [28, 4, 6]


def test_a_producer_that_breaks_its_word_is_an_internal_error(tmp_path):
    broken = Stub("a", np.float32, (4,), lambda: iter([np.ones(3, np.float32)]))
    with pytest.raises(RuntimeError, match="a: 3 of 4 elements came"):
        write_torch_file(tmp_path / "a.pth", [broken])
    assert list(tmp_path.iterdir()) == []


def test_a_failing_source_is_what_is_reported(tmp_path):
    """Not that zipfile could not close its record."""

    def blocks():
        yield np.ones(2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_torch_file(tmp_path / "a.pth", [Stub("a", np.float64, (4,), blocks)])
    assert list(tmp_path.iterdir()) == []


def test_a_dtype_that_torch_lacks_is_refused_by_name(tmp_path):
    assert error_text(FolderError, lambda: write(tmp_path / "a.pth", {"a": np.ones(3, np.uint32)})) == (
        "a has a dtype that torch files do not hold in every version of torch\n"
        "  expected: float64, float32, float16, bfloat16, int64, int32, int16, int8, uint8, bool\n"
        "  found: uint32\n"
        "  try: store it as one of these in the source"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_tensor_stands_under_several_keys_and_is_stored_once(tmp_path, torch):
    path, other = tmp_path / "nested.pth", tmp_path / "flat.pth"
    values = np.arange(4096, dtype=np.float32)
    write_torch_file(path, [tensor("norm", values)], keys={"norm": (("student", "module.norm"), ("teacher", "norm"))})
    write_torch_file(other, [tensor("norm", values)])
    assert path.stat().st_size < other.stat().st_size + 1000
    held = torch.load(path, weights_only=True)
    assert list(held) == ["student", "teacher"]
    assert held["student"]["module.norm"].data_ptr() == held["teacher"]["norm"].data_ptr()
    assert held["teacher"]["norm"].tolist() == values.tolist()

"""Whatever torch.save writes is read as torch.load reads it: every dtype, every layout, every format and protocol."""

import argparse
import warnings
from collections import Counter, OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dinoport.errors import CheckpointError
from dinoport.finding.statements import training_arguments
from dinoport.finding.unwrap import state_dicts
from dinoport.formats.opening import open_checkpoint
from dinoport.formats.torch.stand_ins import Opaque
from dinoport.tensor import TensorRef

torch = pytest.importorskip("torch")

FORMATS = {
    "zip-2": {},
    "zip-4": {"pickle_protocol": 4},
    "zip-5": {"pickle_protocol": 5},
    "legacy-2": {"_use_new_zipfile_serialization": False},
    "legacy-3": {"_use_new_zipfile_serialization": False, "pickle_protocol": 3},
    "legacy-5": {"_use_new_zipfile_serialization": False, "pickle_protocol": 5},
}

DTYPES = (
    "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool", "complex64",
    "complex128",
)  # fmt: skip
NEWER_DTYPES = ("uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e5m2")


def numbers(*shape: int, first: int = 1) -> Any:
    """Values that occur once, among all tensors that begin elsewhere."""
    count = int(np.prod(shape))
    return torch.arange(first, first + count, dtype=torch.float32).reshape(shape)


def layouts() -> dict[str, Any]:
    base = numbers(6, 8, first=1000)
    return {
        "contiguous": numbers(4, 5),
        "scalar": torch.tensor(2.5),
        "one": torch.tensor([3.5]),
        "empty": torch.zeros(0, 7),
        "empty within": torch.zeros(3, 0, 2),
        "whole of a shared storage": base,
        "transposed": base.t(),
        "rows of it": base[2:4],
        "columns of it": base[:, 3:5],
        "every second": base[::2, 1::3],
        "one element of it": base[5, 7],
        "four axes": numbers(2, 3, 4, 5, first=2000).permute(3, 1, 0, 2),
        "expanded": torch.tensor([[7.5], [8.5]]).expand(2, 3),
        "expanded whole": torch.tensor(9.5).expand(4),
        "unfolded, so overlapping": numbers(9, first=3000).unfold(0, 4, 1),
        "channels last": numbers(2, 3, 4, 4, first=4000).to(memory_format=torch.channels_last),
        "a parameter": torch.nn.Parameter(numbers(3, first=5000)),
        "a parameter without gradient": torch.nn.Parameter(numbers(3, first=6000), requires_grad=False),
        "a buffer that needs a gradient": numbers(3, first=7000).requires_grad_(),
    }


def dtypes(names: tuple[str, ...]) -> dict[str, Any]:
    return {name: numbers(2, 5, first=1).to(getattr(torch, name)) for name in names}


@pytest.fixture(params=FORMATS)
def saved(request, tmp_path):
    """A function that saves an object, opens it, and hands both readings to a comparison."""

    def save(content: object) -> tuple[Any, Any]:
        path = tmp_path / f"{request.param}.pth"
        torch.save(content, path, **FORMATS[request.param])
        with open_checkpoint(path) as checkpoint:
            assert checkpoint.format == (
                "torch file of the legacy format" if "legacy" in path.name else "torch zip file"
            )
            return plain(checkpoint.tree), torch.load(path, weights_only=False)

    return save


def plain(tree: Any) -> Any:
    """What was opened, with every tensor read."""
    if isinstance(tree, TensorRef):
        return tree.read()
    if isinstance(tree, dict):
        return {name: plain(value) for name, value in tree.items()}
    return [plain(value) for value in tree] if isinstance(tree, list) else tree


def assert_same(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        assert ours[name].shape == tuple(expected.shape), name
        assert ours[name].dtype.name == str(expected.dtype).removeprefix("torch."), name
        assert ours[name].tobytes() == expected.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes(), name


def test_every_layout(saved):
    assert_same(*saved(layouts()))


def test_every_dtype(saved):
    assert_same(*saved(dtypes(DTYPES)))


def test_every_newer_dtype(tmp_path):
    """Only the zip format has them, in storages without a type."""
    torch.save(dtypes(NEWER_DTYPES), tmp_path / "a.pth")
    with open_checkpoint(tmp_path / "a.pth") as checkpoint:
        assert_same(plain(checkpoint.tree), dtypes(NEWER_DTYPES))


def test_state_dicts_with_their_metadata(saved):
    """nn.Module.state_dict() is an OrderedDict with an attribute, which the pickle sets as state."""
    ours, theirs = saved(torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4)).state_dict())
    assert list(ours) == list(theirs)
    assert_same(ours, theirs)


def test_a_training_checkpoint(saved):
    model = torch.nn.Linear(3, 4)
    optimizer = torch.optim.AdamW(
        [{"params": [model.weight], "weight_decay": np.float64(0.25)}, {"params": [model.bias]}]
    )
    model(numbers(2, 3)).sum().backward()
    optimizer.step()
    ours, theirs = saved(
        {
            "teacher": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "epoch": 7,
            "args": argparse.Namespace(arch="vit_small", patch_size=16, lr=np.float64(0.0005), crops=(0.4, 1.0)),
            "rng": torch.get_rng_state(),
        }
    )
    assert_same(ours["teacher"], theirs["teacher"])
    assert ours["optimizer"]["param_groups"] == theirs["optimizer"]["param_groups"]
    assert type(ours["optimizer"]["param_groups"][0]["weight_decay"]) is float
    for number, state in theirs["optimizer"]["state"].items():
        assert_same(ours["optimizer"]["state"][number], state)
    assert ours["epoch"] == 7
    assert ours["args"].name == "argparse.Namespace"
    assert ours["args"].state == {"arch": "vit_small", "patch_size": 16, "lr": 0.0005, "crops": (0.4, 1.0)}
    assert ours["rng"].tobytes() == theirs["rng"].numpy().tobytes()


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool"])
def test_numpy_scalars_are_numbers(saved, dtype):
    ours, theirs = saved({"value": np.dtype(dtype).type(1), "big-endian": np.array([258], ">i4")[0]})
    assert ours == theirs
    assert type(ours["value"]) in (int, float, bool)


def test_plain_data(saved):
    content = {
        "numbers": [0, -1, 255, 256, 65535, 65536, 2**31, -(2**31) - 1, 2**63, 2**200, -(2**200), 0.5, -0.0, 1e300],
        "texts": ["", "a", "é", "日本", "🦕", "a" * 300, "line\nline", "\ud800"],
        "bytes": [b"", b"\xff\0", b"a" * 300],
        "others": [None, True, False, (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [], {}, {1: {2: 3}}],
        "nested": {"a": [{"b": ({"c": None},)}]},
        5: "a number as a key",
        None: "none as a key",
        ("a", 1): "a tuple as a key",
    }
    ours, theirs = saved(content)
    assert ours == theirs == content


def test_other_containers_become_plain_ones(saved):
    ours, _ = saved(
        {
            "ordered": OrderedDict([("b", 1), ("a", 2)]),
            "default": defaultdict(list, {"a": [1]}),
            "counter": Counter("aab"),
            "set": {1, 2},
            "frozenset": frozenset({3}),
            "size": torch.Size([2, 3]),
            "bytearray": bytearray(b"ab"),
            "complex": 1 + 2j,
        }
    )
    assert list(ours["ordered"].items()) == [("b", 1), ("a", 2)]
    assert ours["default"] == {"a": [1]}
    assert ours["counter"] == {"a": 2, "b": 1}
    assert sorted(ours["set"]) == [1, 2]
    assert list(ours["frozenset"]) == [3]
    assert ours["bytearray"] == b"ab"
    assert ours["size"] == (2, 3)
    assert ours["complex"] == 1 + 2j


class Unknown:
    """A class that only this test can import."""

    def __init__(self, size: int) -> None:
        self.size = size


class WithArguments(Unknown):
    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.size,), {"more": 1}, iter(["item"]), iter([("key", "value")])

    def append(self, item: object) -> None: ...

    def __setitem__(self, key: object, value: object) -> None: ...


def test_unknown_classes_become_data(saved):
    ours, _ = saved({"a": Unknown(3), "b": WithArguments(4)})
    first, second = ours["a"], ours["b"]
    assert isinstance(first, Opaque)
    assert first.name == f"{__name__}.Unknown"
    assert first.state == {"size": 3}
    assert second.args == (4,)
    assert second.state == {"more": 1}
    assert second.items == ["item", ("key", "value")]


def test_a_whole_module_gives_its_state_dict(tmp_path):
    torch.manual_seed(1)
    inner = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2, bias=False))
    module = torch.nn.ModuleDict({"backbone": inner, "tied": inner[0]})
    path = tmp_path / "module.pth"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save({"model": module}, path)
    with open_checkpoint(path) as checkpoint:
        opened = checkpoint.tree["model"]
        assert isinstance(opened, Opaque)
        [state] = state_dicts(checkpoint)
        ours = {state.originals[name]: tensor.read() for name, tensor in state.tensors.items()}
    assert_same(ours, dict(module.state_dict()))


def test_a_torchscript_archive_is_told_though_its_code_is_compressed(tmp_path):
    path = tmp_path / "scripted.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates TorchScript
        torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)), path)
    with pytest.raises(CheckpointError, match="is a TorchScript archive, which holds code"):
        open_checkpoint(path)


def test_arguments_that_are_words_and_numbers_are_told(tmp_path):
    args = argparse.Namespace(
        arch="vit_small", lr=np.float64(0.5), use_fp16=True, crops=(1, 2), note="a\x1b[2J", none=None
    )
    torch.save({"args": args, "teacher": {"a": numbers(2)}}, tmp_path / "a.pth")
    with open_checkpoint(tmp_path / "a.pth") as checkpoint:
        assert training_arguments(checkpoint) == {"arch": "vit_small", "lr": 0.5, "use_fp16": True, "none": None}


def test_without_checksums(tmp_path):
    """What torch can leave out; it then writes zero for each."""
    from torch.serialization import get_crc32_options, set_crc32_options

    before = get_crc32_options()
    set_crc32_options(False)
    try:
        torch.save(layouts(), tmp_path / "a.pth")
    finally:
        set_crc32_options(before)
    with open_checkpoint(tmp_path / "a.pth") as checkpoint:
        assert_same(plain(checkpoint.tree), layouts())
        assert all(tensor.values.storage.crc32 is None for tensor in checkpoint.tree.values())


def test_sparse_and_quantized_tensors_are_no_tensors_here(saved):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours, _ = saved({"sparse": torch.eye(3).to_sparse(), "dense": numbers(2)})
    assert isinstance(ours["sparse"], Opaque)
    assert ours["dense"].tolist() == [1.0, 2.0]


def test_a_tensor_on_the_meta_device_says_so_when_it_is_read(tmp_path):
    from dinoport.errors import CheckpointError

    torch.save({"a": torch.empty(2, 3, device="meta")}, tmp_path / "a.pth")
    with open_checkpoint(tmp_path / "a.pth") as checkpoint:
        assert checkpoint.tree["a"].shape == (2, 3)
        with pytest.raises(CheckpointError, match="holds a tensor without data"):
            checkpoint.tree["a"].read()


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    ("bit", "view"),
    [
        ("neg", lambda: torch.complex(numbers(2), numbers(2, first=3)).conj().imag),
        ("conj", lambda: torch.complex(numbers(2), numbers(2, first=3)).conj()),
        ("neg", lambda: torch._neg_view(numbers(2).to(torch.float8_e5m2))),  # rebuilt by another function
    ],
)
def test_a_lazy_view_is_told_and_resolving_it_helps(tmp_path, form, bit, view):
    """The values in the file are not the tensor's: torch changes them as it reads."""
    from dinoport.errors import CheckpointError

    path, lazy = tmp_path / "a.pth", view()
    torch.save({"a": lazy}, path, **FORMATS[form])
    with pytest.raises(CheckpointError) as refused:
        open_checkpoint(path)
    if "legacy" in form and lazy.dtype == torch.float8_e5m2:  # which torch writes there, and cannot read
        assert "a storage of the unknown type torch.storage.UntypedStorage" in str(refused.value)
        return
    assert str(refused.value) == (
        f"{path} holds a tensor whose stored values are not its own: torch changes them whenever it reads them\n"
        "  expected: values as they lie in the file\n"
        f"  found: the metadata {{'{bit}': True}}\n"
        "  likely cause: a lazy view, such as the imaginary part of a conjugate, saved before it was computed\n"
        "  try: load it where you trust it, and save each such tensor as tensor.resolve_conj().resolve_neg()"
    )
    if lazy.dtype != torch.float8_e5m2:  # which torch cannot negate
        torch.save({"a": lazy.resolve_conj().resolve_neg()}, path, **FORMATS[form])
        with open_checkpoint(path) as checkpoint:
            assert checkpoint.tree["a"].read().tolist() == lazy.tolist()


def test_torch_never_reads_more_than_is_written(tmp_path: Path):
    """A slice keeps its whole storage in the file; two slices share it."""
    base = numbers(100)
    torch.save({"a": base[:10], "b": base[90:]}, tmp_path / "a.pth")
    with open_checkpoint(tmp_path / "a.pth") as checkpoint:
        first, second = (checkpoint.tree[name].values for name in "ab")
        assert first.storage is second.storage
        assert first.storage.size_bytes == 400
        assert (first.first, second.first) == (0, 90)

"""Files to begin from: every form in which torch has written tensors from 0.1 to 2.14.

Those that the torch beside us still writes are written by it. Older forms are put together here from what their
writers wrote: files without a record of the byte order (before 2.1), without alignment (before 2.6), tensors without
hooks (before 0.4), names of Python 2.
"""

import io
import warnings
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from tests.fuzz.differential.container import LegacyFile, TorchFile, ZipFile, taken_apart, with_program
from tests.fuzz.differential.program import Program, integer, name, text

HOOKS = (name("collections.OrderedDict"), b")", b"R")


def corpus() -> list[tuple[str, TorchFile]]:
    """Small files by what they are, in an order that is always the same."""
    return [*written(), *older()]


def written() -> Iterator[tuple[str, TorchFile]]:
    import torch

    forms: dict[str, dict[str, Any]] = {
        "zip-2": {}, "zip-4": {"pickle_protocol": 4}, "zip-5": {"pickle_protocol": 5},
        "legacy-2": {"_use_new_zipfile_serialization": False},
        "legacy-4": {"_use_new_zipfile_serialization": False, "pickle_protocol": 4},
        "zip-0": {"pickle_protocol": 0}, "zip-1": {"pickle_protocol": 1},
    }  # fmt: skip
    for form, options in forms.items():
        for content, value in contents().items():
            file = io.BytesIO()
            with warnings.catch_warnings(), in_order():
                warnings.simplefilter("ignore")
                try:
                    torch.save(value, file, **options)
                except Exception:  # noqa: S112 - persistent ids are not text, which protocol 0 wants
                    continue
            yield f"{form} {content}", taken_apart(file.getvalue())


def in_order() -> Any:
    """torch.save orders the storages of a legacy file by their addresses; here as they come."""
    import torch

    return patch.object(torch.serialization, "sorted", list, create=True)


def contents() -> dict[str, object]:
    import torch

    def numbers(*shape: int, first: int = 1) -> Any:
        count = 1
        for size in shape:
            count *= size
        return torch.arange(first, first + count, dtype=torch.float32).reshape(shape)

    base = numbers(4, 6, first=100)
    with_attributes = numbers(3, first=40)
    with_attributes._is_hf_initialized = True
    parameter = torch.nn.Parameter(numbers(3, first=50))
    parameter.tensor_model_parallel = False
    dtypes = ("float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool", "complex64")
    newer = ("uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e5m2")
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    for parameter_of_module in module.parameters():
        torch.nn.init.constant_(parameter_of_module, 0.5)
    return {
        "state": OrderedDict(
            [("cls_token", numbers(1, 1, 4)), ("blocks.0.attn.qkv.weight", numbers(6, 2, first=10)),
             ("blocks.0.attn.qkv.bias", numbers(6, first=30)), ("mask_token", numbers(1, 4, first=60))]
        ),
        "views": {"a.whole": base, "a.row": base[1:3], "a.transposed": base.t(), "a.step": base[::2, 1::2],
                  "a.expanded": base[0, 0].expand(3), "a.empty": base[:0]},
        "parameters": {"a.weight": torch.nn.Parameter(numbers(2, 2)), "a.bias": parameter, "b": with_attributes,
                       "c": torch.nn.Parameter(numbers(2), requires_grad=False)},
        "dtypes": {f"a.{dtype}": numbers(4).to(getattr(torch, dtype)) for dtype in dtypes},
        "newer": {f"a.{dtype}": numbers(4).to(getattr(torch, dtype)) for dtype in newer},
        "training": {"teacher": module.state_dict(), "epoch": 3, "rng": torch.arange(16, dtype=torch.uint8),
                     "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 0.5}]}},
        "module": {"model": module, "state_dict": module.state_dict()},
        "plain": {"a.w": numbers(2), "counter": Counter("aab"), "default": defaultdict(list, a=[1]), "set": {1},
                  "bytes": b"\xff", "array": bytearray(b"a"), "size": torch.Size([1, 2]), "complex": 1j,
                  "device": torch.device("cpu"), "dtype": torch.float32, "tuple": (1, 2, 3, 4), "none": None},
        "others": {"a.sparse": torch.eye(2).to_sparse(), "a.w": numbers(2), "meta": torch.empty(2, device="meta")},
    }  # fmt: skip


def tensor(
    key: str, count: int, rows: int, *, end: Program, kind: str = "FloatStorage", device: str = "cpu"
) -> Program:
    """The opcodes of a matrix of rows of two over the storage `key`."""
    storage = (b"(", text("storage"), name(f"torch.{kind}"), text(key), text(device), integer(count), *end, b"t", b"Q")
    shape = (integer(rows), integer(2), b"\x86", integer(2), integer(1), b"\x86")
    return (name("torch._utils._rebuild_tensor_v2"), b"(", *storage, integer(0), *shape, b"\x89", *HOOKS, b"t", b"R")


def state(*pairs: tuple[str, Program]) -> Program:
    items = tuple(op for key, value in pairs for op in (text(key), *value))
    return (b"\x80\2", b"}", b"(", *items, b"u", b".")


def older() -> Iterator[tuple[str, TorchFile]]:
    """Two tensors of two storages, as older versions wrote them."""
    whole = dict(written_state("zip-2"))["file"]
    assert isinstance(whole, ZipFile)
    no_order = tuple(
        entry for entry in whole.entries if not entry.name.endswith(("byteorder", "alignment", "_version"))
    )
    yield "torch 1.13 to 2.0", replace(whole, entries=no_order)
    yield "on cuda", with_program(whole, tuple(op.replace(b"\3\0\0\0cpu", b"\6\0\0\0cuda:0") for op in whole.program))
    big = tuple(replace(entry, data=b"big") if entry.name.endswith("byteorder") else entry for entry in whole.entries)
    yield "big-endian", replace(whole, entries=big)
    legacy = dict(written_state("legacy-2"))["file"]
    assert isinstance(legacy, LegacyFile)
    keys = sorted(op[5:].decode() for op in legacy.programs[4] if op[:1] == b"X")
    pairs = [(f"a.{n}", tensor(key, 4, 2, end=(b"N",))) for n, key in enumerate(keys)]
    by_hand = with_program(legacy, state(*pairs))
    yield "legacy by hand", by_hand
    short = tuple(op.replace(b"_rebuild_tensor_v2", b"_rebuild_tensor") for op in by_hand.program)
    no_hooks: list[bytes] = []
    for op in short:
        no_hooks.append(op)
        if no_hooks[-4:] == [b"\x89", *HOOKS]:
            del no_hooks[-4:]
    yield "torch 0.1 to 0.3", with_program(legacy, tuple(no_hooks))
    python2 = tuple(b"U" + op[1:2] + op[5:] if op[:1] == b"X" and len(op) < 200 else op for op in legacy.program)
    yield "of Python 2", with_program(legacy, python2)


def written_state(form: str) -> Iterator[tuple[str, TorchFile]]:
    import torch

    file = io.BytesIO()
    options = {"_use_new_zipfile_serialization": False} if form.startswith("legacy") else {}
    content = {"a.0": torch.arange(1.0, 5.0).reshape(2, 2), "a.1": torch.arange(5.0, 9.0).reshape(2, 2)}
    with in_order():
        torch.save(content, file, **options)
    yield "file", taken_apart(file.getvalue())

"""Values over a storage, read in blocks of any size."""

import numpy as np
import pytest

from dinoport.errors import CheckpointError
from dinoport.formats import values as reader
from dinoport.formats.safetensors.reader import DTYPES
from dinoport.formats.storage import Storage
from dinoport.formats.torch.storages import STORAGE_DTYPES, TORCH_DTYPES
from dinoport.formats.values import are_sizes, is_one, stored_tensor, view_of
from dinoport.tensor import ArrayValues, Shape, TensorRef
from tests.error_text import error_text
from tests.formats.memory import Memory

NUMBERS = np.arange(1, 121)
OFFSET = 12
"""Where the storage begins in its file."""


def over(
    dtype: object, shape: tuple[int, ...], strides: tuple[int, ...], first: int = 0, big: bool = False
) -> TensorRef:
    kind = np.dtype(dtype)
    data = NUMBERS.astype(kind).tobytes()
    stored = NUMBERS.astype(kind).byteswap().tobytes() if big else data
    source = Memory(bytes(OFFSET) + stored + b"behind")
    storage = Storage(source, "data/0", len(stored), lambda: OFFSET)
    return stored_tensor("a", storage, kind, first, shape, strides, big_endian=big)


def expected(dtype: object, shape: Shape, strides: Shape, first: int = 0) -> np.ndarray:
    flat = NUMBERS.astype(dtype)
    index = sum((np.indices(shape)[axis] * stride for axis, stride in enumerate(strides)), np.full(shape, first))
    return flat[index]


VIEWS = {
    "contiguous": ((4, 5), (5, 1), 0),
    "from the middle": ((4, 5), (5, 1), 100),
    "transposed": ((5, 4), (1, 5), 0),
    "every second": ((3, 2), (20, 3), 7),
    "permuted": ((5, 2, 4, 3), (1, 60, 5, 20), 0),
    "expanded": ((3, 4), (0, 1), 2),
    "expanded scalar": ((7,), (0,), 119),
    "overlapping": ((6, 4), (1, 1), 0),
    "an axis of one": ((4, 1, 5), (5, 999, 1), 0),
    "scalar": ((), (), 119),
    "the last element": ((1,), (1,), 119),
}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("dtype", sorted({*STORAGE_DTYPES.values(), *TORCH_DTYPES.values(), *DTYPES.values()}, key=str))
def test_every_view_of_every_width_in_both_byte_orders(view, big, dtype):
    shape, strides, first = VIEWS[view]
    tensor = over(dtype, shape, strides, first, big)
    np.testing.assert_array_equal(tensor.read(), expected(dtype, shape, strides, first))


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("limit", [1, 3, 7, 1000])
def test_blocks_of_any_size_from_anywhere(view, limit):
    shape, strides, first = VIEWS[view]
    tensor = over("f4", shape, strides, first)
    flat = expected("f4", shape, strides, first).reshape(-1)
    for start, stop in ((0, flat.size), (flat.size // 3, flat.size), (1, flat.size - 1)):
        blocks = [block.copy() for block in tensor.values.blocks(start, stop, limit)]
        assert all(block.size <= limit for block in blocks)
        np.testing.assert_array_equal(np.concatenate([[], *blocks]), flat[start:stop] if start < stop else [])


def test_an_empty_tensor_reads_nothing():
    """Whatever its strides and offset say: torch keeps any."""
    assert over("f4", (0, 5), (5, 1), 10**6).read().shape == (0, 5)
    assert over("f4", (3, 0), (10**6, 1)).read().shape == (3, 0)


@pytest.mark.parametrize(
    ("shape", "strides", "first", "last"),
    [((121,), (1,), 0, 120), ((4, 5), (30, 1), 26, 120), ((1,), (1,), 120, 120), ((2, 2), (10**12, 1), 0, 10**12 + 1)],
)
def test_a_tensor_that_leaves_its_storage(shape, strides, first, last):
    assert error_text(CheckpointError, lambda: over("f4", shape, strides, first)) == (
        "file.pth declares a tensor that its data cannot hold\n"
        "  where: data/0\n"
        "  expected: 120 elements\n"
        f"  found: shape ({', '.join(map(str, shape))}), so elements up to {last}\n"
        "  likely cause: a damaged file, or one that was made to mislead\n"
        "  try: fetch the file again from where it came"
    )


@pytest.mark.parametrize(
    ("shape", "strides", "first"),
    [
        ((-1,), (1,), 0), ((4,), (-1,), 3), ((4,), (1,), -1), ((4,), (1, 1), 0), ((4, 1), (1,), 0), ((2.0,), (1,), 0),
        ((True,), (1,), 0), ((2**63,), (0,), 0), ((1,) * 33, (1,) * 33, 0), (("4",), (1,), 0), ((4,), (1,), None),
    ],
)  # fmt: skip
def test_shapes_that_are_none(shape, strides, first):
    with pytest.raises(CheckpointError, match="whole numbers, none negative, for 32 axes at most"):
        over("f4", shape, strides, first)


def test_a_view_over_more_than_is_gathered(monkeypatch):
    monkeypatch.setattr(reader, "MAX_GATHER_BYTES", 100)
    assert error_text(CheckpointError, lambda: over("f4", (5, 6), (1, 5)).read()) == (
        "file.pth holds a tensor that is not contiguous, and too large to gather\n"
        "  where: data/0\n"
        "  expected: at most 100 bytes\n"
        "  found: shape (5, 6) with strides (1, 5)\n"
        "  likely cause: a view was saved without .contiguous()\n"
        "  try: save the state dict again with contiguous tensors"
    )
    assert over("f4", (1000,), (0,)).read().tolist() == [1.0] * 1000


def test_sizes():
    assert are_sizes([0, 1, 2**63 - 1])
    assert not are_sizes([False])
    assert not are_sizes([1] * 33)


def test_another_thread_may_take_the_last_spare_buffer_first(monkeypatch: pytest.MonkeyPatch) -> None:
    class TakenMeanwhile(list[np.ndarray]):
        def __len__(self) -> int:
            return 1

    monkeypatch.setattr(reader, "_spare", TakenMeanwhile())
    assert (over(np.float32, (4, 5), (5, 1)).read() == expected(np.float32, (4, 5), (5, 1))).all()


@pytest.mark.parametrize("shape", [(0, 2**40, 2**40), (2, 3, 0, 0, 2**28, 63, 2**20, 8192, 8224), (2**31, 2**31, 0)])
def test_an_empty_tensor_has_a_limit_too(shape: tuple[int, ...]) -> None:
    """NumPy multiplies all axes but those of 0, and fails where that is more than memory can have."""
    with pytest.raises(CheckpointError, match="declares a tensor that its data cannot hold"):
        over(np.float32, shape, (1,) * len(shape))
    small = tuple(min(size, 8) for size in shape)
    assert over(np.float32, small, (1,) * len(shape)).read().shape == small


def test_two_names_of_one_view_are_one() -> None:
    """As tied weights lie in a file: also where they are not contiguous, and where nothing is held."""
    for shape, strides in (((4, 5), (5, 1)), ((5, 4), (1, 5)), ((0, 4), (4, 1))):
        tensor = over("f4", shape, strides)
        storage = tensor.values.storage
        again = stored_tensor("b", storage, tensor.dtype, 0, shape, strides)
        assert is_one(tensor, again)
        assert view_of(tensor) == view_of(again)


def test_other_views_of_one_storage_are_not_one() -> None:
    tensor = over("f4", (4, 5), (5, 1))
    storage = tensor.values.storage
    others = [
        stored_tensor("b", storage, np.dtype("i4"), 0, (4, 5), (5, 1)),
        stored_tensor("b", storage, tensor.dtype, 1, (4, 5), (5, 1)),
        stored_tensor("b", storage, tensor.dtype, 0, (5, 4), (4, 1)),
        stored_tensor("b", storage, tensor.dtype, 0, (4, 5), (1, 4)),
        stored_tensor("b", storage, tensor.dtype, 0, (4, 5), (5, 1), big_endian=True),
        over("f4", (4, 5), (5, 1)),
    ]
    assert not any(is_one(tensor, other) for other in others)


def test_what_is_not_stored_is_one_with_nothing() -> None:
    array = TensorRef("a", np.dtype("f4"), (2,), ArrayValues(np.arange(2, dtype="f4")))
    assert view_of(array) is None
    assert not is_one(array, array)

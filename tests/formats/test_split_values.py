import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dinoport.formats.distributed import split_values
from dinoport.formats.distributed.split_values import Box, BoxedValues, SplitValues, tiling_problem
from dinoport.tensor import ArrayValues, TensorRef


def split(array: np.ndarray, cuts: list[list[int]]) -> list[BoxedValues]:
    """Parts of an array cut along each axis at the given places."""
    boxes = [Box((), ())]
    for length, along in zip(array.shape, cuts, strict=True):
        edges = sorted({0, length, *along})
        boxes = [
            Box((*box.offsets, first), (*box.sizes, last - first)) for box in boxes for first, last in pairwise(edges)
        ]
    return [BoxedValues(box, ArrayValues(array[_slices(box)])) for box in boxes]


def _slices(box: Box) -> tuple[slice, ...]:
    return tuple(slice(first, first + size) for first, size in zip(box.offsets, box.sizes, strict=True))


@st.composite
def splits(draw: st.DrawFn) -> tuple[np.ndarray, list[BoxedValues]]:
    shape = draw(st.lists(st.integers(1, 6), min_size=0, max_size=4))
    cuts = [draw(st.lists(st.integers(1, length), max_size=3)) for length in shape]
    array = np.arange(np.prod(shape, dtype=int), dtype=np.float32).reshape(shape)
    return array, draw(st.permutations(split(array, cuts)))


@given(splits(), st.data())
def test_any_split_reads_as_the_whole_in_blocks_of_the_asked_size(case, data) -> None:
    array, parts = case
    values = SplitValues(array.dtype, array.shape, parts)
    start = data.draw(st.integers(0, array.size))
    stop = data.draw(st.integers(start, array.size))
    limit = data.draw(st.integers(1, array.size + 1))
    assert tiling_problem(array.shape, [part.box for part in parts]) is None
    blocks = [block.copy() for block in values.blocks(start, stop, limit)]
    assert [block.size for block in blocks[:-1]] == [limit] * (len(blocks) - 1)
    assert np.array_equal(np.concatenate([np.empty(0, np.float32), *blocks]), array.reshape(-1)[start:stop])


@given(splits())
def test_a_part_too_few_or_too_many_is_noticed(case) -> None:
    array, parts = case
    boxes = [part.box for part in parts]
    assert "that no part covers" in str(tiling_problem(array.shape, boxes[1:]))
    assert "which another part covers too" in str(tiling_problem(array.shape, [*boxes, boxes[0]]))


@pytest.mark.parametrize(
    ("boxes", "problem"),
    [
        ([((0, 0), (4, 3)), ((0, 3), (4, 2))], "a part (4, 2) at (0, 3), which reaches beyond the tensor"),
        ([((0, 0), (2, 4))], "8 of 16 elements that no part covers"),
        ([((0, 0), (3, 4)), ((2, 0), (2, 4))], "a part (2, 4) at (2, 0), which another part covers too"),
        ([], "16 of 16 elements that no part covers"),
        ([((0, 0), (4, 4)), ((4, 0), (0, 4))], None),
    ],
)
def test_problems_name_the_part(boxes, problem) -> None:
    assert tiling_problem((4, 4), [Box(*box) for box in boxes]) == problem


def test_a_split_without_a_regular_grid_is_refused_before_the_grid_is_made() -> None:
    diagonal = [Box((i, i, i), (1, 1, 1)) for i in range(200)]
    assert tiling_problem((200, 200, 200), diagonal) == "200 parts that form no regular grid"


def test_overlaps_that_a_counter_of_one_byte_would_miss() -> None:
    assert "covers too" in str(tiling_problem((4,), [Box((0,), (4,))] * 257))


def test_a_block_is_all_that_is_held() -> None:
    array = np.arange(64 * 64, dtype=np.float32).reshape(64, 64)

    class Counted(ArrayValues):
        def blocks(self, start, stop, limit):
            assert stop - start <= 128
            return super().blocks(start, stop, limit)

    parts = [BoxedValues(part.box, Counted(part.values.array)) for part in split(array, [[10, 40], [7, 30]])]
    blocks = SplitValues(array.dtype, array.shape, parts).blocks(0, array.size, 128)
    assert np.array_equal(np.concatenate([block.copy() for block in blocks]), array.reshape(-1))


@pytest.mark.parametrize("axis", [0, 1])
def test_each_part_costs_a_block_a_few_calls_and_a_run_of_the_tensor_no_index(axis, monkeypatch) -> None:
    """However many elements a part has: blocks of a large tensor are filled from tens of parts."""
    array = np.arange(512 * 512, dtype=np.float32).reshape(512, 512)
    cuts = [[*range(16, 512, 16)] if each == axis else [] for each in range(2)]
    asked, indexed = [], []

    class Asked(ArrayValues):
        def blocks(self, start, stop, limit):
            asked.append(stop - start)
            return super().blocks(start, stop, limit)

    places = split_values._places
    monkeypatch.setattr(split_values, "_places", lambda *of: indexed.append(of) or places(*of))
    parts = [BoxedValues(part.box, Asked(part.values.array)) for part in split(array, cuts)]
    calls = 0

    def count(frame, event, argument) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    blocks = SplitValues(array.dtype, array.shape, parts).blocks(1000, 1000 + 9000, 9000)
    sys.setprofile(count)
    try:
        block = next(blocks)
    finally:
        sys.setprofile(None)
    assert np.array_equal(block, array.reshape(-1)[1000:10_000])
    assert sum(asked) == 9000
    assert 0 not in asked
    assert len(indexed) == (0 if axis == 0 else len(parts))
    assert calls < 60 * len(parts)


def test_a_reference_reads_whole_rows() -> None:
    array = np.arange(30, dtype=np.int64).reshape(10, 3)
    ref = TensorRef("t", array.dtype, array.shape, SplitValues(array.dtype, array.shape, split(array, [[4, 5], []])))
    assert np.array_equal(ref.read(), array)

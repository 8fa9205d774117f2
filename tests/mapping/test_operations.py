import numpy as np
import pytest

from dinoport.mapping.operations import AddAxis, BakeTable, Deinterleave, Rows, ShapeMismatchError


def test_rows_split_and_join() -> None:
    assert Rows(3).target_shape((9, 4)) == (3, 4)
    assert Rows(3).source_shape((3, 4)) == (9, 4)
    assert Rows(1).target_shape(()) == ()
    with pytest.raises(ShapeMismatchError, match=r"\(47, 16\) cannot be split into 3 equal row ranges"):
        Rows(3).target_shape((47, 16))
    with pytest.raises(ShapeMismatchError):
        Rows(3).source_shape(())


def test_an_axis_is_added_and_taken_away() -> None:
    assert AddAxis().target_shape((1, 8)) == (1, 1, 8)
    assert AddAxis().source_shape((1, 1, 8)) == (1, 8)
    with pytest.raises(ShapeMismatchError):
        AddAxis().source_shape((2, 8))


def test_columns_are_taken_apart_and_put_back() -> None:
    interleaved = np.array([["a0", "b0", "a1", "b1", "a2", "b2"], ["c0", "d0", "c1", "d1", "c2", "d2"]])
    apart = Deinterleave().apply(interleaved.reshape(-1), (2, 6)).reshape(2, 6)
    assert apart.tolist() == [["a0", "a1", "a2", "b0", "b1", "b2"], ["c0", "c1", "c2", "d0", "d1", "d2"]]
    assert Deinterleave().revert(apart.reshape(-1), (2, 6)).reshape(2, 6).tolist() == interleaved.tolist()
    with pytest.raises(ShapeMismatchError, match="no pairs of columns"):
        Deinterleave().target_shape((2, 5))


def test_a_table_baked_to_its_own_size_without_offset_is_itself() -> None:
    table = np.random.default_rng(0).standard_normal((1, 17, 3))
    baked = BakeTable(grid=4, offset=0.0, antialias=False).apply(table.reshape(-1), table.shape)
    np.testing.assert_allclose(baked.reshape(table.shape), table, rtol=0, atol=1e-15)

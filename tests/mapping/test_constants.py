"""Values that follow from a declaration: the same from any place in the middle, and always."""

import numpy as np
import pytest

from dinoport.mapping.constants import Seeded

RECORDED = [
    [0.010765480808913708, 0.011523096822202206, 0.03202097862958908],
    [-0.006454130169004202, 0.023158323019742966, 0.031283918768167496],
]
FLOAT32 = np.dtype(np.float32)


def test_seeded_values_are_those_of_every_version() -> None:
    """Written down: a checkpoint that was made with these values is proven with them for good."""
    values = Seeded((2, 3), 0.02).tensor("dino_head.mlp.0.weight", FLOAT32).read()
    assert values.dtype == np.float32
    assert values.tolist() == RECORDED


def test_seeded_values_do_not_depend_on_how_they_are_read() -> None:
    tensor = Seeded((40, 25), 0.02).tensor("a", FLOAT32)
    whole = tensor.read().reshape(-1)
    for step in (1, 7, 999):
        assert np.array_equal(np.concatenate([*tensor.values.blocks(0, 1000, step)]), whole)
    for start, stop in ((0, 0), (1, 2), (333, 1000)):
        blocks = [np.empty(0, np.float32), *tensor.values.blocks(start, stop, 10)]
        assert np.array_equal(np.concatenate(blocks), whole[start:stop])


@pytest.mark.parametrize(("name", "seed"), [("b", 0), ("a", 1)])
def test_another_name_or_seed_gives_others(name: str, seed: int) -> None:
    one, other = Seeded((50,), 0.02).tensor("a", FLOAT32).read(), Seeded((50,), 0.02, seed).tensor(name, FLOAT32).read()
    assert not np.intersect1d(one, other).size


def test_seeded_values_are_bell_shaped_around_zero() -> None:
    values = Seeded((200, 500), 0.02).tensor("a", FLOAT32).read()
    assert abs(float(values.mean())) < 4 * 0.02 / 100_000**0.5
    assert float(values.std()) == pytest.approx(0.02, rel=0.01)
    assert float(np.abs(values).max()) < 5 * 0.02
    assert float((np.abs(values) < 0.02).mean()) == pytest.approx(0.68, abs=0.01)

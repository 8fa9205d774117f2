"""Few requests, in the order of use, and hardly a byte that is not wanted."""

from itertools import pairwise

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dinoport.files.remote.fetching import REQUEST_BYTES, WASTE, coalesce

SPANS = st.lists(st.tuples(st.integers(0, 10**8), st.integers(0, 10**7)).map(lambda pair: (pair[0], sum(pair))))

SEVERAL = [(10**8, 10**8 + 1), (5_000, 3 * REQUEST_BYTES), (0, 10_000), (10**7, 10**7 + 5)]
"""Spans that lie apart, overlap, and are longer than one request."""


def test_neighbours_become_one_request() -> None:
    assert coalesce([(0, 100), (100, 200), (150, 300)]) == [(0, 300)]


def test_a_small_gap_is_closed_and_a_large_one_is_not() -> None:
    assert coalesce([(0, 10_000), (10_010, 20_000), (30_000, 40_000)]) == [(0, 20_000), (30_000, 40_000)]


def test_requests_come_in_the_order_in_which_they_are_wanted() -> None:
    assert coalesce([(50_000, 60_000), (0, 10_000)]) == [(50_000, 60_000), (0, 10_000)]


def test_a_long_span_is_parted() -> None:
    assert coalesce([(5, 2 * REQUEST_BYTES + 6)]) == [
        (5, REQUEST_BYTES + 5),
        (REQUEST_BYTES + 5, 2 * REQUEST_BYTES + 5),
        (2 * REQUEST_BYTES + 5, 2 * REQUEST_BYTES + 6),
    ]


def test_spans_that_lie_apart_take_several_requests() -> None:
    assert len(coalesce(SEVERAL)) > 3


@settings(suppress_health_check=[HealthCheck.too_slow])  # of a machine with other work
@given(SPANS)
@example(SEVERAL)
def test_everything_is_covered_once_and_waste_is_bounded(wanted: list[tuple[int, int]]) -> None:
    requests = sorted(coalesce(wanted))
    assert all(before[1] <= after[0] for before, after in pairwise(requests))
    assert all(0 < stop - start <= REQUEST_BYTES for start, stop in requests)
    covered = [(start, stop) for start, stop in wanted if start < stop]
    bytes_wanted = sum(stop - start for start, stop in _union(covered))
    assert sum(stop - start for start, stop in requests) <= bytes_wanted * (1 + WASTE)
    whole = _union(requests)
    for start, stop in covered:
        assert any(first <= start and stop <= last for first, last in whole)


def _union(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    union: list[tuple[int, int]] = []
    for start, stop in sorted(spans):
        if union and start <= union[-1][1]:
            union[-1] = (union[-1][0], max(union[-1][1], stop))
        else:
            union.append((start, stop))
    return union

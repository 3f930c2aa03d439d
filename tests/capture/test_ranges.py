from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pumpwatch.capture.ranges import Ids, common, size, without


@st.composite
def ranges(draw: st.DrawFn) -> list[Ids]:
    edges = sorted(draw(st.sets(st.integers(0, 60), max_size=12)))
    pairs = list(zip(edges[::2], edges[1::2], strict=False))
    return [(first, last) for first, last in pairs if last > first or first % 2]


def ids(some: list[Ids]) -> set[int]:
    return {one for first, last in some for one in range(first, last + 1)}


@given(ranges(), ranges())
def test_they_are_sets(ours: list[Ids], theirs: list[Ids]) -> None:
    assert ids(common(ours, theirs)) == ids(ours) & ids(theirs)
    assert ids(without(ours, theirs)) == ids(ours) - ids(theirs)
    assert size(ours) == len(ids(ours))
    for some in (common(ours, theirs), without(ours, theirs)):
        assert some == sorted(some)
        assert size(some) == len(ids(some))

"""Rates over the last seconds and quantiles of lags."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpwatch.rates import LAG_BUCKETS_S, LagHistogram, Rate


def test_a_steady_rate_is_that_rate() -> None:
    rate = Rate(span_s=10.0)
    assert rate.note(100.0, 5000) == 0.0  # nothing to compare with
    assert [rate.note(100.0 + second, 5000 + 300 * second) for second in range(1, 40)] == [
        pytest.approx(300.0)
    ] * 39


def test_a_burst_is_forgotten_after_the_span() -> None:
    rate = Rate(span_s=10.0)
    rate.note(0.0, 0)
    assert rate.note(1.0, 1000) == 1000.0
    seen = [rate.note(float(second), 1000) for second in range(2, 14)]
    assert seen[8] == pytest.approx(100.0)  # at 10 s: 1000 rows in 10 s
    assert seen[9] == 0.0  # at 11 s the last ten seconds brought nothing
    assert seen[-1] == 0.0


def test_two_looks_at_the_same_moment_divide_by_nothing() -> None:
    rate = Rate()
    assert rate.note(5.0, 0) == 0.0
    assert rate.note(5.0, 10) == 0.0
    assert rate.note(6.0, 10) == 10.0


def test_a_late_look_counts_over_the_time_that_passed() -> None:
    rate = Rate(span_s=10.0)
    rate.note(0.0, 0)
    assert rate.note(100.0, 1000) == 10.0


def test_buckets_grow_by_a_quarter() -> None:
    assert LAG_BUCKETS_S[0] == 0.001
    assert LAG_BUCKETS_S[-1] == 800.0
    ratios = [later / earlier for earlier, later in pairwise(LAG_BUCKETS_S)]
    assert all(1.24 <= ratio <= 1.29 for ratio in ratios)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.001, 799.0), st.integers(1, 1000)), min_size=1),
    st.floats(0.0, 1.0),
)
def test_a_quantile_is_right_to_a_bucket(lags: list[tuple[float, int]], share: float) -> None:
    histogram = LagHistogram()
    for lag_s, rows in lags:
        histogram.note(lag_s, rows)
    found = histogram.quantile(share)
    every = sorted(lags)
    wanted, reached = every[-1][0], 0
    for lag_s, rows in every:
        reached += rows
        if reached >= share * sum(rows for _, rows in every):
            wanted = lag_s
            break
    assert found is not None
    assert wanted <= found <= wanted * 1.29


def test_without_rows_there_is_no_quantile_and_beyond_the_last_edge_only_the_edge() -> None:
    histogram = LagHistogram()
    assert histogram.quantile(0.5) is None
    histogram.note(5000.0, 1)
    assert histogram.quantile(0.5) == 800.0
    histogram.note(0.0, 99)
    assert histogram.quantile(0.5) == 0.001

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pumpwatch.capacity import Host, cpu_cores, plan

HOST = Host(
    processors=4, disk_free_bytes=800 * 2**30, hour_bytes=2**30, window_s=3600,
    spool_bytes=8 * 2**30,
)  # fmt: skip
ORDER = ("fits", "tight", "too much")


def states(rows_per_s: float, host: Host = HOST) -> dict[str, str]:
    return {line.what: line.state for line in plan(rows_per_s, host)}


def test_an_ordinary_day_fits_a_small_server() -> None:
    found = states(5_000)
    assert found["processors"] == "fits"
    assert found["disk, last day"] == "fits"
    assert found["disk, 30 days (older than a day as Parquet)"] == "fits"
    assert found["memory window"] == "tight"  # 1 GiB is about 50 min at 5,000 rows a second


def test_too_much_is_said() -> None:
    found = states(150_000)
    assert found["disk, 30 days (older than a day as Parquet)"] == "too much"
    assert found["processors, 10 times the rate"] == "too much"


@given(st.floats(1, 1e6), st.floats(1, 1e6))
def test_more_rows_never_fit_better(one: float, other: float) -> None:
    low, high = sorted((one, other))
    before, after = states(low), states(high)
    assert all(ORDER.index(after[what]) >= ORDER.index(before[what]) for what in before)
    assert cpu_cores(low) <= cpu_cores(high)

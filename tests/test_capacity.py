from __future__ import annotations

import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pumpwatch import capacity
from pumpwatch.capacity import DAY_S, Host, cpu_cores, plan

MANUAL = (Path(__file__).parents[1] / "docs/capacity.md").read_text()

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


def test_the_manual_has_the_costs_that_are_reckoned_with() -> None:
    stated = dict(re.findall(r"^\| `([A-Z_]+)` \| (\S+) \|", MANUAL, re.MULTILINE))
    costs = {
        name: value
        for name, value in vars(capacity).items()
        if name.endswith(("_PER_ROW", "_CORES")) and name.isupper()
    }
    assert {name: float(text) for name, text in stated.items()} == costs


def gib(text: str) -> float:
    value, unit = text.replace(",", "").split()
    return float(value) * {"GiB": 1, "TiB": 1024}[unit]


def test_the_manual_s_hosts_are_reckoned_right() -> None:
    rows = re.findall(
        r"^\| ([\d,]+) \| ([\d.]+) Mbit/s \| ([\d.]+) \| (.+?) \|$", MANUAL, re.MULTILINE
    )
    assert len(rows) >= 3
    for rate_text, mbit, cores, sizes in rows:
        rate = float(rate_text.replace(",", ""))
        day_rows = rate * DAY_S
        assert abs(float(mbit) - rate * capacity.WIRE_BYTES_PER_ROW * 8 / 1e6) < 0.06
        assert abs(float(cores) - cpu_cores(rate)) < 0.006
        wanted = (
            rate * 3600 * capacity.MEMORY_BYTES_PER_ROW,
            day_rows * capacity.TABLE_BYTES_PER_ROW,
            day_rows * (capacity.RETENTION_DAYS - 1) * capacity.PARQUET_BYTES_PER_ROW,
            day_rows * capacity.RETENTION_DAYS * capacity.BACKUP_BYTES_PER_ROW,
        )
        for text, size_bytes in zip(sizes.split(" | "), wanted, strict=True):
            assert abs(gib(text) / (size_bytes / 2**30) - 1) < 0.05, (rate, text)

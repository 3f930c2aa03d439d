"""Laws of the plan, and its edges to the hour."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch.errors import RetentionRefusedError
from pumpwatch.moments import iso_ns
from pumpwatch.store.partitions import DAY_NS, HOUR_NS, Partition, merge, span_of
from pumpwatch.store.retention_plan import (
    CLOCK_AHEAD_NS_MAX,
    CLOCK_BEHIND_NS_MAX,
    Plan,
    Window,
    check_clock,
    cutoff_of,
    days_left,
    plan_age,
    plan_room,
    tiers,
)
from tests.store.upkeep import NOW_NS, TODAY_NS

FLOOR_DAYS = 7


def hour(start_ns: int, *, disk_bytes: int = 100, is_parquet: bool = False) -> Partition:
    return Partition(
        name=iso_ns(start_ns)[:13], start_ns=start_ns, end_ns=start_ns + HOUR_NS, rows=10,
        disk_bytes=disk_bytes, is_parquet=is_parquet, max_ns=start_ns + 1,
    )  # fmt: skip


def window(from_ns: int, to_ns: int, *, is_kept: bool = False) -> Window:
    return Window(name="upbit/1/PEPE", symbols=(), from_ns=from_ns, to_ns=to_ns, is_kept=is_kept)


def plan(partitions: list[Partition], windows: list[Window], *, days: int) -> Plan:
    return plan_age(
        "trades", partitions, windows, now_ns=NOW_NS, cutoff_ns=cutoff_of(NOW_NS, days),
        floor_days=FLOOR_DAYS, reason="by age",
    )  # fmt: skip


hours_ago = st.integers(-30, 50 * 24)
tables = st.sets(hours_ago, min_size=1, max_size=60).map(
    lambda ages: [hour(NOW_NS // HOUR_NS * HOUR_NS - age * HOUR_NS) for age in sorted(ages)]
)
pins = st.lists(
    st.builds(
        lambda age, length_s, is_kept: window(
            NOW_NS - age * HOUR_NS, NOW_NS - age * HOUR_NS + length_s * 10**9, is_kept=is_kept
        ),
        st.integers(0, 50 * 24), st.integers(1, 7200), st.booleans(),
    ),
    max_size=6,
)  # fmt: skip


@given(tables, pins, st.integers(FLOOR_DAYS, 40), st.integers(0, 10_000))
def test_what_must_stay_stays(
    partitions: list[Partition], windows: list[Window], days: int, wanted_bytes: int
) -> None:
    plans = [
        plan(partitions, windows, days=days),
        plan_room("trades", partitions, windows, now_ns=NOW_NS, floor_days=FLOOR_DAYS,
                  wanted_bytes=wanted_bytes),
    ]  # fmt: skip
    newest = max(partition.name for partition in partitions)
    for made in plans:
        dropped = {drop.partition for drop in made.drops}
        assert newest not in dropped
        for partition in partitions:
            if partition.name in dropped:
                assert dropped >= {part.name for part in partitions if part.name < partition.name}
                assert partition.end_ns <= cutoff_of(NOW_NS, FLOOR_DAYS)
                for pin in windows:
                    assert pin.is_kept or not pin.overlaps(partition)


@given(tables, pins, st.integers(FLOOR_DAYS, 40))
def test_everything_older_goes_or_is_named(
    partitions: list[Partition], windows: list[Window], days: int
) -> None:
    made = plan(partitions, windows, days=days)
    newest = max(partition.name for partition in partitions)
    due = {part.name for part in partitions if part.end_ns <= made.cutoff_ns} - {newest}
    assert due == {drop.partition for drop in made.drops} | {kept.partition for kept in made.kept}


@given(tables, st.integers(0, 20_000))
def test_room_is_made_by_whole_days_from_the_oldest(
    partitions: list[Partition], wanted_bytes: int
) -> None:
    made = plan_room("trades", partitions, [], now_ns=NOW_NS, floor_days=FLOOR_DAYS,
                     wanted_bytes=wanted_bytes)  # fmt: skip
    everything = plan(partitions, [], days=FLOOR_DAYS).drops
    names = [drop.partition for drop in made.drops]
    assert names == [drop.partition for drop in everything][: len(names)]
    if len(names) < len(everything):
        assert everything[len(names)].partition[:10] != (names[-1][:10] if names else "")
        assert made.freed_bytes >= wanted_bytes
    days = sorted({name[:10] for name in names})
    if len(days) > 1:
        without_last = sum(d.disk_bytes for d in made.drops if d.partition[:10] != days[-1])
        assert without_last < wanted_bytes


def test_day_thirty_stays_to_the_hour() -> None:
    edge_ns = TODAY_NS - 30 * DAY_NS
    partitions = [hour(edge_ns - HOUR_NS), hour(edge_ns), hour(TODAY_NS)]
    assert [drop.partition for drop in plan(partitions, [], days=30).drops] == ["2026-02-07T23"]


def test_a_window_pins_its_hours_and_what_is_behind() -> None:
    start_ns = TODAY_NS - 35 * DAY_NS
    partitions = [hour(start_ns + number * HOUR_NS) for number in range(3)] + [hour(TODAY_NS)]
    pin = window(start_ns + 2 * HOUR_NS - 20 * 10**9, start_ns + 2 * HOUR_NS)
    made = plan(partitions, [pin], days=30)
    assert [kept.partition[-2:] for kept in made.kept] == ["01", "02"]
    assert "upbit/1/PEPE" in made.kept[0].reason
    assert made.kept[1].reason == "stands behind 2026-02-03T01"
    assert [drop.partition[-2:] for drop in made.drops] == ["00"]
    kept = window(pin.from_ns, pin.to_ns, is_kept=True)
    assert [drop.partition[-2:] for drop in plan(partitions, [kept], days=30).drops] == [
        "00", "01", "02",
    ]  # fmt: skip


@pytest.mark.parametrize("cutoff_ns", [NOW_NS + 1, TODAY_NS, TODAY_NS - 6 * DAY_NS])
def test_a_cutoff_that_is_too_young_is_refused(cutoff_ns: int) -> None:
    with pytest.raises(RetentionRefusedError, match=r"in the future|floor_days = 7"):
        plan_age("trades", [hour(TODAY_NS)], [], now_ns=NOW_NS, cutoff_ns=cutoff_ns, floor_days=7,
                 reason="")  # fmt: skip


def test_a_clock_that_the_rows_contradict_is_refused() -> None:
    check_clock(NOW_NS, NOW_NS + CLOCK_BEHIND_NS_MAX)
    check_clock(NOW_NS, NOW_NS - CLOCK_AHEAD_NS_MAX)
    with pytest.raises(RetentionRefusedError, match="set the clock"):
        check_clock(NOW_NS, NOW_NS + CLOCK_BEHIND_NS_MAX + 1)
    with pytest.raises(RetentionRefusedError, match="the clock is ahead, or nothing was recorded"):
        check_clock(NOW_NS, NOW_NS - CLOCK_AHEAD_NS_MAX - 1)


@pytest.mark.parametrize(
    ("name", "start", "end"),
    [
        ("2026-03-10T23", "2026-03-10T23:00:00", "2026-03-11T00:00:00"),
        ("2026-02-28", "2026-02-28T00:00:00", "2026-03-01T00:00:00"),
        ("2026-12", "2026-12-01T00:00:00", "2027-01-01T00:00:00"),
        ("2026", "2026-01-01T00:00:00", "2027-01-01T00:00:00"),
    ],
)
def test_spans_of_names(name: str, start: str, end: str) -> None:
    assert [iso_ns(moment)[:19] for moment in span_of(name)] == [start, end]


@pytest.mark.parametrize("name", ["", "20260310", "2026-03-10T2", "default", "2026-W11"])
def test_what_is_no_partition(name: str) -> None:
    with pytest.raises(ValueError, match="is no name"):
        span_of(name)


def test_the_parts_of_a_split_partition_are_one() -> None:
    rows = [
        ("2026-03-10T11", 5, 100, False, 30),
        ("2026-03-10T10", 7, 10, True, 20),
        ("2026-03-10T115959-000001", 3, 50, False, 40),
    ]
    first, second = merge(rows, "HOUR")
    assert (first.name, first.rows, first.is_parquet) == ("2026-03-10T10", 7, True)
    assert (second.name, second.rows, second.disk_bytes, second.max_ns) == (
        "2026-03-10T11", 8, 150, 40,
    )  # fmt: skip


def test_tiers_and_days_left() -> None:
    partitions = [
        hour(TODAY_NS - 2 * DAY_NS, disk_bytes=30, is_parquet=True),
        hour(TODAY_NS, disk_bytes=90),
    ]
    warm, cold = tiers(partitions)
    assert (warm.name, warm.partitions, warm.disk_bytes, warm.oldest_ns) == (
        "warm",
        1,
        90,
        TODAY_NS,
    )
    assert (cold.name, cold.partitions, cold.disk_bytes) == ("cold", 1, 30)
    assert days_left(partitions, NOW_NS, 900) == 10.0
    assert days_left([], NOW_NS, 900) is None

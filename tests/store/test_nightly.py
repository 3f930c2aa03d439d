"""The nightly line: what it counts, what it is chained to, and what a change of one shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch.moments import iso_ns
from pumpwatch.store.nightly import (
    DAYS_BACK_MAX,
    Nightly,
    Proof,
    Upshot,
    broken_links,
    certificates_hash,
    days_due,
    own_hash,
)
from pumpwatch.store.operations import OperationLog
from pumpwatch.store.partitions import DAY_NS, HOUR_NS
from tests.store.upkeep import TODAY_NS, FixedClock, ListSink

UPSHOT = Upshot(
    backup="20260310T031000Z verified 2026-03-10T03:14:00Z", is_backup_good=True,
    disk_days_left=41.2,
)  # fmt: skip
DAILY_NS = 3 * HOUR_NS


def proof(**changes: Any) -> Proof:
    facts = {
        "day": "2026-03-09", "trades": 5, "gaps": 0, "filled": 0, "missing": 0, "unknown": 0,
        "windows": 0, "windows_complete": 0, "certificates_sha256": "c" * 64, "upshot": UPSHOT,
    }  # fmt: skip
    return Proof(**{**facts, **changes})


def chain(count: int) -> list[str]:
    lines, previous = list[str](), ""
    for number in range(count):
        lines.append(proof(day=f"2026-03-{number + 1:02d}", trades=number).line(previous))
        previous = own_hash(lines[-1])
    return lines


def test_the_line_says_everything() -> None:
    line = proof(gaps=3, filled=2, missing=17, unknown=1, windows=2, windows_complete=1).line("")
    assert line.startswith(
        "2026-03-09: 5 trades, missing 17 and an unknown number in 1 holes, gaps 3 of which 2"
        " filled, windows 1 of 2 complete, backup 20260310T031000Z verified 2026-03-10T03:14:00Z,"
        f" disk 41 days left; certificates {'c' * 64}; previous none; this "
    )


@pytest.mark.parametrize(
    "changes",
    [{"missing": 1}, {"unknown": 1}, {"windows": 1},
     {"upshot": Upshot(backup="none is good", is_backup_good=False, disk_days_left=None)}],
)  # fmt: skip
def test_what_is_not_proven_is_not_good(changes: dict[str, Any]) -> None:
    assert proof().is_good
    assert not proof(**changes).is_good


@given(st.integers(2, 6), st.data())
def test_a_chain_is_whole_until_a_letter_is_changed(count: int, data: st.DataObject) -> None:
    lines = chain(count)
    assert broken_links(lines) == []
    place = data.draw(st.integers(0, count - 1))
    at = data.draw(st.integers(0, len(lines[place]) - 1))
    other = data.draw(st.sampled_from([c for c in "0f ;" if c != lines[place][at]]))
    lines[place] = lines[place][:at] + other + lines[place][at + 1 :]
    assert broken_links(lines)


@given(st.integers(3, 6), st.data())
def test_a_line_taken_away_or_moved_shows(count: int, data: st.DataObject) -> None:
    lines = chain(count)
    lines.pop(data.draw(st.integers(1, count - 2)))
    assert broken_links(lines)
    moved = chain(count)
    moved[0], moved[1] = moved[1], moved[0]
    assert broken_links(moved)


def test_certificates_are_hashed_in_any_order_and_by_what_they_say() -> None:
    one = ("upbit", "1", "PEPE", "complete", '{"okx_spot":"proven"}')
    two = ("upbit", "1", "AVA", "partial", None)
    assert certificates_hash([one, two]) == certificates_hash([two, one])
    assert certificates_hash([one]) != certificates_hash([(*one[:4], "{}")])


def test_days_without_a_line_are_made_up_for() -> None:
    now_ns = TODAY_NS + DAILY_NS
    yesterday = iso_ns(TODAY_NS - DAY_NS)[:10]
    assert days_due(now_ns, DAILY_NS, "") == [TODAY_NS - DAY_NS]
    assert days_due(now_ns, DAILY_NS, yesterday) == []
    assert days_due(now_ns - 1, DAILY_NS, "2026-03-08") == []  # yesterday's is not due before
    assert days_due(now_ns, DAILY_NS, "2026-03-06") == [
        TODAY_NS - back * DAY_NS for back in (3, 2, 1)
    ]
    assert len(days_due(now_ns, DAILY_NS, "2020-01-01")) == DAYS_BACK_MAX


class Tables:
    """Answers the questions of one look."""

    def __init__(self, trades: int = 5, last: list[tuple[str, str]] | None = None) -> None:
        self.trades = trades
        self.last = last or []
        self.asked: list[str] = []

    async def query(self, sql: str, params: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        self.asked.append(sql)
        if "FROM operations" in sql:
            return list(self.last)
        if "FROM trades" in sql:
            return [(self.trades,)]
        if "FROM feed_gaps" in sql:
            return [("filled", 4, 2), ("empty", 0, 1), ("lost", 10, 2), ("suspected", -1, 3)]
        return [("upbit", "1", "PEPE", "complete", "{}")]

    async def execute(self, sql: str, params: Sequence[object] = ()) -> None:
        raise AssertionError(sql)


def nightly(tables: Tables, sink: ListSink, **options: Any) -> tuple[Nightly, FixedClock]:
    clock = FixedClock(TODAY_NS + 5 * HOUR_NS)
    made = Nightly(
        tables, OperationLog(sink, clock), clock, daily_of_day_ns=DAILY_NS,
        upshot=lambda: UPSHOT, **options,
    )  # fmt: skip
    return made, clock


async def test_it_writes_one_line_a_day_each_on_the_one_before() -> None:
    sink, told = ListSink(), list[str]()
    tables = Tables(last=[("2026-03-07", chain(1)[0])])
    made, clock = nightly(tables, sink, told=told.append)
    assert made.is_due()
    lines = await made.run()
    assert [line[:10] for line in lines] == ["2026-03-08", "2026-03-09"]
    assert broken_links([chain(1)[0], *lines]) == []
    assert "missing 20 and an unknown number in 3 holes, gaps 8 of which 3 filled" in lines[0]
    assert told == [chain(1)[0], *lines]
    assert not made.is_due()
    assert await made.run() == []
    clock.now_ns += DAY_NS
    assert made.is_due()
    (line,) = await made.run()
    assert line.startswith("2026-03-10: ")
    assert len(sink.lines) == 3
    assert all("operation=proof,result=open" in row for row in sink.lines)


async def test_a_record_that_begins_says_nothing_of_the_day_before() -> None:
    sink = ListSink()
    made, clock = nightly(Tables(trades=0), sink)
    assert await made.run() == []
    assert not made.is_due()
    clock.now_ns += DAY_NS
    assert [line[:10] for line in await made.run()] == ["2026-03-10"]


def test_it_waits_for_what_earlier_runs_left() -> None:
    made, _ = nightly(Tables(), ListSink(), is_ready=lambda: False)
    assert not made.is_due()

"""What earlier runs left is read once the spool's replay is applied, and never waited for long."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from pumpwatch._fast import parse_binance
from pumpwatch.errors import ServerError
from pumpwatch.model import Record
from pumpwatch.past import UNNAMED, UNREADABLE, Past
from pumpwatch.store.progress import TableProgress
from pumpwatch.store.schema import TABLES
from pumpwatch.store.spool_files import Cursor
from pumpwatch.store.spool_positions import Standings, alive_record
from tests._fast.driving import NOW_NS, Drive
from tests.capture.rig import Rig, trade_frame
from tests.capture.specs import feed_spec

GAP = {
    "gap_id": "old", "opened_ns": 5, "exchange": "binance", "market_type": "spot",
    "symbol": "BTCUSDT", "cause": "cut", "from_ns": 4, "to_ns": None, "first_id": None,
    "last_id": None, "missing": -1, "exact": False, "state": "suspected", "filled_rows": 0,
    "closed_ns": None, "reason": None, "revision": 2,
}  # fmt: skip
INSTRUMENT = {
    "valid_from_ns": 7, "first_seen_ns": 6, "revision": 3, "exchange": "binance",
    "market_type": "spot", "venue_symbol": "BTCUSDT", "symbol": "BTCUSDT", "base": "BTC",
    "quote": "USDT", "coin": "BTC", "unit": 1, "contract_value": "1", "price_exponent": 0,
    "status": "trading", "krw_upbit": True, "krw_bithumb": False, "volume_quote": 1.0,
}  # fmt: skip
END = Cursor(1, 100)


class Tables:
    """Answers with one row each, after so many failures."""

    def __init__(self, failures: int = 0) -> None:
        self.asked = 0
        self._failures = failures

    async def query_dicts(self, sql: str, params: Sequence[object] = ()) -> list[dict[str, Any]]:
        await trio.lowlevel.checkpoint()
        self.asked += 1
        if self._failures:
            self._failures -= 1
            raise ServerError("no database")
        return [dict(GAP if "feed_gaps" in sql else INSTRUMENT)]


def spooled(*trades: int) -> Standings:
    """Where the records of an earlier run say that one symbol stood."""
    drive = Drive(parse_binance.SPOT, "BTCUSDT")
    intake = drive.intake
    intake.feed(b"".join(trade_frame(number) for number in trades), NOW_NS)
    payload, _, _ = drive.rows.take()
    standings = Standings([1])
    standings.applied([Record(table=1, feed=1, rows=len(trades), payload=payload)])
    return standings


def progress() -> dict[str, TableProgress]:
    return {name: TableProgress(number, name) for name, number in TABLES.items()}


async def test_the_tables_are_read_when_the_replay_is_applied(autojump_clock: MockClock) -> None:
    rig, tables, sql = Rig(feed_spec(), ["BTCUSDT"]), progress(), Tables()
    ends = {TABLES["feed_gaps"]: END, TABLES["trades"]: END}
    past = Past(sql, tables, ends, rig.ledger, standings=Standings([1]))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(past.run)
        await past.known(30)
        assert trio.current_time() == 30
        assert sql.asked == 0
        past.resume(rig.feed)  # capture does not wait for it
        assert past.instruments_of("binance_spot") == []
        tables["feed_gaps"].accept(END, Counter(), Counter())
        tables["feed_gaps"].applied = END
    assert [gap.gap_id for gap in rig.ledger.open_gaps()] == ["old"]
    (state,) = past.instruments_of("binance_spot")
    assert (state.revision, state.first_seen_ns, state.instrument.krw_upbit) == (3, 6, True)
    assert past.instruments_of("okx_spot") == []


async def test_a_database_that_does_not_answer_is_asked_again(autojump_clock: MockClock) -> None:
    rig, sql = Rig(feed_spec(), ["BTCUSDT"]), Tables(failures=3)
    past = Past(sql, progress(), {}, rig.ledger, standings=Standings([1]))
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(past.run)
            await past.known(60)
    assert trio.current_time() < 60
    assert sum(line["event"] == "past_not_read" for line in logs) == 3
    assert rig.ledger.is_loaded


@pytest.mark.parametrize("is_late", [False, True])
async def test_a_feed_goes_on_where_the_spool_says_that_it_stood(
    autojump_clock: MockClock, is_late: bool
) -> None:
    rig = Rig(feed_spec(), ["BTCUSDT", "ETHUSDT"])
    standings = spooled(1, 2, 5)
    standings.applied([alive_record({1: rig.clock.wall_ns() - 10**9})])
    past = Past(Tables(), progress(), {}, rig.ledger, standings=standings)
    if is_late:
        past.resume(rig.feed)
    await past.run()
    if not is_late:
        past.resume(rig.feed)
    seen_from, seen_to, _, missing = rig.feed.table.position(0)
    assert (seen_from, seen_to, missing) == (1, 5, [(3, 4)])
    new = [gap for gap in rig.ledger.open_gaps() if gap.gap_id != "old"]
    # The outage, and missing ids of before it whose own row the table here does not have.
    assert sorted((gap.symbol, gap.cause, gap.first_id, gap.last_id) for gap in new) == [
        ("BTCUSDT", "restart", 3, 4), ("BTCUSDT", "restart", 6, 0),
    ]  # fmt: skip


class Shelf(Tables):
    """Answers each question with rows of its own."""

    def __init__(self, **rows: list[dict[str, Any]]) -> None:
        super().__init__()
        self.rows = rows
        self.params: list[Sequence[object]] = []

    async def query_dicts(self, sql: str, params: Sequence[object] = ()) -> list[dict[str, Any]]:
        await trio.lowlevel.checkpoint()
        self.params.append(params)
        for name, word in (
            ("gaps", "feed_gaps"), ("newest", "newest_ns"), ("stored", "last_ns"),
        ):  # fmt: skip
            if word in sql:
                return self.rows.get(name, [])
        return self.rows.get("instruments", [])


def told(rig: Rig) -> dict[str, tuple[str, str]]:
    return {gap.gap_id: (gap.state, gap.reason) for gap in rig.side.ledger}


@pytest.mark.parametrize("is_late", [False, True])
async def test_a_hole_of_a_symbol_that_is_listed_no_more_can_be_asked_for(is_late: bool) -> None:
    """Its name is known from before; where it is not, nobody can bring it, and the row says so."""
    rig = Rig(feed_spec(), ["ETHUSDT"])
    shelf = Shelf(
        gaps=[dict(GAP), {**GAP, "gap_id": "nameless", "opened_ns": 6, "symbol": "GONEUSDT"}],
        instruments=[dict(INSTRUMENT)],
    )
    past = Past(shelf, progress(), {}, rig.ledger, standings=spooled(1, 2))
    if is_late:
        past.resume(rig.feed)
    await past.run()
    if not is_late:
        past.resume(rig.feed)
    assert rig.feed.venue_symbol("BTCUSDT") == "BTCUSDT"
    assert "BTCUSDT" not in rig.feed.coverage.wanted
    position = rig.feed.position("BTCUSDT")
    assert position is not None
    assert position[:2] == (1, 2)
    [old] = [gap for gap in rig.ledger.open_gaps() if gap.gap_id == "old"]
    assert 0 < old.to_ns <= rig.clock.wall_ns()  # it cannot grow any more
    assert told(rig)["nameless"] == ("lost", UNNAMED)


@pytest.mark.parametrize("is_late", [False, True])
async def test_a_hole_of_any_symbol_becomes_one_of_each(is_late: bool) -> None:
    """What passed since the newest rows is asked for; what the spool alone held is lost."""
    rig = Rig(feed_spec(), ["BTCUSDT", "ETHUSDT"])
    stored = [
        {"exchange": "binance", "market_type": "spot", "symbol": symbol, "last_ns": 40 + number}
        for number, symbol in enumerate(["BTCUSDT", "ETHUSDT"])
    ]
    shelf = Shelf(
        gaps=[{**GAP, "symbol": "*", "cause": "spool_damage", "opened_ns": 50, "to_ns": 50}],
        newest=[{"newest_ns": 45}], stored=stored,
    )  # fmt: skip
    standings = Standings([1])
    standings.is_lost = True
    past = Past(shelf, progress(), {}, rig.ledger, standings=standings)
    if is_late:
        past.resume(rig.feed)
    await past.run()
    if not is_late:
        past.resume(rig.feed)
    holes = rig.ledger.open_gaps()
    assert sorted((gap.symbol, gap.cause, gap.from_ns) for gap in holes) == [
        ("BTCUSDT", "restart", 40), ("ETHUSDT", "restart", 41),
    ]  # fmt: skip
    assert [state for state in told(rig).values() if state == ("lost", UNREADABLE)]
    assert not any(gap.symbol == "*" for gap in holes)
    assert shelf.params[-1] == [0, 50]  # rows of this run are no evidence

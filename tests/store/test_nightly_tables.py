"""The nightly line's figures as a real server gives them, and the chain read back from it."""

from __future__ import annotations

import pytest

from pumpwatch.moments import iso_ns
from pumpwatch.store.ilp_client import IlpClient
from pumpwatch.store.nightly import (
    OPERATION,
    PROOFS_SQL,
    Nightly,
    Upshot,
    broken_links,
    own_hash,
    read_day,
)
from pumpwatch.store.operations import DirectSink, OperationLog
from pumpwatch.store.partitions import DAY_NS, HOUR_NS, NS_PER_S, wait_applied
from pumpwatch.store.schema import apply_schema
from pumpwatch.store.server import ServerAddress
from pumpwatch.store.sql import Sql
from tests.store.upkeep import TODAY_NS, FixedClock, add_event, add_trades

pytestmark = pytest.mark.questdb
UPSHOT = Upshot(backup="b verified", is_backup_good=True, disk_days_left=None)
DAY_START_NS = TODAY_NS - DAY_NS


async def add_gap(
    sql: Sql, name: str, state: str, missing: int, from_ns: int | None, to_ns: int | None
) -> None:
    spans = [f"'{iso_ns(at)}'" if at is not None else "null" for at in (from_ns, to_ns)]
    await sql.execute(
        "INSERT INTO feed_gaps (opened_at, gap_id, exchange, market_type, symbol, cause, from_ts,"
        f" to_ts, missing, state, revision) VALUES ('{iso_ns(DAY_START_NS + HOUR_NS)}', '{name}',"
        f" 'okx', 'spot', 'BTCUSDT', 'cut', {spans[0]}, {spans[1]}, {missing}, '{state}', 1)"
    )
    await wait_applied(sql, "feed_gaps")


@pytest.fixture
async def tables(empty_database: Sql) -> Sql:
    await apply_schema(empty_database, spool_is_empty=lambda: True)
    return empty_database


async def test_a_days_figures(tables: Sql) -> None:
    await add_trades(tables, DAY_START_NS - 2 * NS_PER_S, rows=10, step_ns=NS_PER_S)  # 8 of the day
    noon_ns = DAY_START_NS + 12 * HOUR_NS
    await add_gap(tables, "a", "filled", 5, noon_ns, noon_ns + 1)
    await add_gap(tables, "b", "empty", 0, DAY_START_NS - HOUR_NS, DAY_START_NS + 1)
    await add_gap(tables, "c", "lost", 7, None, noon_ns)  # by when it was opened
    await add_gap(tables, "d", "suspected", -1, DAY_START_NS - 5 * DAY_NS, None)  # still open
    await add_gap(tables, "e", "lost", 99, TODAY_NS, TODAY_NS + 1)  # of today
    await add_gap(tables, "f", "lost", 99, DAY_START_NS - 9, DAY_START_NS - 1)  # of the day before
    await add_event(tables, noon_ns, "PEPE")
    await add_event(tables, TODAY_NS, "AVA", notice="2")
    await wait_applied(tables, "listing_events")
    found = await read_day(tables, DAY_START_NS, UPSHOT)
    assert (found.day, found.trades) == (iso_ns(DAY_START_NS)[:10], 8)
    assert (found.gaps, found.filled, found.missing, found.unknown) == (4, 2, 7, 1)
    assert (found.windows, found.windows_complete) == (1, 1)
    assert not found.is_good


async def test_the_chain_goes_on_over_a_restart(tables: Sql, questdb_server: ServerAddress) -> None:
    await add_trades(tables, DAY_START_NS, rows=3, step_ns=DAY_NS)
    clock = FixedClock(TODAY_NS + 4 * HOUR_NS)
    sender = IlpClient(questdb_server)
    for _ in range(3):
        made = Nightly(
            tables, OperationLog(DirectSink(sender), clock), clock,
            daily_of_day_ns=3 * HOUR_NS, upshot=lambda: UPSHOT,
        )  # fmt: skip
        assert len(await made.run()) == 1
        assert await made.run() == []
        await wait_applied(tables, "operations")
        clock.now_ns += DAY_NS
    await sender.aclose()
    lines = [str(row[3]) for row in await tables.query(PROOFS_SQL, (OPERATION,))]
    assert broken_links(lines) == []
    assert len({own_hash(line) for line in lines} - {""}) == 3

"""A database with a month and more in it, made before the daemon starts, and read again by day."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import trio

from pumpwatch.clock import SystemClock
from pumpwatch.config import Config
from pumpwatch.drills.stage import SERVER_HEAP_MIB, DaemonProcess
from pumpwatch.moments import iso_ns
from pumpwatch.store.embedded import hold_data_dir, run_server
from pumpwatch.store.partitions import DAY_NS, HOUR_NS, NS_PER_S, wait_applied
from pumpwatch.store.schema import apply_schema
from pumpwatch.store.scratch_server import QUERY_S_MAX
from pumpwatch.store.server import running_address
from pumpwatch.store.sql import Sql

SYMBOL = "MONTHSUSDT"  # no venue of the simulator lists it
COIN = "MONTHS"
HOURS_PER_STATEMENT = 120
BURST_S = 100  # of each hour, in which its rows lie: else there were as many bars as trades
# In equal steps; ids follow the time, prices and sizes are by chance.
FILL_SQL = (
    "INSERT INTO trades SELECT t::timestamp_ns, 'okx', 'spot', '{symbol}',"
    " rnd_symbol('buy', 'sell'), round(rnd_double() * 1000, 2), round(rnd_double(), 4),"
    " concat('m', {start} / 1000000000, '-', x), x, (t + 5000000)::timestamp_ns, 'stream', null"
    " FROM (SELECT x, {start} + (x - 1) / {per_hour} * {hour} + (x - 1) % {per_hour} * {step} t"
    " FROM long_sequence({rows}, {seed}, 7))"
)
DAYS_SQL = (
    "SELECT timestamp_floor('d', timestamp)::long, count() FROM trades WHERE symbol = %s"
    " GROUP BY timestamp_floor('d', timestamp)"
)


@asynccontextmanager
async def database_before(config: Config) -> AsyncIterator[Sql]:
    """The data_dir's own database with its tables, ended in order with the block."""
    with hold_data_dir(config.data_dir):
        async with trio.open_nursery() as nursery:
            server = await nursery.start(
                partial(run_server, config, SystemClock(), heap_mib=SERVER_HEAP_MIB)
            )
            sql = Sql(server.address, timeout_s=QUERY_S_MAX)
            try:
                await apply_schema(sql, spool_is_empty=lambda: True)
                yield sql
            finally:
                with trio.move_on_after(5, shield=True):
                    await sql.aclose()
            nursery.cancel_scope.cancel()


async def fill_days(sql: Sql, from_ns: int, to_ns: int, *, rows_per_hour: int, seed: int) -> int:
    """Rows of ``SYMBOL`` at the beginning of every hour of [from, to); returns how many."""
    step_ns = BURST_S * NS_PER_S // rows_per_hour
    span_ns = HOURS_PER_STATEMENT * HOUR_NS
    for start_ns in range(from_ns, to_ns, span_ns):
        hours = (min(start_ns + span_ns, to_ns) - start_ns) // HOUR_NS
        await sql.execute(
            FILL_SQL.format(
                start=start_ns, step=step_ns, per_hour=rows_per_hour, hour=HOUR_NS, symbol=SYMBOL,
                rows=hours * rows_per_hour, seed=seed,
            )
        )  # fmt: skip
        await wait_applied(sql, "trades")
    return (to_ns - from_ns) // HOUR_NS * rows_per_hour


async def add_listing(sql: Sql, at_ns: int) -> None:
    """An announcement of ``COIN``, with a hole of the same day in the ledger."""
    at, seen = iso_ns(at_ns), iso_ns(at_ns + NS_PER_S)
    await sql.execute(
        "INSERT INTO listing_events (detected_at, source, notice_id, symbol, announced_at, state,"
        f" revision) VALUES ('{seen}', 'upbit', '1', '{COIN}', '{at}', 'complete', 1)"
    )
    await sql.execute(
        "INSERT INTO instruments (valid_from, exchange, market_type, venue_symbol, symbol, base,"
        f" quote, coin, revision) VALUES ('{at}', 'okx', 'spot', 'MONTHS-USDT', '{SYMBOL}',"
        f" '{COIN}', 'USDT', '{COIN}', 1)"
    )
    await sql.execute(
        "INSERT INTO feed_gaps (opened_at, gap_id, exchange, market_type, symbol, cause, from_ts,"
        f" to_ts, missing, state, revision) VALUES ('{at}', 'old-1', 'okx', 'spot', '{SYMBOL}',"
        f" 'cut', '{at}', '{seen}', 0, 'empty', 1)"
    )
    for table in ("listing_events", "instruments", "feed_gaps"):
        await wait_applied(sql, table)


async def rows_by_day(daemon: DaemonProcess) -> dict[int, int]:
    """Of ``SYMBOL``: beginning of the day -> rows."""
    found = await ask(daemon, DAYS_SQL, SYMBOL)
    return {int(day): int(rows) for day, rows in found}  # type: ignore[call-overload]


async def ask(daemon: DaemonProcess, question: str, *values: object) -> list[tuple[object, ...]]:
    """A question to the daemon's database."""
    sql = Sql(running_address(daemon.config), timeout_s=QUERY_S_MAX)
    try:
        return await sql.query(question, values)
    finally:
        with trio.move_on_after(5, shield=True):
            await sql.aclose()


def day_of(now_ns: int, days_back: int) -> int:
    """The beginning of that UTC day."""
    return now_ns // DAY_NS * DAY_NS - days_back * DAY_NS

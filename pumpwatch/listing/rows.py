"""What the tables have of a window: rows in pieces, bars, instruments of a coin, the ledger."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import polars as pl
import trio

from pumpwatch.model import Gap, InstrumentState
from pumpwatch.store.gap_rows import COLUMNS as GAP_COLUMNS
from pumpwatch.store.gap_rows import read_gap
from pumpwatch.store.instrument_rows import LATEST_SQL, read_state
from pumpwatch.store.partitions import SqlAccess
from pumpwatch.store.sql import Sql

ROWS_MAX = 50_000  # of one piece
HOUR_NS = 3600 * 10**9
ORDER = ("timestamp", "exchange", "market_type", "symbol", "sequence_number", "trade_id")
ROW_SQL = (
    "SELECT timestamp::long AS timestamp, exchange, market_type, symbol, side, price, quantity,"
    " trade_id, sequence_number, received_at::long AS received_at, origin, kind FROM {}"
    " WHERE timestamp >= cast(%s AS TIMESTAMP_NS) AND timestamp < cast(%s AS TIMESTAMP_NS)"
    " AND symbol IN ({}) ORDER BY timestamp LIMIT {}"
)
BARS_SQL = (
    "SELECT timestamp::long AS timestamp, exchange, market_type, symbol, open, high, low, close,"
    " volume, trade_count, buy_volume FROM trades_1s"
    " WHERE timestamp >= cast(%s AS TIMESTAMP_NS) AND timestamp < cast(%s AS TIMESTAMP_NS)"
    " AND symbol IN ({}) {} ORDER BY timestamp, exchange, market_type, symbol"
)
FEED_SQL = "AND exchange = %s AND market_type = %s"
GAPS_SQL = (
    f"SELECT {GAP_COLUMNS} FROM feed_gaps WHERE symbol IN ({{}})"
    " AND (from_ts IS NULL OR from_ts < cast(%s AS TIMESTAMP_NS))"
    " AND (to_ts IS NULL OR to_ts >= cast(%s AS TIMESTAMP_NS))"
)
COIN_SQL = LATEST_SQL.replace(" LATEST ON", " WHERE coin = %s LATEST ON")
SCHEMA: dict[str, Any] = {
    "timestamp": pl.Int64, "exchange": pl.String, "market_type": pl.String, "symbol": pl.String,
    "side": pl.String, "price": pl.Float64, "quantity": pl.Float64, "trade_id": pl.String,
    "sequence_number": pl.Int64, "received_at": pl.Int64, "origin": pl.String, "kind": pl.String,
}  # fmt: skip
BAR_SCHEMA: dict[str, Any] = {
    "timestamp": pl.Int64, "exchange": pl.String, "market_type": pl.String, "symbol": pl.String,
    "open": pl.Float64, "high": pl.Float64, "low": pl.Float64, "close": pl.Float64,
    "volume": pl.Float64, "trade_count": pl.Int64, "buy_volume": pl.Float64,
}  # fmt: skip


def _places(values: Sequence[str]) -> str:
    return ", ".join(["%s"] * len(values))


async def read_pieces(
    sql: SqlAccess, symbols: Sequence[str], from_ns: int, to_ns: int,
    names: Mapping[tuple[str, str], str], *, table: str = "trades", rows_max: int = ROWS_MAX,
) -> AsyncIterator[pl.DataFrame]:  # fmt: skip
    """Rows in canonical order, at most about ``rows_max`` at a time. Raises ServerError.

    ``names``: what a feed calls a symbol, by (feed, symbol). A piece never ends within an instant:
    rows of its last one are left to the next piece, unless there is nothing else.
    """
    if not symbols:
        return
    limit = rows_max
    while from_ns < to_ns:
        rows = await sql.query(
            ROW_SQL.format(table, _places(symbols), limit), [from_ns, to_ns, *symbols]
        )
        is_last = len(rows) < limit
        if not is_last:
            last_ns = rows[-1][0]
            rows = [row for row in rows if row[0] < last_ns]
            if not rows:
                limit *= 2
                continue
            from_ns = last_ns
        limit = rows_max
        if rows:
            yield await trio.to_thread.run_sync(_frame, rows, names)
        if is_last:
            return


def _frame(rows: Sequence[tuple[Any, ...]], names: Mapping[tuple[str, str], str]) -> pl.DataFrame:
    frame = pl.DataFrame(rows, schema=SCHEMA, orient="row").sort(ORDER)
    known = pl.DataFrame(
        [(*feed.split("_"), symbol, name) for (feed, symbol), name in names.items()],
        schema=dict.fromkeys(("exchange", "market_type", "symbol", "venue_symbol"), pl.String),
        orient="row",
    )
    frame = frame.join(
        known, on=["exchange", "market_type", "symbol"], how="left", maintain_order="left"
    )
    return frame.with_columns(
        pl.col(name).cast(pl.Datetime("ns", "UTC")) for name in ("timestamp", "received_at")
    )


async def read_bars(
    sql: SqlAccess, symbols: Sequence[str], from_ns: int, to_ns: int, *, feed: str = ""
) -> AsyncIterator[pl.DataFrame]:
    """1-second bars of the view, an hour at a time; ``feed``: of that one. Raises ServerError."""
    if not symbols:
        return
    question = BARS_SQL.format(_places(symbols), FEED_SQL if feed else "")
    named = feed.split("_") if feed else []
    for hour_ns in range(from_ns, to_ns, HOUR_NS):
        end_ns = min(hour_ns + HOUR_NS, to_ns)
        rows = await sql.query(question, [hour_ns, end_ns, *symbols, *named])
        if rows:
            frame = pl.DataFrame(rows, schema=BAR_SCHEMA, orient="row")
            yield frame.with_columns(pl.col("timestamp").cast(pl.Datetime("ns", "UTC")))


async def read_coin(sql: Sql, coin: str) -> list[InstrumentState]:
    """The latest state of every instrument that any feed has of a coin. Raises ServerError."""
    return [read_state(row) for row in await sql.query_dicts(COIN_SQL, (coin,))]


async def read_window_gaps(sql: Sql, symbols: Sequence[str], from_ns: int, to_ns: int) -> list[Gap]:
    """Rows of the ledger that touch a span, of these symbols or of all. Raises ServerError."""
    wanted = [*symbols, "*"]
    question = GAPS_SQL.format(_places(wanted))
    return [read_gap(row) for row in await sql.query_dicts(question, [*wanted, to_ns, from_ns])]


def touches(gap: Gap, from_ns: int, to_ns: int) -> bool:
    """Whether rows that it misses may lie in a span."""
    low_ns, high_ns = min(gap.from_ns, gap.to_ns or gap.from_ns), max(gap.from_ns, gap.to_ns)
    return low_ns < to_ns and (not gap.to_ns or high_ns >= from_ns)

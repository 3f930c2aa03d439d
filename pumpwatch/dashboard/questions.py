"""The page's questions to the database: as the read-only user, with a deadline, and timed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import trio

from pumpwatch.dashboard.models import GapRow, TradeRow
from pumpwatch.dashboard.parameters import Span
from pumpwatch.moments import iso_ns
from pumpwatch.rates import TimesBySource
from pumpwatch.standing import GapStanding, ListingStanding, OperationStanding
from pumpwatch.store.sql import Sql

TRADE_COLUMNS = (
    "timestamp::long AS timestamp_ns, exchange, market_type, symbol, side, price, quantity,"
    " trade_id, sequence_number, received_at::long AS received_ns, origin, kind"
)
GAP_COLUMNS = (
    "opened_at::long AS opened_at, gap_id, exchange, market_type, symbol, cause,"
    " from_ts::long AS from_ts, to_ts::long AS to_ts, first_id, last_id, missing, exact, state,"
    " filled_rows, closed_at::long AS closed_at, reason"
)
LISTING_COLUMNS = (
    "source, notice_id, symbol, title, url, announced_at::long AS announced_at,"
    " detected_at::long AS detected_at, trigger_delay_ms, state, collected_trades,"
    " exchanges_with_data, certificate"
)
RECENT_NS = 3600 * 10**9  # a symbol that does not exist must not make the server read a month
SYMBOLS_MAX = 64


class Questions:
    """Every method raises ServerError when the database does not answer in time."""

    def __init__(self, sql: Sql, times: TimesBySource) -> None:
        self._sql = sql
        self._times = times

    async def _ask(self, sql: str, params: Sequence[object] = ()) -> list[dict[str, Any]]:
        started_s = trio.current_time()
        rows = await self._sql.query_dicts(sql, params)
        self._times.note("sql", trio.current_time() - started_s)
        return rows

    async def recent(
        self,
        now_ns: int,
        *,
        limit: int,
        exchange: str | None,
        market_type: str | None,
    ) -> list[TradeRow]:
        """The newest trades of the last hour, of whatever symbol, newest first."""
        conditions = ["timestamp >= cast(%s AS TIMESTAMP_NS)"]
        params: list[object] = [now_ns - RECENT_NS]
        for column, value in (("exchange", exchange), ("market_type", market_type)):
            if value is not None:
                conditions.append(f"{column} = %s")
                params.append(value)
        rows = await self._ask(
            f"SELECT {TRADE_COLUMNS} FROM trades WHERE {' AND '.join(conditions)}"
            " ORDER BY timestamp DESC LIMIT %s",
            [*params, limit],
        )
        return [_trade(row) for row in rows]

    async def rows_by_feed(self, symbols: Sequence[str], span: Span) -> dict[str, int]:
        """How many rows each feed has of some symbols in a span."""
        if not symbols:
            return {}
        places = ", ".join(["%s"] * len(symbols))
        rows = await self._ask(
            "SELECT exchange, market_type, count() AS rows FROM trades"
            " WHERE timestamp >= cast(%s AS TIMESTAMP_NS)"
            f" AND timestamp < cast(%s AS TIMESTAMP_NS) AND symbol IN ({places})",
            [span.from_ns, span.to_ns, *symbols],
        )
        return {f"{row['exchange']}_{row['market_type']}": int(row["rows"]) for row in rows}

    async def symbols_of(self, coin: str) -> list[str]:
        """The symbols whose underlying coin it is, on any feed: PEPE -> 1000PEPEUSDT, PEPEUSDT."""
        rows = await self._ask(
            "SELECT DISTINCT symbol FROM instruments WHERE coin = %s ORDER BY symbol LIMIT %s",
            [coin, SYMBOLS_MAX],
        )
        return [str(row["symbol"]) for row in rows]

    async def gaps(
        self,
        *,
        limit: int,
        states: Sequence[str],
        exchange: str | None = None,
        market_type: str | None = None,
        symbol: str | None = None,
    ) -> list[GapRow]:
        """Rows of the ledger, newest first."""
        conditions = [f"state IN ({', '.join(['%s'] * len(states))})"]
        params: list[object] = list(states)
        for column, value in (
            ("exchange", exchange), ("market_type", market_type), ("symbol", symbol),
        ):  # fmt: skip
            if value is not None:
                conditions.append(f"{column} = %s")
                params.append(value)
        rows = await self._ask(
            f"SELECT {GAP_COLUMNS} FROM feed_gaps WHERE {' AND '.join(conditions)}"
            " ORDER BY opened_at DESC LIMIT %s",
            [*params, limit],
        )
        return [_gap(row) for row in rows]

    async def gap_counts(self, states: Sequence[str], since_ns: int = 0) -> dict[str, int]:
        """How many rows of the ledger each feed has in some states."""
        rows = await self._ask(
            "SELECT exchange, market_type, count() AS gaps FROM feed_gaps"
            f" WHERE state IN ({', '.join(['%s'] * len(states))})"
            " AND opened_at >= cast(%s AS TIMESTAMP_NS)",
            [*states, since_ns],
        )
        return {f"{row['exchange']}_{row['market_type']}": int(row["gaps"]) for row in rows}

    async def listings(self, limit: int) -> list[ListingStanding]:
        """Announced coins, newest first."""
        rows = await self._ask(
            f"SELECT {LISTING_COLUMNS} FROM listing_events ORDER BY detected_at DESC LIMIT %s",
            [limit],
        )
        return [_listing(row) for row in rows]

    async def listing(self, source: str, notice_id: str, symbol: str) -> ListingStanding | None:
        """One of them; None: there is no such."""
        rows = await self._ask(
            f"SELECT {LISTING_COLUMNS} FROM listing_events"
            " WHERE source = %s AND notice_id = %s AND symbol = %s"
            " ORDER BY detected_at DESC LIMIT 1",
            [source, notice_id, symbol],
        )
        return _listing(rows[0]) if rows else None

    async def operations(self, limit: int) -> list[OperationStanding]:
        """What was done to the data, newest first."""
        rows = await self._ask(
            "SELECT started_at::long AS started_at, finished_at::long AS finished_at, operation,"
            " subject, result, detail FROM operations ORDER BY started_at DESC LIMIT %s",
            [limit],
        )
        return [
            OperationStanding(
                started_at=iso_ns(row["started_at"]),
                finished_at=_moment(row["finished_at"]),
                operation=row["operation"] or "",
                subject=row["subject"] or "",
                result=row["result"] or "",
                detail=row["detail"] or "",
            )
            for row in rows
        ]

    async def disk_bytes(self) -> int:
        """Size of all tables on the server's disk."""
        rows = await self._ask(
            "SELECT sum(diskSize) AS bytes FROM table_storage()",
        )
        return int(rows[0]["bytes"] or 0) if rows else 0


def gap_standing(row: GapRow) -> GapStanding:
    """What the page shows of a hole."""
    return GapStanding(
        gap_id=row.gap_id,
        feed=f"{row.exchange}_{row.market_type}",
        symbol=row.symbol,
        cause=row.cause,
        state=row.state,
        opened_at=row.opened_at,
        from_ts=row.from_ts,
        to_ts=row.to_ts,
        missing=row.missing,
    )


def _moment(moment_ns: int | None) -> str | None:
    return None if moment_ns is None else iso_ns(moment_ns)


def _trade(row: dict[str, Any]) -> TradeRow:
    row["timestamp"] = iso_ns(row.pop("timestamp_ns"))
    row["received_at"] = _moment(row.pop("received_ns"))
    return TradeRow(**row)


def _gap(row: dict[str, Any]) -> GapRow:
    for name in ("opened_at", "from_ts", "to_ts", "closed_at"):
        row[name] = _moment(row[name])
    for name in ("symbol", "cause", "state"):
        row[name] = row[name] or ""
    row["missing"] = -1 if row["missing"] is None else row["missing"]
    return GapRow(**row)


def _listing(row: dict[str, Any]) -> ListingStanding:
    certificate = row["certificate"]
    try:
        row["certificate"] = msgspec.json.decode(certificate, type=dict) if certificate else None
    except msgspec.DecodeError:
        row["certificate"] = None
    row["announced_at"] = _moment(row["announced_at"])
    row["detected_at"] = iso_ns(row["detected_at"])
    for name in ("title", "url", "state"):
        row[name] = row[name] or ""
    for name in ("collected_trades", "exchanges_with_data"):
        row[name] = row[name] or 0
    return ListingStanding(**row)

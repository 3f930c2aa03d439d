"""The windows of listings: read from listing_events, and copied before their hours go (R14)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import structlog

from pumpwatch.store.digest import EMPTY, Digest, digest, read_columns, where_span
from pumpwatch.store.partitions import (
    NS_PER_S,
    Partition,
    SqlAccess,
    read_partitions,
    wait_applied,
)
from pumpwatch.store.retention_plan import Window

log = structlog.get_logger()

KEPT_TABLE = "event_trades"
# A time comes as NULL where the board did not tell it: then the moment we saw it is the event.
EVENTS_SQL = (
    "SELECT source, notice_id, symbol, coalesce(announced_at, detected_at)::long"
    " FROM listing_events"
)
SYMBOLS_SQL = "SELECT DISTINCT coin, symbol FROM instruments"


class Bundles(Protocol):
    """What retention asks the listings' archive."""

    def is_verified(self, source: str, notice_id: str, symbol: str) -> bool:
        """Whether this event's bundle is complete on disk and its manifest was checked."""
        ...


class NoBundles:
    """Where no archive exists: no window is kept outside of the tables."""

    def is_verified(self, source: str, notice_id: str, symbol: str) -> bool:
        """Never."""
        return False


async def read_windows(
    sql: SqlAccess, bundles: Bundles, *, before_s: int, after_s: int
) -> list[Window]:
    """Of every listing that was ever seen. Raises ServerError."""
    symbols: dict[str, set[str]] = {}
    for coin, symbol in await sql.query(SYMBOLS_SQL):
        symbols.setdefault(str(coin), set()).add(str(symbol))
    return [
        Window(
            name=f"{source}/{notice_id}/{coin}",
            symbols=tuple(sorted(symbols.get(str(coin), ()))),
            from_ns=int(at_ns) - before_s * NS_PER_S,
            to_ns=int(at_ns) + after_s * NS_PER_S + 1,
            is_kept=bundles.is_verified(str(source), str(notice_id), str(coin)),
        )
        for source, notice_id, coin, at_ns in await sql.query(EVENTS_SQL)
    ]


async def copy_window(sql: SqlAccess, window: Window, partitions: Sequence[Partition]) -> bool:
    """Copy a window's rows of these partitions into ``event_trades``; True: all proved equal.

    The copy folds by DEDUP, so that it may be made again.
    """
    equal = True
    for partition in partitions:
        from_ns = max(window.from_ns, partition.start_ns)
        to_ns = min(window.to_ns, partition.end_ns)
        if from_ns >= to_ns:
            continue
        source = await _digest(sql, "trades", window.symbols, from_ns, to_ns)
        if source != await _digest(sql, KEPT_TABLE, window.symbols, from_ns, to_ns):
            await _copy(sql, window.symbols, from_ns, to_ns)
            copy = await _digest(sql, KEPT_TABLE, window.symbols, from_ns, to_ns)
            log.info("window_copied", window=window.name, partition=partition.name,
                     rows=source.rows, equal=copy == source)  # fmt: skip
            equal = equal and copy == source
    return equal


async def _digest(
    sql: SqlAccess, table: str, symbols: Sequence[str], from_ns: int, to_ns: int
) -> Digest:
    if not await read_partitions(sql, table):
        return EMPTY  # its WAL was never applied: there is nothing to ask
    columns = await read_columns(sql, table)
    return await digest(sql, columns, from_ns, to_ns, symbols=symbols)


async def _copy(sql: SqlAccess, symbols: Sequence[str], from_ns: int, to_ns: int) -> None:
    columns = await read_columns(sql, "trades")
    names = ", ".join(name for name, _ in columns.columns)
    places = ", ".join(["%s"] * len(symbols))
    narrowed = f" AND symbol IN ({places})" if symbols else ""
    await sql.execute(
        f"INSERT INTO {KEPT_TABLE} ({names}) SELECT {names} FROM trades"
        f"{where_span(columns.timestamp, from_ns, to_ns)}{narrowed}",
        tuple(symbols),
    )
    await wait_applied(sql, KEPT_TABLE)

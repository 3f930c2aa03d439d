"""listing_events, read: for the daemon's start and for the command line."""

from __future__ import annotations

from typing import Any

import trio

from pumpwatch.config import Config
from pumpwatch.listing.events import (
    EVENT_COLUMNS,
    EVENTS_SQL,
    TIME_COLUMNS,
    EventBook,
    ListingEvent,
    event_from_row,
)
from pumpwatch.moments import iso_ns
from pumpwatch.store.server import running_address
from pumpwatch.store.sql import Sql


async def load_events(sql: Sql) -> list[ListingEvent]:
    """All events, each in its newest revision, oldest detection first. Raises ServerError.

    To be asked after what was in the spool is applied: what lies there is newer than the table.
    """
    rows = await sql.query_dicts(f"{EVENTS_SQL} ORDER BY detected_at")
    return EventBook(event_from_row(row) for row in rows).all()


def read_rows(config: Config, *, symbol: str | None, limit: int) -> list[dict[str, Any]]:
    """Rows of the table, newest announcement first; keys are its columns, times ISO 8601 UTC.

    Blocking, for the command line. Raises ServerError where no database answers.
    """
    return trio.run(_read_rows, config, symbol, limit)


async def _read_rows(config: Config, symbol: str | None, limit: int) -> list[dict[str, Any]]:
    sql = Sql(running_address(config), readonly=True)
    where = " WHERE symbol = %s" if symbol is not None else ""
    try:
        rows = await sql.query_dicts(
            f"{EVENTS_SQL}{where} ORDER BY announced_at DESC, symbol LIMIT %s",
            (limit,) if symbol is None else (symbol, limit),
        )
    finally:
        with trio.move_on_after(1.0, shield=True):
            await sql.aclose()
    return [_readable(row) for row in rows]


def _readable(row: dict[str, Any]) -> dict[str, Any]:
    for name in TIME_COLUMNS:
        row[name] = None if row[name] is None else iso_ns(row[name])
    return {name: row[name] for name in EVENT_COLUMNS}

"""The ``trades`` verb: a window of the running database, as rows."""

from __future__ import annotations

from typing import Any

import trio

from pumpwatch.clock import SystemClock
from pumpwatch.config import Config
from pumpwatch.moments import iso_ns
from pumpwatch.rates import TimesBySource
from pumpwatch.store.server import running_address
from pumpwatch.store.sql import Sql
from pumpwatch.store.window_model import WindowQuestion
from pumpwatch.store.window_reader import Windows


def read_trades(config: Config, question: WindowQuestion, limit: int) -> list[dict[str, Any]]:
    """Trades of a window, oldest first; keys are the table's columns, times ISO 8601 text.

    Raises ServerError when no database answers.
    """
    return trio.run(_read, config, question, limit)


async def _read(config: Config, question: WindowQuestion, limit: int) -> list[dict[str, Any]]:
    sql = Sql(running_address(config), readonly=True)
    try:
        windows = Windows(sql, SystemClock(), TimesBySource())
        answer, _ = await windows.head(question, limit)
        return [_readable(row) for row in answer.trades.rows()[:limit]]
    finally:
        with trio.move_on_after(2, shield=True):
            await sql.aclose()


def _readable(row: dict[str, Any]) -> dict[str, Any]:
    del row["venue_symbol"]
    row["timestamp"] = iso_ns(row["timestamp"])
    row["received_at"] = None if row["received_at"] is None else iso_ns(row["received_at"])
    return row

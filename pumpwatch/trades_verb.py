"""The ``trades`` verb: a window of the running database, as rows."""

from __future__ import annotations

import sys
from typing import Any

import trio

from pumpwatch.clock import SystemClock
from pumpwatch.config import Config
from pumpwatch.daemon_client import ask_window
from pumpwatch.dashboard.parameters import LIMIT_MAX
from pumpwatch.errors import ServerError
from pumpwatch.moments import iso_ns
from pumpwatch.rates import TimesBySource
from pumpwatch.store.server import running_address
from pumpwatch.store.sql import Sql
from pumpwatch.store.window_model import WindowQuestion
from pumpwatch.store.window_reader import Windows

OLD_STORE = "pumpwatch: from the original's store (`migrate status`): nothing proves it complete\n"


def read_trades(config: Config, question: WindowQuestion, limit: int) -> list[dict[str, Any]]:
    """Trades of a window, oldest first; keys are the table's columns, times ISO 8601 text.

    While reads move from the original's store the running daemon is asked, as it knows the stage.
    Raises ServerError when no database answers.
    """
    if config.migration.shadow is not None and limit <= LIMIT_MAX and not question.feeds:
        try:
            answer = ask_window(config, question, limit)
        except ServerError:
            pass  # no daemon: the stage is nobody's, and the database is asked
        else:
            if answer["source"] == "old_store":
                sys.stderr.write(OLD_STORE)
            trades: list[dict[str, Any]] = answer["trades"]
            return trades
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

"""The quarantine for the command line: the table's rows, and the messages that are kept whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pumpwatch.config import Config
from pumpwatch.moments import iso_ns
from pumpwatch.store.message_files import kept_of
from pumpwatch.store.readonly import query
from pumpwatch.store.server import running_address

FOLDER = "quarantine"  # below data_dir


def read_kinds(config: Config, *, feed: str | None, limit: int) -> list[dict[str, Any]]:
    """Rows of the table, newest first, by column. Raises ServerError when no database answers."""
    params: list[Any] = []
    where = ""
    if feed is not None:
        exchange, _, market_type = feed.partition("_")
        where, params = " WHERE exchange = %s AND market_type = %s", [exchange, market_type]
    rows = query(
        running_address(config),
        "SELECT received_at::long AS received_at, exchange, market_type, reason, detail, messages,"
        f" rows, raw FROM quarantine{where} ORDER BY received_at DESC LIMIT %s",
        [*params, limit],
    )
    return [row | {"received_at": iso_ns(row["received_at"])} for row in rows]


def read_kept(config: Config, feed: str) -> Iterator[dict[str, Any]]:
    """One feed's messages as they came, oldest first. Raises OSError."""
    for message in kept_of(config.data_dir / FOLDER / feed):
        yield {
            "received_at": iso_ns(message.at_ns),
            "reason": message.reason,
            "detail": message.detail,
            "rows": message.rows,
            "raw": message.raw.decode("utf-8", "backslashreplace"),
        }

"""Answers: the trades of a symbol in a span of time, from the database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg.rows import dict_row

from pumpwatch.config import Config
from pumpwatch.errors import ServerError
from pumpwatch.store.server import ServerAddress, running_address

CONNECT_TIMEOUT_S = 5
COLUMNS = (
    "timestamp, exchange, market_type, symbol, side, price, quantity, trade_id, sequence_number,"
    " received_at, origin, kind"
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read_trades(
    config: Config, *, symbol: str, from_ns: int, to_ns: int, feed: str | None, limit: int
) -> list[dict[str, Any]]:
    """Trades with from_ns <= timestamp < to_ns, oldest first; keys are the table's columns.

    Blocking, for the command line. Times come back as ISO 8601 text with nine digits of a second.
    Raises ServerError when no database answers.
    """
    sql = (
        f"SELECT timestamp::long AS timestamp_ns, received_at::long AS received_ns, {COLUMNS}"
        " FROM trades WHERE timestamp >= cast(%s AS TIMESTAMP_NS)"
        " AND timestamp < cast(%s AS TIMESTAMP_NS) AND symbol = %s"
    )
    params: list[Any] = [from_ns, to_ns, symbol]
    if feed is not None:
        exchange, _, market_type = feed.partition("_")
        sql += " AND exchange = %s AND market_type = %s"
        params += [exchange, market_type]
    sql += " ORDER BY timestamp, exchange, market_type, sequence_number LIMIT %s"
    params.append(limit)
    return [_readable(row) for row in query(running_address(config), sql, params)]


def query(address: ServerAddress, sql: str, params: list[Any]) -> list[dict[str, Any]]:
    """Rows by column, asked as the user who may only read. Raises ServerError."""
    try:
        with (
            psycopg.connect(
                host=address.pg_host,
                port=address.pg_port,
                user=address.readonly_user,
                password=address.readonly_password,
                dbname="qdb",
                autocommit=True,
                connect_timeout=CONNECT_TIMEOUT_S,
            ) as connection,
            connection.cursor(row_factory=dict_row) as cursor,
        ):
            return cursor.execute(sql, params).fetchall()
    except psycopg.OperationalError as error:
        raise ServerError(
            f"no database answers on {address.pg_host}:{address.pg_port}"
            f" (is `pumpwatch run` running on this data_dir?): {' '.join(str(error).split())}"
        ) from error


def _readable(row: dict[str, Any]) -> dict[str, Any]:
    row["timestamp"] = iso_ns(row.pop("timestamp_ns"))
    received_ns = row.pop("received_ns")
    row["received_at"] = None if received_ns is None else iso_ns(received_ns)
    return row


def iso_ns(moment_ns: int) -> str:
    """Nanoseconds since 1970 as ``2026-01-31T13:00:00.123456789Z``."""
    seconds, rest_ns = divmod(moment_ns, 1_000_000_000)
    text = (EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{rest_ns:09d}Z"

"""One question to the database without an event loop, for the command line and tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg.rows import dict_row

from pumpwatch.errors import ServerError
from pumpwatch.store.server import ServerAddress

CONNECT_TIMEOUT_S = 5
COLUMNS = (
    "timestamp, exchange, market_type, symbol, side, price, quantity, trade_id, sequence_number,"
    " received_at, origin, kind"
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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


def iso_ns(moment_ns: int) -> str:
    """Nanoseconds since 1970 as ``2026-01-31T13:00:00.123456789Z``."""
    seconds, rest_ns = divmod(moment_ns, 1_000_000_000)
    text = (EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{rest_ns:09d}Z"

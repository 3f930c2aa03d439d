"""Rows into archive_trades as data frames, through QuestDB's own client.

The client and pandas are an extra (``pip install "pumpwatch[migrate]"``): a recorder needs neither.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from pumpwatch.errors import ServerError, UsageError
from pumpwatch.migrate.importer import ORIGIN, TABLE
from pumpwatch.migrate.legacy import LegacyRow
from pumpwatch.store.server import ServerAddress

SYMBOL_COLUMNS = ("exchange", "market_type", "symbol", "side", "origin", "kind")
RETRY_MS = 10_000


def check_client() -> None:
    """Raises UsageError where the extra is not installed."""
    try:
        import pandas  # noqa: F401
        import questdb  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f'migrate import needs {error.name}: pip install "pumpwatch[migrate]"'
        ) from error


def frame_of(rows: Sequence[LegacyRow]) -> Any:
    """A pandas frame with the table's columns; prices and quantities rounded to nearest doubles."""
    import pandas

    received = [row.received_ns or None for row in rows]
    frame = pandas.DataFrame(
        {
            "timestamp": pandas.Series([row.timestamp_ns for row in rows], dtype="int64").astype(
                "datetime64[ns]"
            ),
            "exchange": [row.exchange for row in rows],
            "market_type": [row.market_type for row in rows],
            "symbol": [row.symbol for row in rows],
            "side": [row.side for row in rows],
            "price": [float(row.price) for row in rows],
            "quantity": [float(row.quantity) for row in rows],
            "trade_id": [row.trade_id for row in rows],
            "sequence_number": [0] * len(rows),  # the original kept none
            "received_at": pandas.to_datetime(pandas.Series(received, dtype="Int64"), unit="ns"),
            "origin": [ORIGIN] * len(rows),
        }
    )
    if any(row.kind for row in rows):  # the client takes no column of which it sees no text
        frame["kind"] = [row.kind or None for row in rows]
    return frame


def frame_sender(address: ServerAddress) -> Callable[[Sequence[LegacyRow]], None]:
    """Sends rows as one request each; blocking. Raises ServerError (the rows may be sent again)."""
    import questdb

    url = urlsplit(address.http_url)
    scheme = "https" if url.scheme == "https" else "http"
    settings = {
        "addr": url.netloc, "username": address.user, "password": address.password,
        "auto_flush": "off", "retry_timeout": str(RETRY_MS),
    }  # fmt: skip
    # A semicolon in a value is written twice.
    text = "".join(f"{name}={value.replace(';', ';;')};" for name, value in settings.items())

    def send(rows: Sequence[LegacyRow]) -> None:
        try:
            with questdb.Sender.from_conf(f"{scheme}::{text}") as sender:
                frame = frame_of(rows)
                symbols = [name for name in SYMBOL_COLUMNS if name in frame]
                sender.dataframe(frame, table_name=TABLE, symbols=symbols, at="timestamp")
                sender.flush()
        except questdb.QuestDBError as error:
            raise ServerError(f"{TABLE}: {len(rows)} rows were not taken: {error}") from error

    return send

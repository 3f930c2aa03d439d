"""A running PumpWatch, asked as the user who can only read; its bundles lie in its data_dir."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl

from pumpwatch.config import Config
from pumpwatch.errors import UsageError
from pumpwatch.listing.archive import FOLDER
from pumpwatch.listing.bundle import bundle_name
from pumpwatch.listing.events import (
    EVENT_COLUMNS,
    EVENTS_SQL,
    EventBook,
    ListingEvent,
    event_from_row,
)
from pumpwatch.listing.evidence import Window
from pumpwatch.research.bundles import BundleFolder, events_frame, schema_of, unique_rows
from pumpwatch.research.columns import TRADES
from pumpwatch.research.place import EventRows
from pumpwatch.store.readonly import reading
from pumpwatch.store.server import running_address

SECOND_NS = 10**9
KEPT_NS = 3_600 * SECOND_NS  # around a window, as bundles keep it
TABLES = ("trades", "event_trades", "archive_trades")
COIN_SQL = (
    "SELECT DISTINCT exchange, market_type, symbol, venue_symbol, unit FROM instruments"
    " WHERE coin = %s"
)
ROWS_SQL = (
    "SELECT timestamp::long, received_at::long, exchange, market_type, symbol, price, quantity,"
    " side, trade_id, sequence_number, origin, kind FROM {table}"
    " WHERE timestamp >= cast(%s AS TIMESTAMP_NS) AND timestamp < cast(%s AS TIMESTAMP_NS)"
    " AND ({symbols}) ORDER BY timestamp"
)
ROW_SCHEMA: dict[str, Any] = {
    "timestamp": pl.Int64, "received_at": pl.Int64, "exchange": pl.String,
    "market_type": pl.String, "symbol": pl.String, "price": pl.Float64, "quantity": pl.Float64,
    "side": pl.String, "trade_id": pl.String, "sequence_number": pl.Int64, "origin": pl.String,
    "kind": pl.String,
}  # fmt: skip
COIN_SCHEMA: dict[str, Any] = {
    "exchange": pl.String, "market_type": pl.String, "symbol": pl.String,
    "venue_symbol": pl.String, "unit": pl.Int64,
}  # fmt: skip


class Instance:
    """Events of the table, with what their bundles add; trades of the tables."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._folder = BundleFolder(config.data_dir)

    def _has_bundles(self) -> bool:
        folder = self._config.data_dir / FOLDER
        return folder.is_dir() and any((one / "event.json").is_file() for one in folder.iterdir())

    def query(self, text: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """All rows. Raises ServerError, StatementError."""
        with reading(running_address(self._config)) as connection:
            return connection.execute(text.encode(), parameters).fetchall()

    # --- events -----------------------------------------------------------------------------------

    def events(self, since_ns: int | None, source: str | None) -> pl.DataFrame:
        """See ``research.events``; an event without a bundle is ``pending``."""
        bundles = self._folder.events(None, None) if self._has_bundles() else events_frame([])
        keys = set(bundles.select("source", "notice_id", "coin").iter_rows())
        rows = [self._row(event) for event in self._stored() if event.key not in keys]
        both = pl.concat([bundles, events_frame(rows)]).sort("at", "event_id")
        if since_ns is not None:
            both = both.filter(pl.col("at").cast(pl.Int64) >= since_ns)
        return both if source is None else both.filter(pl.col("source") == source)

    def _stored(self) -> list[ListingEvent]:
        rows = self.query(EVENTS_SQL)
        named = (dict(zip(EVENT_COLUMNS, row, strict=True)) for row in rows)
        return EventBook(event_from_row(row) for row in named).all()

    def _row(self, event: ListingEvent) -> dict[str, Any]:
        listing, at_ns = self._config.listing, event.announced_ns
        window = Window(
            kind="announcement", at_ns=at_ns, from_ns=at_ns - int(listing.before_s * SECOND_NS),
            to_ns=at_ns + int(listing.after_s * SECOND_NS),
        )  # fmt: skip
        return {
            "event_id": bundle_name(event.symbol, window), "source": event.source,
            "notice_id": event.notice_id, "coin": event.symbol, "kind": window.kind,
            "title": event.title, "at": at_ns, "from": window.from_ns, "to": window.to_ns,
            "announced_at": at_ns, "detected_at": event.detected_ns,
            "opening_at": event.opening_ns or None, "kept_to": None, "state": "pending",
            "revision": event.revision, "rows": event.collected_trades, "proven": 0, "covered": 0,
            "incomplete": 0, "archive": 0, "not_listed": 0, "bundle": None,
        }  # fmt: skip

    def _find(self, event_id: str, known: pl.DataFrame) -> dict[str, Any]:
        found = known.filter(pl.col("event_id") == event_id)
        if not len(found):
            found = known.filter(pl.col("coin") == event_id).tail(1)
        if not len(found):
            raise UsageError(f"{event_id}: no event of this name or coin; research.events() tells")
        moments = pl.col("at", "from", "to").cast(pl.Int64)
        return found.with_columns(moments).row(0, named=True)

    # --- rows -------------------------------------------------------------------------------------

    def trades(self, coin: str, from_ns: int, to_ns: int) -> pl.DataFrame:
        """What the tables hold; no row of it belongs to an event."""
        names = self.query(COIN_SQL, [coin])
        if not names:
            raise UsageError(f"{coin}: no feed ever had an instrument of this coin")
        symbols = sorted({row[2] for row in names})
        wanted = " OR ".join(["symbol = %s"] * len(symbols))
        rows = [
            row
            for table in TABLES
            for row in self.query(
                ROWS_SQL.format(table=table, symbols=wanted), [from_ns, to_ns, *symbols]
            )
        ]
        known = pl.DataFrame(names, schema=COIN_SCHEMA, orient="row").unique(
            ["exchange", "market_type", "symbol"], keep="last", maintain_order=True
        )
        frame = (
            pl.DataFrame(rows, schema=ROW_SCHEMA, orient="row")
            .join(known, on=["exchange", "market_type", "symbol"], how="inner")
            .with_columns(
                feed=pl.concat_str("exchange", "market_type", separator="_"),
                event_id=pl.lit(None), t_ms=pl.lit(None), certified=pl.lit(None),
                suspect=pl.lit(value=False),
            )
        )  # fmt: skip
        return unique_rows(
            frame.select(pl.col(name).cast(kind) for name, kind in schema_of(TRADES).items())
        )

    def window(self, event_id: str, *, kept: bool) -> pl.DataFrame:
        """Of its bundle where there is one, else what the tables hold of it by now."""
        return self._window(self._find(event_id, self.events(None, None)), kept=kept)

    def _window(self, event: dict[str, Any], *, kept: bool) -> pl.DataFrame:
        if event["bundle"] is not None:
            return self._folder.window(event["event_id"], kept=kept)
        low, at, high = event["from"], event["at"], event["to"]
        if kept:
            low, high = at - KEPT_NS, at + KEPT_NS
        rows = self.trades(event["coin"], low, high)
        moment = pl.col("timestamp").cast(pl.Int64)
        return rows.with_columns(
            event_id=pl.lit(event["event_id"]), t_ms=(moment - at) / 1_000_000
        ).select(pl.col(name).cast(kind) for name, kind in schema_of(TRADES).items())

    def scan(self, event_ids: Sequence[str] | None) -> pl.LazyFrame:
        """See ``research.scan``."""
        known = self.events(None, None)
        names = known["event_id"].to_list() if event_ids is None else event_ids
        parts = [one.rows for one in self._scan_each(names, known)]
        return pl.concat(parts) if parts else pl.LazyFrame(schema=schema_of(TRADES))

    def scan_each(self, event_ids: Sequence[str]) -> Iterator[EventRows]:
        """Event by event."""
        return self._scan_each(event_ids, self.events(None, None))

    def _scan_each(self, event_ids: Sequence[str], known: pl.DataFrame) -> Iterator[EventRows]:
        for name in event_ids:
            event = self._find(name, known)
            rows = self._window(event, kept=True).lazy()
            yield EventRows(event["event_id"], event["at"], rows)

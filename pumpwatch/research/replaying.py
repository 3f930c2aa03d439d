"""A window's rows in the order in which they came."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import polars as pl

ORDER = ("at_ns", "timestamp_ns", "exchange", "market_type", "symbol", "sequence_number",
         "trade_id")  # fmt: skip


class ReplayRow(NamedTuple):
    """One trade, and when it is to be told of."""

    at_ns: int  # our clock: it was received then, or would have been
    timestamp_ns: int  # the venue's
    feed: str
    exchange: str
    market_type: str
    symbol: str
    venue_symbol: str
    side: str
    price: float
    quantity: float  # base coins
    trade_id: str
    sequence_number: int
    kind: str | None
    origin: str
    is_timed: bool  # at_ns is when it was received; False: when the stream would have brought it


def in_receive_order(rows: pl.DataFrame) -> Iterator[ReplayRow]:
    """Rows as ``research.window`` gives them."""
    return map(ReplayRow._make, receive_order(rows).iter_rows())


def receive_order(rows: pl.DataFrame) -> pl.DataFrame:
    """The same as a frame: ReplayRow's columns."""
    traded, received = (pl.col(name).cast(pl.Int64) for name in ("timestamp", "received_at"))
    is_timed = (pl.col("origin") == "stream") & pl.col("received_at").is_not_null()
    lag = pl.when(is_timed).then(received - traded).median().over("feed").fill_null(0)
    return (
        rows.with_columns(
            timestamp_ns=traded,
            at_ns=pl.when(is_timed).then(received).otherwise(traded + lag.cast(pl.Int64)),
            is_timed=is_timed,
        )
        .sort(ORDER)
        .select(ReplayRow._fields)
    )

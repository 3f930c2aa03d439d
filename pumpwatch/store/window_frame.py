"""A window's rows as a polars data frame; a module of its own, as polars takes long to import."""

from __future__ import annotations

import polars

from pumpwatch._fast.parser import KIND_NAMES
from pumpwatch._fast.trade_rows import TradeRows
from pumpwatch._fast.window import ORIGIN_NAMES, SIDES

UTC_NS = polars.Datetime("ns", "UTC")


def frame(trades: TradeRows) -> polars.DataFrame:
    """The columns of ``trades`` in their order, then venue_symbol."""
    label = polars.Series(trades.label_numbers, dtype=polars.UInt32)
    received = polars.Series(trades.received_ns, dtype=polars.Int64)
    return polars.DataFrame(
        {
            "timestamp": polars.Series(trades.exchange_ns, dtype=polars.Int64).cast(UTC_NS),
            "exchange": _named(label, [one.exchange for one in trades.labels]),
            "market_type": _named(label, [one.market_type for one in trades.labels]),
            "symbol": _named(label, [one.symbol for one in trades.labels]),
            "side": _named(_bytes(trades.sells), list(SIDES)),
            "price": polars.Series(trades.prices, dtype=polars.Float64),
            "quantity": polars.Series(trades.quantities, dtype=polars.Float64),
            "trade_id": polars.Series(trades.trade_ids(), dtype=polars.String),
            "sequence_number": polars.Series(trades.sequence_numbers, dtype=polars.Int64),
            "received_at": received.replace(0, None).cast(UTC_NS),
            "origin": _named(_bytes(trades.origins), list(ORIGIN_NAMES)),
            "kind": _named(_bytes(trades.kinds), list(KIND_NAMES)),
            "venue_symbol": _named(label, [one.venue_symbol for one in trades.labels]),
        }
    )


def _bytes(column: memoryview[int]) -> polars.Series:
    return polars.Series(column.tolist(), dtype=polars.UInt32)


def _named(numbers: polars.Series, names: list[str] | list[str | None]) -> polars.Series:
    table = polars.Series(names, dtype=polars.String)
    return table.gather(numbers) if len(numbers) else polars.Series([], dtype=polars.String)

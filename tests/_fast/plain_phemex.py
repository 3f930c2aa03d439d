"""Phemex ``trades`` and ``trades_p`` read plainly (FEEDS.md section 8)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests._fast.plain_json import (
    LONG_MAX,
    MalformedError,
    Reading,
    Row,
    amount_text,
    in_years,
    integer_of,
    read_message,
    side_of,
    symbol_of,
    text_of,
)

TYPES = ("incremental", "snapshot")


def scaled_text(value: Any) -> str:
    """Spot's integers, without the scale."""
    return str(integer_of(value))


def row_of(row: Any, amount: Callable[[Any], str], symbol: str, sequence: int) -> Row:
    if not isinstance(row, list) or len(row) < 4:
        raise MalformedError("a row of too few items")
    return {
        "symbol": symbol,
        "side": side_of(row[1]),
        "price": amount(row[2]),
        "quantity": amount(row[3]),
        "exchange_ns": in_years(integer_of(row[0])),
        "trade_id": None,
        "order_id": 0,
        "range_first": 0,
        "sequence_number": sequence,
        "kind": None,
    }


def read(message: bytes, name: str, amount: Callable[[Any], str]) -> Reading:
    """The rows under ``name``, oldest first; a message may hold one snapshot and nothing else."""
    snapshots: list[bool] = []

    def rows_of(document: dict[str, Any]) -> list[Row]:
        if name not in document:
            return []
        rows = document[name]
        if not isinstance(rows, list):
            raise MalformedError("no array of rows")
        if not rows:
            return []
        kind = text_of(document.get("type", "incremental"))
        if kind not in TYPES:
            raise MalformedError(f"type {kind}")
        symbol = symbol_of(document.get("symbol"))
        sequence = integer_of(document.get("sequence"), LONG_MAX)
        snapshots.append(kind == "snapshot")
        if any(snapshots) and len(snapshots) > 1:
            raise MalformedError("a snapshot joined to other rows")
        return [row_of(row, amount, symbol, sequence) for row in reversed(rows)]

    status, _, rows = read_message(message, rows_of)
    return status, status == "trades" and any(snapshots), rows


def read_spot(message: bytes) -> Reading:
    """What the C parser of phemex_spot must say."""
    return read(message, "trades", scaled_text)


def read_futures(message: bytes) -> Reading:
    """What the C parser of phemex_futures must say."""
    return read(message, "trades_p", amount_text)

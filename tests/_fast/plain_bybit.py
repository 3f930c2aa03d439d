"""Bybit ``publicTrade`` read plainly (FEEDS.md section 4)."""

from __future__ import annotations

from typing import Any

from tests._fast.plain_ids import id_of
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


def flag_of(row: dict[str, Any], name: str) -> bool:
    value = row.get(name, False)
    if not isinstance(value, bool):
        raise MalformedError(f"{value!r} is neither true nor false")
    return value


def row_of(row: Any) -> Row:
    if not isinstance(row, dict):
        raise MalformedError("a row that is no object")
    is_block, is_rpi = flag_of(row, "BT"), flag_of(row, "RPI")
    return {
        "symbol": symbol_of(row.get("s")),
        "side": side_of(row.get("S")),
        "price": amount_text(row.get("p")),
        "quantity": amount_text(row.get("v")),
        "exchange_ns": in_years(integer_of(row.get("T")) * 10**6),
        "trade_id": id_of(row.get("i")),
        "order_id": 0,
        "range_first": 0,
        "sequence_number": integer_of(row["seq"], LONG_MAX) if "seq" in row else 0,
        "kind": "block" if is_block else "rpi" if is_rpi else None,
    }


def rows_of(document: dict[str, Any]) -> list[Row]:
    data = document.get("data")
    if "topic" not in document:
        if isinstance(data, list):
            raise MalformedError("rows of no topic")
        return []
    if not text_of(document["topic"]).startswith("publicTrade."):
        return []
    if not isinstance(data, list):
        raise MalformedError("data is no array")
    return [row_of(row) for row in data]


def read(message: bytes) -> Reading:
    """What the C parsers of both feeds must say."""
    return read_message(message, rows_of)

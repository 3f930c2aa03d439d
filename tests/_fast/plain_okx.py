"""OKX ``trades-all`` and ``trades`` read plainly (FEEDS.md section 5)."""

from __future__ import annotations

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

CHANNELS = ("trades", "trades-all")


def row_of(row: Any, *, is_merged: bool) -> Row:
    if not isinstance(row, dict):
        raise MalformedError("a row that is no object")
    number = integer_of(row.get("tradeId"), LONG_MAX)
    count = 1
    if is_merged and "count" in row:
        count = integer_of(row["count"])
        if not 1 <= count <= number:
            raise MalformedError(f"count {count} of id {number}")
    return {
        "symbol": symbol_of(row.get("instId")),
        "side": side_of(row.get("side")),
        "price": amount_text(row.get("px")),
        "quantity": amount_text(row.get("sz")),
        "exchange_ns": in_years(integer_of(row.get("ts")) * 10**6),
        "trade_id": str(number),
        "order_id": number,
        "range_first": number - count + 1 if count > 1 else 0,
        "sequence_number": number,
        "kind": None,
    }


def rows_of(document: dict[str, Any]) -> list[Row]:
    argument = document.get("arg")
    if "data" not in document:
        if not isinstance(argument, dict) or argument.get("channel") not in CHANNELS:
            return []
        if "event" in document:
            return []
        raise MalformedError("no data")
    if not isinstance(argument, dict):
        raise MalformedError("data of no channel")
    channel = text_of(argument.get("channel"))
    if channel not in CHANNELS:
        return []
    if not isinstance(document["data"], list):
        raise MalformedError("data is no array")
    return [row_of(row, is_merged=channel == "trades") for row in document["data"]]


def read(message: bytes) -> Reading:
    """What the C parsers of both feeds must say."""
    return read_message(message, rows_of, bare_words=("pong",))

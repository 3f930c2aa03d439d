"""Gate ``spot.trades`` and ``futures.trades`` read plainly (FEEDS.md section 7)."""

from __future__ import annotations

import re
from typing import Any

from tests._fast.plain_json import (
    LONG_MAX,
    Exact,
    MalformedError,
    Reading,
    Row,
    amount_text,
    integer_of,
    ns_of,
    read_message,
    side_of,
    symbol_of,
    text_of,
)


def time_ns(row: dict[str, Any]) -> int:
    if "create_time_ms" in row:
        return ns_of(row["create_time_ms"], 10**6)
    return ns_of(row.get("create_time"), 10**9)


def range_of(text: str) -> tuple[int, int]:
    if not re.fullmatch("[0-9]+-[0-9]+", text):
        raise MalformedError(f"{text!r} is no range")
    first, last = (integer_of(part) for part in text.split("-"))
    if first > last or (first < last and (first == 0 or last > LONG_MAX)):
        raise MalformedError(f"range {text}")
    return first, last


def spot_row(row: dict[str, Any]) -> Row:
    number = integer_of(row["id_market"], LONG_MAX) if "id_market" in row else 0
    range_first = 0
    if "range" in row:
        first, last = range_of(text_of(row["range"]))
        if first < last:
            range_first, number = first, last
        elif number == 0:
            number = integer_of(str(last), LONG_MAX)
    return {
        "symbol": symbol_of(row.get("currency_pair")),
        "side": side_of(row.get("side")),
        "price": amount_text(row.get("price")),
        "quantity": amount_text(row.get("amount")),
        "exchange_ns": time_ns(row),
        "trade_id": str(integer_of(row.get("id"))),
        "order_id": number,
        "range_first": range_first,
        "sequence_number": number,
        "kind": None,
    }


def futures_row(row: dict[str, Any]) -> Row:
    number = integer_of(row.get("id"), LONG_MAX)
    size = Exact(row.get("size"))
    if size.is_negative and not size.digits:
        raise MalformedError("-0 has no side")
    return {
        "symbol": symbol_of(row.get("contract")),
        "side": "sell" if size.is_negative else "buy",
        "price": amount_text(row.get("price")),
        "quantity": size.text,
        "exchange_ns": time_ns(row),
        "trade_id": str(number),
        "order_id": number,
        "range_first": 0,
        "sequence_number": number,
        "kind": "internal" if row.get("is_internal") is True else None,
    }


def rows_of(document: dict[str, Any], *, is_spot: bool) -> list[Row]:
    channel = "spot.trades" if is_spot else "futures.trades"
    if "channel" not in document or text_of(document["channel"]) != channel:
        return []
    if "event" not in document or text_of(document["event"]) != "update":
        return []
    if document.get("error") is not None:
        return []
    result = document.get("result")
    rows = [result] if isinstance(result, dict) else result
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise MalformedError("result is no row and no array of rows")
    return [spot_row(row) if is_spot else futures_row(row) for row in rows]


def read_spot(message: bytes) -> Reading:
    """What the C parser of gate_spot must say."""
    return read_message(message, lambda document: rows_of(document, is_spot=True))


def read_futures(message: bytes) -> Reading:
    """What the C parser of gate_futures must say."""
    return read_message(message, lambda document: rows_of(document, is_spot=False))

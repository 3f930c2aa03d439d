"""Binance ``@trade`` read plainly (FEEDS.md sections 2 and 3)."""

from __future__ import annotations

from typing import Any

from tests._fast.plain_json import (
    LONG_MAX,
    YEAR_2010_NS,
    YEAR_2100_NS,
    MalformedError,
    Reading,
    Row,
    amount_text,
    in_years,
    integer_of,
    read_message,
    symbol_of,
    text_of,
)

KINDS = {"INSURANCE_FUND": "insurance", "ADL": "adl", "NA": "na"}


def time_ns(value: Any) -> int:
    """Milliseconds, or microseconds where only these make a year of ours."""
    count = integer_of(value)
    if YEAR_2010_NS <= count * 10**6 < YEAR_2100_NS:
        return count * 10**6
    return in_years(count * 10**3)


def rows_of(document: dict[str, Any]) -> list[Row]:
    event = document
    if "e" not in document and isinstance(document.get("data"), dict):
        event = document["data"]
    if "e" not in event or text_of(event["e"]) != "trade":
        return []
    number = integer_of(event.get("t"), LONG_MAX)
    if not isinstance(event.get("m"), bool):
        raise MalformedError("no side")
    execution = event.get("X")
    return [
        {
            "symbol": symbol_of(event.get("s")),
            "side": "sell" if event["m"] else "buy",
            "price": amount_text(event.get("p")),
            "quantity": amount_text(event.get("q")),
            "exchange_ns": time_ns(event.get("T")),
            "trade_id": str(number),
            "order_id": number,
            "range_first": 0,
            "sequence_number": number,
            "kind": KINDS.get(execution) if isinstance(execution, str) else None,
        }
    ]


def read(message: bytes) -> Reading:
    """What the C parsers of both feeds must say."""
    return read_message(message, rows_of)

"""KuCoin classic ``match`` and ``execution`` read plainly (FEEDS.md section 6)."""

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


def row_of(row: Any, time_name: str) -> Row:
    if not isinstance(row, dict):
        raise MalformedError("data is no object")
    return {
        "symbol": symbol_of(row.get("symbol")),
        "side": side_of(row.get("side")),
        "price": amount_text(row.get("price")),
        "quantity": amount_text(row.get("size")),
        "exchange_ns": in_years(integer_of(row.get(time_name))),
        "trade_id": id_of(row.get("tradeId")),
        "order_id": 0,
        "range_first": 0,
        "sequence_number": integer_of(row.get("sequence"), LONG_MAX),
        "kind": None,
    }


def rows_of(document: dict[str, Any], topic: str, subject: str, time_name: str) -> list[Row]:
    is_ours = "subject" in document and text_of(document["subject"]) == subject
    if "topic" not in document:
        if is_ours:
            raise MalformedError("our subject without a topic")
        return []
    if not text_of(document["topic"]).startswith(topic):
        return []
    if not is_ours:
        raise MalformedError("our topic without our subject")
    return [row_of(document.get("data"), time_name)]


def read_spot(message: bytes) -> Reading:
    """What the C parser of kucoin_spot must say."""
    return read_message(
        message, lambda document: rows_of(document, "/market/match:", "trade.l3match", "time")
    )


def read_futures(message: bytes) -> Reading:
    """What the C parser of kucoin_futures must say."""
    return read_message(
        message, lambda document: rows_of(document, "/contractMarket/execution:", "match", "ts")
    )

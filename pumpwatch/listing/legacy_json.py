"""The original's JSON layout of an event: metadata.json and a list of trades per feed. Sans I/O.

Times are ms there; what they would lose stands beside them (timestamp_ns, received_ns).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from pumpwatch.listing.canonical import number_text
from pumpwatch.listing.events import MS_NS, ListingEvent
from pumpwatch.moments import iso_ns

RAW_HEAD, RAW_BETWEEN, RAW_TAIL = b"[", b",\n", b"]\n"


def raw_trade(row: Mapping[str, Any], trigger_ns: int) -> bytes:
    """One trade of raw/<exchange>_<market>.json; the row's times are ns."""
    received_ns = row["received_at"]
    return msgspec.json.encode(
        {
            "exchange": row["exchange"],
            "market_type": row["market_type"],
            "symbol": row["symbol"],
            "trade_id": row["trade_id"],
            "price": number_text(row["price"]),
            "quantity": number_text(row["quantity"]),
            "side": row["side"],
            "timestamp": row["timestamp"] // MS_NS,
            "collected_at": (received_ns or row["timestamp"]) // MS_NS,
            "trigger_time": trigger_ns // MS_NS,
            "timestamp_ns": row["timestamp"],
            "received_ns": received_ns,
            "sequence_number": row["sequence_number"],
            "origin": row["origin"],
            "kind": row["kind"],
        }
    )


def metadata(event: ListingEvent, trigger_ns: int, stored_ns: int) -> bytes:
    """metadata.json; ``stored_ns`` is the window's end: the same input gives the same bytes."""
    announced = iso_ns(event.announced_ns)
    document = {
        "symbol": event.symbol,
        "title": event.title,
        "markets": ["KRW"],
        "announced_at": announced,
        "detected_at": iso_ns(event.detected_ns),
        "notice_url": event.url,
        "trigger_time": iso_ns(trigger_ns),
        "is_krw_listing": True,
        "stored_at": iso_ns(stored_ns),
    }
    return msgspec.json.format(msgspec.json.encode(document)) + b"\n"

"""The canonical form of a window's rows (R4), and numbers as text. Sans I/O.

One line a row: timestamp in ns, exchange, market_type, symbol, trade_id, side, price, quantity,
sequence_number, parted by tabs, ended by a line feed. The lines of a feed stand in the order of
timestamp, symbol, sequence_number, trade_id (as bytes). What a row came by (received_at, origin,
kind) is no part of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any


@lru_cache(maxsize=65_536)
def number_text(value: float) -> str:
    """A double in full, shortest digits that read back the same: no exponent, no zeros behind."""
    text = repr(value)
    if "e" in text:
        return format(Decimal(text), "f")
    return text.removesuffix(".0")


def canonical_line(row: Mapping[str, Any]) -> bytes:
    """One row; its times are ns."""
    return (
        f"{row['timestamp']}\t{row['exchange']}\t{row['market_type']}\t{row['symbol']}"
        f"\t{row['trade_id']}\t{row['side']}\t{number_text(row['price'])}"
        f"\t{number_text(row['quantity'])}\t{row['sequence_number']}\n"
    ).encode()

"""R13: rows of a span in which a contract's value changed, counted anew once the moment is known.

Which value a row was counted by is told by when it was received: before the list with the new value
came, by the old one. A row on the wrong side of the moment gets the other quantity under the same
key, and a ``received_at`` on its side of that list: so a second run finds nothing to do, and what
a crash left half done is not counted twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import msgspec

from pumpwatch.model import Gap
from pumpwatch.store.side_rows import side_row

CHANGE = re.compile(r"(\S+) -> (\S+), price exponent (-?\d+) -> (-?\d+)")
ROWS_SQL = (
    "SELECT timestamp::long AS exchange_ns, exchange, market_type, symbol, side, price, quantity,"
    " trade_id, sequence_number, received_at::long AS received_ns, origin, kind FROM trades"
    " WHERE timestamp >= cast(%s AS TIMESTAMP_NS) AND timestamp <= cast(%s AS TIMESTAMP_NS)"
    " AND exchange = %s AND market_type = %s AND symbol = %s ORDER BY timestamp"
)


class Change(msgspec.Struct, frozen=True):
    """What a contract was and became: factors from the old to the new."""

    quantity: Fraction
    price: Fraction


def change_of(gap: Gap) -> Change | None:
    """As the ledger's row tells it; None: it does not."""
    found = CHANGE.match(gap.reason)
    if found is None:
        return None
    old, new, exponent_old, exponent_new = found.groups()
    return Change(
        Fraction(new) / Fraction(old), Fraction(10) ** (int(exponent_new) - int(exponent_old))
    )


def recounted(
    rows: Iterable[dict[str, Any]], gap: Gap, change: Change, moment_ns: int, now_ns: int
) -> list[bytes]:
    """Lines of the rows that were counted by the wrong value.

    ``moment_ns``: from then on trades are in new contracts. ``gap.to_ns`` is when the list with the
    new value came (our clock), ``now_ns`` our clock.
    """
    lines = []
    for row in rows:
        is_new, counted_new = row["exchange_ns"] >= moment_ns, row["received_ns"] >= gap.to_ns
        if is_new == counted_new:
            continue
        quantity, price = change.quantity, change.price
        if counted_new:
            quantity, price = 1 / quantity, 1 / price
        lines.append(
            side_row(
                "trades",
                {
                    name: row[name]
                    for name in ("exchange", "market_type", "symbol", "side", "origin", "kind")
                },
                {
                    "price": float(Fraction(repr(row["price"])) * price),
                    "quantity": float(Fraction(repr(row["quantity"])) * quantity),
                    "trade_id": row["trade_id"],
                    "sequence_number": row["sequence_number"],
                },
                row["exchange_ns"],
                time_fields={"received_at": now_ns if is_new else gap.to_ns - 1},
            )
        )
    return lines

"""Trades of one feed as a report takes them, for laws about them."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from hypothesis import strategies as st

from pumpwatch.report.material import TRADE_SCHEMA

MS_NS = 1_000_000
# ms after the centre, price in cents, coins, bought by the taker
Tick = tuple[int, int, int, bool]
TICKS = st.lists(
    st.tuples(
        st.integers(-3_000, 3_000), st.integers(95, 106), st.integers(1, 50), st.booleans()
    ),
    max_size=40,
)  # fmt: skip


def tape(ticks: Sequence[Tick], feed: str = "okx_spot") -> pl.DataFrame:
    """In time's order; the centre is 0 ns."""
    rows = [
        (feed, at * MS_NS, at * MS_NS + 20 * MS_NS, cents / 100, float(coins),
         cents / 100 * coins, is_buy, "PODUSDT", str(number), True)
        for number, (at, cents, coins, is_buy) in enumerate(sorted(ticks, key=lambda t: t[0]))
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=TRADE_SCHEMA, orient="row")

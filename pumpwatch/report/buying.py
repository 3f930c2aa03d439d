"""What could be bought, and at what price: from trades, not from the book. Sans I/O.

A buyer of that moment takes the place of those who bought then: the trades in which the taker
bought, from the moment on, until the size is reached. So nothing is assumed of a book that nobody
recorded; but whoever buys on top of them pays more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import polars as pl

from pumpwatch.report.document import Purchase
from pumpwatch.report.figures import change_percent

DELAYS_S = (0.1, 0.5, 1.0, 2.0, 5.0)
SIZES_QUOTE = (1_000.0, 10_000.0, 50_000.0)
FILL_NS_MAX = 60 * 10**9  # who has not bought by then has given up
MARKS_NS = (10 * 10**9, 60 * 10**9)
ALL = "all"


class Sought(NamedTuple):
    """What is wanted, and when."""

    anchor: str
    delay_s: float
    from_ns: int
    size: float


class Tape:
    """One feed's trades, or all feeds', to be asked for moments."""

    def __init__(self, trades: pl.DataFrame) -> None:
        ordered = trades.sort("at_ns", maintain_order=True)
        self._at = ordered["at_ns"]
        self._price = ordered["price"]
        bought = ordered.filter("is_buy")
        self._buy_at = bought["at_ns"]
        self._buy_price = bought["price"]
        self._quote_sum = bought["quote"].cum_sum()
        self._coins_sum = bought["coins"].cum_sum()

    def price(self, at_ns: int) -> float | None:
        """Of the last trade until then, whoever took."""
        place = self._at.search_sorted(at_ns, side="right")
        return float(self._price[place - 1]) if place else None

    def buy(self, at_ns: int, size: float) -> tuple[float, float, int]:
        """Quote spent, coins got, when the last of it was had; at most ``FILL_NS_MAX`` after."""
        first = self._buy_at.search_sorted(at_ns, side="left")
        end = self._buy_at.search_sorted(at_ns + FILL_NS_MAX, side="right")
        if first >= end:
            return 0.0, 0.0, at_ns
        quote_0 = float(self._quote_sum[first - 1]) if first else 0.0
        coins_0 = float(self._coins_sum[first - 1]) if first else 0.0
        place = self._quote_sum.search_sorted(quote_0 + size, side="left")
        if place >= end:
            quote = float(self._quote_sum[end - 1]) - quote_0
            coins = float(self._coins_sum[end - 1]) - coins_0
            return quote, coins, int(self._buy_at[end - 1])
        quote = (float(self._quote_sum[place - 1]) if place else 0.0) - quote_0
        coins = (float(self._coins_sum[place - 1]) if place else 0.0) - coins_0
        coins += (size - quote) / float(self._buy_price[place])
        return size, coins, int(self._buy_at[place])


def purchases(
    trades: pl.DataFrame, anchors: Sequence[tuple[str, int]], kept_to_ns: int
) -> list[Purchase]:
    """For each anchor, delay and size: on all feeds together, then on each."""
    feeds = sorted(trades["feed"].unique())
    tapes = {feed: Tape(trades.filter(pl.col("feed") == feed)) for feed in feeds}
    together = Tape(trades)
    found = []
    for anchor, at_ns in anchors:
        for delay_s in DELAYS_S:
            from_ns = at_ns + round(delay_s * 10**9)
            if from_ns >= kept_to_ns:
                continue
            before = {feed: tape.price(from_ns - 1) for feed, tape in tapes.items()}
            for size in SIZES_QUOTE:
                for feed, tape in [(ALL, together), *tapes.items()]:
                    last = before[feed] if feed != ALL else _middle(before.values())
                    sought = Sought(anchor, delay_s, from_ns, size)
                    found.append(_purchase(feed, tape, sought, last, kept_to_ns))
    return found


def _middle(prices: Iterable[float | None]) -> float | None:
    middle = pl.Series([one for one in prices if one is not None], dtype=pl.Float64).median()
    return middle if isinstance(middle, float) else None


def _purchase(
    feed: str, tape: Tape, sought: Sought, last: float | None, kept_to_ns: int
) -> Purchase:
    quote, coins, end_ns = tape.buy(sought.from_ns, sought.size)
    price = quote / coins if coins > 0 else None
    is_filled = quote >= sought.size
    marks = [
        tape.price(end_ns + after) if price and end_ns + after <= kept_to_ns else None
        for after in MARKS_NS
    ]
    return Purchase(
        anchor=sought.anchor, delay_s=sought.delay_s, size_quote=sought.size, feed=feed,
        is_filled=is_filled, filled_quote=quote, price=price,
        fill_ms=(end_ns - sought.from_ns) / 1e6 if is_filled else None,
        slippage_percent=change_percent(last, price),
        mark_10_s_percent=change_percent(price, marks[0]),
        mark_60_s_percent=change_percent(price, marks[1]),
    )  # fmt: skip

"""Pumps by the rule: within one second the price rose 3 % over a lower one before it. Sans I/O.

A second that begins at a trade is a pump's when it holds at least five trades and the highest price
after its lowest lies at least 3 % above it. Seconds that overlap are one pump. Beginning at each
trade is enough: any other second holds no more than the one that begins at its first trade.
"""

from __future__ import annotations

import polars as pl

from pumpwatch.report.document import Pump

SPAN_NS = 10**9
RISE_PERCENT = 3.0
TRADES_MIN = 5
CHANGE_WEIGHT, VOLUME_WEIGHT = 0.7, 0.3  # of the intensity


def rises(trades: pl.DataFrame) -> pl.DataFrame:
    """Of one feed's trades in time's order: for the second that each begins, how many and the rise.

    Columns ``count`` and ``rise`` (highest price over a lower one before it; 1: it never rose).
    Ranges are built from ranges of 2, 4, 8 … trades, so that a second of any size costs the same.
    """
    at, price = trades["at_ns"], trades["price"]
    end = at.search_sorted(at + SPAN_NS, side="left").cast(pl.Int64)
    first = pl.Series("first", range(len(trades)), dtype=pl.Int64)
    ranges = pl.DataFrame({"low": price, "high": price, "rise": price / price})
    done = ranges.with_columns(next=first + 1)
    left = (end - first - 1).rename("left")
    step = 1
    while step <= (left.max() or 0):  # type: ignore[operator]
        takes = (left // step) % 2 == 1
        places = pl.when(takes).then(pl.col("next")).otherwise(0)
        other = ranges[done.select(places.alias("at"))["at"]].rename(lambda name: f"{name}_2")
        joined = done.hstack(other).with_columns(takes=takes)
        done = joined.select(
            *_joined("takes"), next=pl.col("next") + pl.col("takes").cast(pl.Int64) * step
        )
        later = ranges.select(pl.all().shift(-step).name.suffix("_2"))
        # A range that would reach beyond the last trade is asked for by nobody.
        ranges = ranges.hstack(later).select(*_joined(None))
        step *= 2
    return done.select("rise", count=end - first)


def _joined(condition: str | None) -> list[pl.Expr]:
    """A range and the one behind it (columns ``…_2``) as one, where the condition holds."""
    low, high, rise = pl.col("low"), pl.col("high"), pl.col("rise")
    across = pl.col("high_2") / low
    parts = {
        "low": pl.min_horizontal(low, pl.col("low_2")),
        "high": pl.max_horizontal(high, pl.col("high_2")),
        "rise": pl.max_horizontal(rise, pl.col("rise_2"), across),
    }
    if condition is None:
        return [part.alias(name) for name, part in parts.items()]
    return [
        pl.when(condition).then(part).otherwise(pl.col(name)).alias(name)
        for name, part in parts.items()
    ]


def find_pumps(feed: str, trades: pl.DataFrame, at_ns: int, usual_quote: float) -> list[Pump]:
    """One feed's, in time's order.

    ``usual_quote``: what it trades in a second at other times; 0: not known.
    """
    if len(trades) < TRADES_MIN:
        return []
    trades = trades.sort("at_ns", maintain_order=True)
    seconds = trades.hstack(rises(trades)).with_row_index("first")
    enough = (pl.col("rise") >= 1 + RISE_PERCENT / 100) & (pl.col("count") >= TRADES_MIN)
    found = seconds.filter(enough).select("first", "at_ns", "rise", "count")
    pumps: list[Pump] = []
    cluster: list[tuple[int, int, float, int]] = []
    for one in found.iter_rows():
        if cluster and one[1] >= cluster[-1][1] + SPAN_NS:
            pumps.append(_pump(feed, trades, cluster, at_ns, usual_quote))
            cluster = []
        cluster.append(one)
    if cluster:
        pumps.append(_pump(feed, trades, cluster, at_ns, usual_quote))
    return pumps


def _pump(
    feed: str, trades: pl.DataFrame, cluster: list[tuple[int, int, float, int]], at_ns: int,
    usual_quote: float,
) -> Pump:  # fmt: skip
    first, _, _, count = cluster[0]
    crossed = trades.row(first + _crossing(trades["price"].slice(first, count)), named=True)
    best, _, rise, of_best = max(cluster, key=lambda one: (one[2], -one[0]))
    low, high = _extremes(trades["price"].slice(best, of_best))
    last, _, _, of_last = cluster[-1]
    whole = trades.slice(first, last + of_last - first)
    start, peak = trades.row(best + low, named=True), trades.row(best + high, named=True)
    busiest = float(trades["quote"].slice(best, of_best).sum())
    change = (rise - 1) * 100
    ratio = busiest / usual_quote if usual_quote > 0 else None
    return Pump(
        feed=feed, crossed_ns=crossed["at_ns"],
        crossed_received_ns=crossed["received_ns"] if crossed["is_live"] else None,
        relative_ms=(crossed["at_ns"] - at_ns) / 1e6, start_ns=start["at_ns"],
        end_ns=int(whole["at_ns"][-1]), peak_ns=peak["at_ns"], start_price=start["price"],
        peak_price=peak["price"], change_percent=change, trades=len(whole),
        volume_quote=float(whole["quote"].sum()), volume_ratio=ratio,
        intensity=CHANGE_WEIGHT * change + VOLUME_WEIGHT * (ratio or 0.0),
        symbol=start["symbol"],
    )  # fmt: skip


def _crossing(prices: pl.Series) -> int:
    """The first trade that lies so far above a lower one before it."""
    low = prices[0]
    for place, price in enumerate(prices):
        low = min(low, price)
        if price / low >= 1 + RISE_PERCENT / 100:
            return place
    raise AssertionError("no rise in a second that has one")


def _extremes(prices: pl.Series) -> tuple[int, int]:
    """Where the greatest rise begins and ends."""
    low_place = 0
    best = (0, 0)
    most = 1.0
    low_price = prices[0]
    for place, price in enumerate(prices):
        if price < low_price:
            low_price, low_place = price, place
        if price / low_price > most:
            most, best = price / low_price, (low_place, place)
    return best

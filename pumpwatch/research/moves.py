"""What each feed did around one event: first move, size, drift before the notice.

Every figure comes with how wrong it may be: a first move lies between two trades, a size has the
noise of the minute before, a drift is held against the same span at random times of that hour.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Sequence
from typing import Any

import msgspec
import polars as pl

from pumpwatch.research.paneling import Grid, make_panel
from pumpwatch.research.place import EventRows

MOVE_PERCENT = 2.0  # a feed has moved when its price is so far from the minute before
SMOOTHED_TRADES = 3  # by their median: one odd trade is no move
BEFORE_MS, AFTER_MS = 60_000, 60_000  # the minute that is the base, the minute that is judged
TRADES_MIN = 5  # in the minute before; fewer tell of no base
NOISES = 5.0  # a move must also be so many times the noise of the minute before
SIZE_ERRORS = 4.0
DRIFT_S, ENDS_S = 300, 20  # the span before the notice, and what each of its ends is averaged over
HOUR_S = 3_600
DRAWS = 60  # random times of the hour before
DRIFT_SPREADS = 5.0  # so many spreads of the random times away: a drift
MAD_SIGMA = 1.4826  # of a normal distribution


class FeedMove(msgspec.Struct, frozen=True, kw_only=True):
    """One feed of one event: a row of events.parquet. Times in ms after the event."""

    event_id: str
    feed: str
    exchange: str
    market_type: str
    certified: str
    rows: int
    left_out: str = ""  # why there are no figures
    base: float | None = None  # price of one coin in the minute before
    noise_percent: float | None = None  # of a single trade
    first_ms: float | None = None  # first move: it happened between first_from_ms and this
    first_from_ms: float | None = None
    behind_ms: float | None = None  # after the event's first mover
    is_first: bool = False  # nobody was certainly earlier
    peak_percent: float | None = None  # farthest from the base within a minute
    peak_error_percent: float | None = None


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """What the price did in the minutes before one event."""

    event_id: str
    left_out: str = ""
    percent: float | None = None
    random_percent: float | None = None  # median of the random times
    spread_percent: float | None = None  # their standard deviation
    is_claimed: bool = False

    @property
    def excess_percent(self) -> float | None:
        """More than at random times."""
        if self.percent is None or self.random_percent is None:
            return None
        return self.percent - self.random_percent


def feed_moves(event: EventRows) -> list[FeedMove]:
    """One event, feed by feed, in the order of their names."""
    rows = event.rows.filter(pl.col("t_ms").is_between(-BEFORE_MS, AFTER_MS)).collect()
    found = [
        _feed_move(event.event_id, str(name), part)
        for (name,), part in sorted(rows.partition_by("feed", as_dict=True).items())
    ]
    moments = [one.first_ms for one in found if one.first_ms is not None]
    if not moments:
        return found
    return [_behind(one, min(moments)) for one in found]


def _behind(one: FeedMove, earliest_ms: float) -> FeedMove:
    """The same, held against the event's first mover."""
    if one.first_ms is None or one.first_from_ms is None:
        return one
    is_first = one.first_from_ms < earliest_ms or one.first_ms == earliest_ms
    return msgspec.structs.replace(one, behind_ms=one.first_ms - earliest_ms, is_first=is_first)


def _feed_move(event_id: str, feed: str, rows: pl.DataFrame) -> FeedMove:
    exchange, _, market_type = feed.partition("_")
    grades = rows["certified"].drop_nulls()
    facts: dict[str, Any] = {
        "event_id": event_id, "feed": feed, "exchange": exchange, "market_type": market_type,
        "certified": grades[0] if len(grades) else "", "rows": len(rows),
    }  # fmt: skip
    if rows["suspect"].any():
        return FeedMove(**facts, left_out="perhaps another coin of this ticker")
    busiest = rows["symbol"].value_counts().sort(["count", "symbol"], descending=[True, False])
    rows = rows.filter(pl.col("symbol") == busiest["symbol"][0]).with_columns(
        price=pl.col("price") / pl.col("unit")
    )
    before, after = rows.filter(pl.col("t_ms") < 0), rows.filter(pl.col("t_ms") >= 0)
    if len(before) < TRADES_MIN:
        return FeedMove(**facts, left_out=f"{len(before)} trades in the minute before")
    if len(after) < SMOOTHED_TRADES:
        return FeedMove(**facts, left_out=f"{len(after)} trades in the minute after")
    base = float(before["price"].median())  # type: ignore[arg-type]
    spread = (before["price"] / base - 1).abs().median()
    noise = 100 * MAD_SIGMA * float(spread)  # type: ignore[arg-type]
    smooth = rows.with_columns(
        percent=(pl.col("price").rolling_median(SMOOTHED_TRADES, center=True) / base - 1) * 100,
        earlier_ms=pl.col("t_ms").shift(1),
    ).filter(pl.col("t_ms") >= 0)
    moved = smooth.filter(pl.col("percent").abs() >= max(MOVE_PERCENT, NOISES * noise))
    peak = smooth.drop_nulls("percent").sort(
        pl.col("percent").abs(), descending=True, maintain_order=True
    )
    first: dict[str, Any] = {}
    if len(moved):
        first = {"first_ms": moved["t_ms"][0], "first_from_ms": moved["earlier_ms"][0]}
    return FeedMove(
        **facts, base=base, noise_percent=noise, peak_percent=float(peak["percent"][0]),
        peak_error_percent=SIZE_ERRORS * noise, **first,
    )  # fmt: skip


# --- drift ----------------------------------------------------------------------------------------


def middle_path(event: EventRows, before_s: int, after_s: int) -> list[float | None]:
    """The price each second, 1 in the minute before: the median of the feeds; None: no trade yet.

    A feed counts from its first trade on, against its own base.
    """
    panel = make_panel([event], Grid(before_s * 1000, after_s * 1000, 1000), "price")
    feeds = [name for name in panel.columns if name not in ("event_id", "t_ms")]
    minute = pl.col("t_ms").is_between(-BEFORE_MS, -1)
    bases = panel.filter(minute).select(pl.col(feeds).median()).row(0, named=True) if feeds else {}
    used = [name for name in feeds if bases[name]]
    if not used:
        return [None] * len(panel)
    scaled = panel.select(pl.col(name) / bases[name] for name in used)
    middle = scaled.select(pl.concat_list(used).list.drop_nulls().list.median()).to_series()
    return middle.to_list()


def drift_of(event: EventRows, seed: int) -> Drift:
    """The minutes before the event against the same span at random times of the hour."""
    path = middle_path(event, HOUR_S, 0)
    first = next((at for at, value in enumerate(path) if value is not None), len(path))
    own = len(path) - 1  # the event's moment
    latest = own - DRIFT_S - ENDS_S  # a random span ends before the event's begins
    earliest = first + DRIFT_S + ENDS_S
    name = event.event_id
    if latest - earliest < DRIFT_S:
        return Drift(event_id=name, left_out="less than a quarter of an hour before is held")
    rng = random.Random(f"{seed}/{name}")
    drawn = [_change(path, rng.randint(earliest, latest)) for _ in range(DRAWS)]
    percent, usual = _change(path, own), statistics.median(drawn)
    spread = statistics.stdev(drawn)
    is_claimed = abs(percent - usual) > DRIFT_SPREADS * spread and spread > 0
    return Drift(
        event_id=name, percent=percent, random_percent=usual, spread_percent=spread,
        is_claimed=is_claimed,
    )  # fmt: skip


def _change(path: Sequence[float | None], end: int) -> float:
    """Percent from the span's beginning to its end, each the mean of some seconds."""
    late = [value for value in path[end - ENDS_S : end] if value is not None]
    start = end - DRIFT_S
    early = [value for value in path[start - ENDS_S : start] if value is not None]
    return 100 * math.log(statistics.fmean(late) / statistics.fmean(early))

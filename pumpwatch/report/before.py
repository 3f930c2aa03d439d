"""Before the notice: was it unusual, against the coin's own past? Sans I/O.

Every figure of the last hour, ten minutes, minute and ten seconds is placed among the same figures
of all such spans that are held and end before it begins. A leak is only named together with how
often the same rule fires at random times of that past.
"""

from __future__ import annotations

import random

import polars as pl

from pumpwatch.report.document import Before, Leak, Measure

SPANS_S = (3600, 600, 60, 10)
SPANS_MIN = 3  # so many spans of the past must be held, or a percentile says nothing
SAMPLES_MIN = 20
SAMPLES_PER_SPAN = 10
# The rule for a leak: a feed's second with more coins and a higher rise than all but 1 in 10,000.
ABNORMAL = 0.9999
LOOK_S = 60  # before the notice
APART_S = 600  # the past that it is held against ends so long before
PAST_S_MIN = 3600
RANDOM_TIMES = 1000
NAMED_PERCENT_MAX = 5.0


def grid(bars: pl.DataFrame, from_s: int) -> pl.DataFrame:
    """Every second from ``from_s`` to the last before the notice, the feeds together.

    ``price``: the median of the feeds' last prices; ``coins``, ``trades``, ``buy_coins``: sums.
    """
    seconds = pl.DataFrame({"second": pl.Series(range(from_s, 0), dtype=pl.Int64)})
    prices = []
    for feed in sorted(bars["feed"].unique()):
        of_feed = bars.filter(pl.col("feed") == feed).select("second", pl.col("close").alias(feed))
        prices.append(feed)
        seconds = seconds.join(of_feed, on="second", how="left", maintain_order="left")
    sums = bars.group_by("second").agg(
        pl.col("coins").sum(), pl.col("trades").sum(), pl.col("buy_coins").sum()
    )
    price = pl.concat_list(pl.col(prices).forward_fill()).list.median() if prices else pl.lit(None)
    return (
        seconds.with_columns(price=price.cast(pl.Float64))
        .drop(prices)
        .join(sums, on="second", how="left", maintain_order="left")
        .with_columns(pl.col("coins", "trades", "buy_coins").fill_null(0))
    )


def held_from(*frames: pl.DataFrame) -> int:
    """The first second that any of them has, at most the last before the notice."""
    firsts = [frame["second"].min() for frame in frames if len(frame)]
    return min([-1, *(one for one in firsts if isinstance(one, int))])


def before(bars: pl.DataFrame, market: pl.DataFrame) -> list[Before]:
    """One row a span. ``bars``: the coin's seconds before the notice; ``market``: BTC's."""
    from_s = held_from(bars, market)
    coin = grid(bars, from_s)
    coin = coin.with_columns(market=grid(market, from_s)["price"])
    return [_before(coin, span_s) for span_s in SPANS_S]


def _before(coin: pl.DataFrame, span_s: int) -> Before:
    change = (pl.col("price") / pl.col("price").shift(span_s) - 1) * 100
    of_market = (pl.col("market") / pl.col("market").shift(span_s) - 1) * 100

    def added(name: str) -> pl.Expr:
        total = pl.col(name).cum_sum()
        is_whole = pl.int_range(pl.len()) >= span_s - 1
        return pl.when(is_whole).then(total - total.shift(span_s, fill_value=0))

    figures = coin.select(
        change=change, adjusted=change - of_market, coins=added("coins"), trades=added("trades"),
        bought=added("buy_coins"),
    ).with_columns(
        taker_buy=pl.when(pl.col("coins") > 0).then(100 * pl.col("bought") / pl.col("coins"))
    )  # fmt: skip
    is_adjusted = figures["adjusted"][-1] is not None
    # Spans that end before this one begins, evenly spread, the newest first.
    step = max(1, span_s // SAMPLES_PER_SPAN)
    whole = figures.slice(span_s - 1)  # before, nothing is held of a part of the span
    past = whole.head(max(0, len(whole) - span_s)).reverse().gather_every(step)
    if len(coin) < (SPANS_MIN + 1) * span_s or len(past) < SAMPLES_MIN:
        past = past.clear()
    change_name = "adjusted" if is_adjusted else "change"
    return Before(
        span_s=span_s, change=_measure(figures, past, change_name),
        coins=_measure(figures, past, "coins"), trades=_measure(figures, past, "trades"),
        taker_buy=_measure(figures, past, "taker_buy"), is_btc_adjusted=is_adjusted,
        past_spans=len(past),
    )  # fmt: skip


def _measure(figures: pl.DataFrame, past: pl.DataFrame, name: str) -> Measure:
    value = figures[name][-1]
    if value is None:
        return Measure(value=None, percentile=None)
    others = past[name].drop_nulls()
    if len(others) < SAMPLES_MIN:
        return Measure(value=float(value), percentile=None)
    below, equal = int((others < value).sum()), int((others == value).sum())
    return Measure(value=float(value), percentile=100 * (below + equal / 2) / len(others))


# --- a leak ---------------------------------------------------------------------------------------


def leak(bars: pl.DataFrame, market: pl.DataFrame, *, seed: int) -> Leak:
    """The first abnormal second of the last minute, and how often chance does the same."""
    from_s = held_from(bars, market)
    past_s = -from_s - APART_S
    if past_s < PAST_S_MIN:
        held = max(0, -from_s)
        return Leak(
            is_judged=False, is_named=False, second=None, feed="", false_alarm_percent=None,
            random_times=0,
            text=f"Whether somebody knew is not judged: {span_text(held)} of the coin's past are"
                 f" held, and it takes {span_text(PAST_S_MIN + APART_S)}.",
        )  # fmt: skip
    found: list[tuple[int, str]] = []
    for feed in sorted(bars["feed"].unique()):
        of_feed = grid(bars.filter(pl.col("feed") == feed), from_s)
        found += [(second, feed) for second in abnormal(of_feed)]
    seconds = sorted(found)
    alarm = next((one for one in seconds if one[0] >= -LOOK_S), None)
    rng = random.Random(seed)
    marked = {second for second, _ in seconds}
    fired = 0
    for _ in range(RANDOM_TIMES):
        moment = rng.randint(from_s + LOOK_S, -APART_S)
        fired += any(second in marked for second in range(moment - LOOK_S, moment))
    rate = 100 * fired / RANDOM_TIMES
    is_named = alarm is not None and rate <= NAMED_PERCENT_MAX
    return Leak(
        is_judged=True, is_named=is_named, second=alarm[0] if alarm else None,
        feed=alarm[1] if alarm else "", false_alarm_percent=rate, random_times=RANDOM_TIMES,
        text=_leak_text(alarm, rate, past_s, is_named=is_named),
    )  # fmt: skip


def abnormal(seconds: pl.DataFrame) -> list[int]:
    """One feed's seconds with more coins and a higher rise than nearly all of the past before."""
    rise = (pl.col("price") / pl.col("price").shift(1) - 1).fill_null(0.0)
    seconds = seconds.select("second", "coins", rise=rise)
    past = seconds.filter(pl.col("second") < -APART_S)
    limits = past.select(pl.col("coins", "rise").quantile(ABNORMAL, interpolation="lower")).row(0)
    is_abnormal = (pl.col("coins") > limits[0]) & (pl.col("rise") > max(limits[1], 0.0))
    return seconds.filter(is_abnormal)["second"].to_list()


def _leak_text(alarm: tuple[int, str] | None, rate: float, past_s: int, *, is_named: bool) -> str:
    chance = (
        f"The same rule fires in the minute before {rate:.1f} % of {RANDOM_TIMES:,} random moments"
        f" of the {span_text(past_s)} held before."
    )
    if alarm is None:
        return f"No second of the last minute before was abnormal. {chance}"
    where = f"The first abnormal second is {-alarm[0]} s before, on {alarm[1]}"
    if is_named:
        return f"{where}: it looks as if somebody knew. {chance}"
    return f"{where}, but that is no evidence: chance does the same too often. {chance}"


def span_text(seconds: int) -> str:
    """``23.5 hours``, ``12 minutes``, ``40 s``."""
    if seconds >= 7200:
        return f"{seconds / 3600:.1f} hours"
    return f"{seconds // 60} minutes" if seconds >= 120 else f"{seconds} s"

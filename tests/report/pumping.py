"""A coin with a day of quiet past, BTC beside it, and a pump that starts on one feed."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import polars as pl

from pumpwatch.config import FEED_NAMES
from pumpwatch.listing.certificate import Certificate
from pumpwatch.store.window_model import FeedAnswer
from tests.listing.bundles import AT_NS, NS, WINDOW, make_bundle, row

PAST_S = 86_400
KEPT_S = 3600
PRICE = 1.25
ABSENT = ("phemex_spot", "phemex_futures", "kucoin_futures")
FIRST = "binance_futures"
LIFT_S = 0.42  # the pump's start on the first feed, after the notice
BEHIND_MS = {feed: 0 if feed == FIRST else 15 + 37 * n for n, feed in enumerate(FEED_NAMES)}


def pumped(seed: int) -> list[dict[str, Any]]:
    """An hour of trades before and a minute and a half after on nine feeds."""
    rng = random.Random(seed)
    rows = []
    for feed in FEED_NAMES:
        if feed in ABSENT:
            continue
        at_s, number = -float(KEPT_S), 1000
        lift_s = LIFT_S + BEHIND_MS[feed] / 1000
        while at_s < 90:
            since_s = at_s - lift_s
            pace = 0.1 if since_s < 0 else 60 * math.exp(-since_s / 12) + 2
            step_s = rng.expovariate(pace)
            # The quiet pace ends with the quiet.
            at_s = min(at_s + step_s, lift_s + rng.random() / 40) if since_s < 0 else at_s + step_s
            number += 1
            rise = _rise(at_s - lift_s)
            price = round(PRICE * (1 + rise) * (1 + rng.gauss(0, 0.0006)), 5)
            size = rng.expovariate(1 / (120 if rise < 0.01 else 900))
            is_buy = rng.random() < (0.5 if rise < 0.01 or at_s - lift_s > 14 else 0.78)
            lag_ns = int((0.018 + rng.expovariate(200)) * NS)
            one = row(feed, at_s, number, price=price, quantity=round(size, 3),
                      side="buy" if is_buy else "sell")  # fmt: skip
            rows.append({**one, "received_at": one["timestamp"] + lag_ns})
    return rows


def _rise(since_s: float) -> float:
    """Up 28 % within nine seconds, then down again by a third of it."""
    if since_s <= 0:
        return 0.0
    top = 0.28 * (1 - math.exp(-since_s / 2.6))
    return top * (1 - 0.35 * (1 - math.exp(-max(0.0, since_s - 9) / 14)))


def past_bars(seed: int) -> pl.DataFrame:
    """A day of 1-s bars: the coin on its feeds, with seconds left out, and BTC on one."""
    rng = random.Random(seed)
    columns: dict[str, list[Any]] = {name: [] for name in
        ("timestamp", "exchange", "market_type", "symbol", "open", "high", "low", "close", "volume",
         "trade_count", "buy_volume")}  # fmt: skip

    def add(feed: str, symbol: str, second: int, price: float, volume: float) -> None:
        exchange, _, market_type = feed.partition("_")
        high, low = price * 1.0002, price * 0.9998
        values = (AT_NS + second * NS, exchange, market_type, symbol, price, high, low, price,
                  volume, 1 + int(volume) % 3, volume * rng.random())  # fmt: skip
        for name, value in zip(columns, values, strict=True):
            columns[name].append(value)

    for second in range(-PAST_S, 0, 2):
        add("binance_spot", "BTCUSDT", second, 60_000 + 40 * math.sin(second / 900), 1.5)
    feeds = [name for name in FEED_NAMES if name not in ABSENT]
    for second in range(-PAST_S, -KEPT_S):
        for feed in rng.sample(feeds, rng.choice((0, 0, 1, 1, 1, 2))):
            price = PRICE * (1 + 0.004 * math.sin(second / 4000) + rng.gauss(0, 0.0006))
            add(feed, "PODUSDT", second, price, rng.expovariate(1 / 120))
    frame = pl.DataFrame(columns)
    return frame.with_columns(pl.col("timestamp").cast(pl.Datetime("ns", "UTC")))


def pumped_bundle(folder: Path, seed: int = 1) -> tuple[Path, Certificate]:
    """Nine feeds with a pump, three without the coin; one of the nine misses its end."""
    absent = {
        feed: {
            "answer": FeedAnswer(feed=feed, instruments=(), covered_from_ns=WINDOW.from_ns,
                                 covered_to_ns=WINDOW.to_ns),
            "absence": "not listed against USDT",
        }
        for feed in ABSENT
    }  # fmt: skip
    return make_bundle(
        folder, pumped(seed), feed_changes=absent, bars=past_bars(seed), kept_to_ns=AT_NS + 90 * NS
    )

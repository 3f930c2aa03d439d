"""report.json: the figures of one listing, as they are written, printed and drawn. Sans I/O.

Times are ns since 1970 UTC or ms after the window's centre; shares and changes are percent; volumes
are in the quote coin (USDT); prices are of one coin. None: not known.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec

VERSION = 1
DIGITS = 9  # of a figure: sums of doubles differ behind it by the order they were made in


class Pump(msgspec.Struct, frozen=True, kw_only=True):
    """One rise by the rule of pumps.py."""

    feed: str
    symbol: str
    relative_ms: float  # when it reached 3 %
    crossed_ns: int
    crossed_received_ns: int | None  # when that trade was here; None: it came from the venue's list
    start_ns: int  # its lowest trade
    peak_ns: int
    end_ns: int
    start_price: float
    peak_price: float
    change_percent: float
    trades: int
    volume_quote: float
    volume_ratio: float | None  # of its busiest second, to the feed's usual one
    intensity: float


class Mover(msgspec.Struct, frozen=True, kw_only=True):
    """When one feed moved, behind the first one."""

    feed: str
    at_ns: int
    relative_ms: float  # after the window's centre
    behind_ms: float
    error_ms: float | None  # of its time; None: not known
    is_first: bool
    is_tie: bool  # the first one may be later by the errors of both


class Ranking(msgspec.Struct, frozen=True, kw_only=True):
    """Who moved first, by one of two clocks."""

    by: str  # venue, receipt
    movers: list[Mover]
    verdict: str


class Seconds(msgspec.Struct, frozen=True, kw_only=True):
    """One feed's 1-s bars, column by column; seconds without a trade are left out."""

    second: list[int]
    vwap: list[float]
    close: list[float]
    volume_quote: list[float]
    trades: list[int]
    taker_buy_percent: list[float]


class FeedFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One feed's window."""

    feed: str
    grade: str
    reasons: list[str]  # why no better; why it is absent
    is_suspect_identity: bool
    suspicion: str
    symbols: list[str]
    trades: int
    volume_quote: float
    taker_buy_percent: float | None
    first_price: float | None
    last_price: float | None
    low_price: float | None
    high_price: float | None
    change_percent: float | None  # last to first
    rise_percent: float | None  # the highest over the first
    large_trades: int
    large_quote: float
    pumps: int
    lag_ms_min: float | None  # received - traded: the way and the clocks' difference together
    lag_ms_median: float | None
    seconds: Seconds


class LargeTrade(msgspec.Struct, frozen=True, kw_only=True):
    """One of the largest trades."""

    feed: str
    symbol: str
    relative_ms: float
    side: str
    price: float
    quote: float
    trade_id: str


class Bucket(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the window."""

    name: str
    from_s: float
    to_s: float
    trades: int
    volume_quote: float
    taker_buy_percent: float | None
    large_trades: int
    feeds: int
    change_percent: float | None  # median of the feeds


class Measure(msgspec.Struct, frozen=True, kw_only=True):
    """One figure and where it stands among the same figures of the past."""

    value: float | None
    percentile: float | None  # of the coin's own past; None: too little of it is held


class Before(msgspec.Struct, frozen=True, kw_only=True):
    """The time before the notice, against the coin's own past."""

    span_s: int
    change: Measure  # percent, less what BTC did where ``is_btc_adjusted``
    coins: Measure
    trades: Measure
    taker_buy: Measure
    is_btc_adjusted: bool
    past_spans: int  # so many spans of the past it was compared with


class Leak(msgspec.Struct, frozen=True, kw_only=True):
    """Whether somebody traded before the notice, as far as it can be told."""

    is_judged: bool
    is_named: bool
    second: int | None  # the first abnormal one
    feed: str
    false_alarm_percent: float | None
    random_times: int
    text: str


class Purchase(msgspec.Struct, frozen=True, kw_only=True):
    """What a buyer would have paid who took the place of those who bought."""

    anchor: str  # announcement, opening, detection, first_mover
    delay_s: float
    size_quote: float
    feed: str  # "all": the feeds together
    is_filled: bool
    filled_quote: float
    price: float | None  # volume weighted
    fill_ms: float | None
    slippage_percent: float | None  # against the last trade before
    mark_10_s_percent: float | None  # of the price paid, 10 s after the last fill
    mark_60_s_percent: float | None


class Moments(msgspec.Struct, frozen=True, kw_only=True):
    """When it happened, and how well that is known."""

    announced_ns: int
    announced_resolution_ms: int
    last_absent_ns: int  # the last look that did not show it; 0: none
    first_seen_ns: int
    opening_ns: int
    detection_ms: int  # after the announcement
    first_mover_ns: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All of it."""

    version: int
    software: str
    source: str
    notice_id: str
    symbol: str
    title: str
    url: str
    kind: str  # announcement, opening
    at_ns: int
    from_ns: int
    to_ns: int
    kept_to_ns: int
    state: str
    revision: int
    verdict: str
    proof: list[str]  # sentences: what is proven and what is not
    findings: list[str]  # sentences: what happened
    moments: Moments
    trades: int  # without the feeds of suspect identity, as all that follows
    volume_quote: float
    taker_buy_percent: float | None
    feeds: list[FeedFigures]  # all twelve
    pumps: list[Pump]
    rankings: list[Ranking]
    buckets: list[Bucket]
    largest: list[LargeTrade]
    past_s: int  # of the coin's past that is held before the window's centre
    before: list[Before]
    leak: Leak
    purchases: list[Purchase]


def figure(value: float) -> float:
    """Shortened to the digits that mean something."""
    if not math.isfinite(value) or value == 0:
        return 0.0
    return float(f"{value:.{DIGITS}g}")


def plain(value: Any) -> Any:
    """A struct as lists and dicts, every float as a figure."""
    if isinstance(value, float):
        return figure(value)
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value


def encode(report: Report) -> bytes:
    """report.json: the same figures, the same bytes."""
    document = plain(msgspec.to_builtins(report))
    return msgspec.json.encode(document) + b"\n"

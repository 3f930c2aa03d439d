"""What each feed traded in the window: totals, 1-s bars, parts of it, large trades. Sans I/O."""

from __future__ import annotations

import polars as pl

from pumpwatch.listing.certificate import FeedProof
from pumpwatch.report.document import Bucket, FeedFigures, LargeTrade, Seconds

SECOND_NS = 10**9
LARGE_QUOTE = 1_000.0  # USDT: a large trade, as the original counted them
LARGEST_SHOWN = 10
# Parts of the window in s after its centre: the original's names before, its three paces after.
PARTS = (
    ("early", -20.0, -15.0), ("mid", -15.0, -10.0), ("late", -10.0, -5.0), ("final", -5.0, 0.0),
    ("first second", 0.0, 1.0), ("regular", 1.0, 5.0), ("after", 5.0, 20.0),
)  # fmt: skip


def share_percent(part: float, whole: float) -> float | None:
    """None where nothing was traded."""
    return 100 * part / whole if whole > 0 else None


def change_percent(first: float | None, last: float | None) -> float | None:
    """From one price to another."""
    return (last / first - 1) * 100 if first and last else None


def feed_figures(proof: FeedProof, trades: pl.DataFrame, at_ns: int, pumps: int) -> FeedFigures:
    """One feed, from its trades of the window."""
    price, quote = trades["price"], trades["quote"]
    is_large = quote > LARGE_QUOTE
    first = float(price[0]) if len(price) else None
    high = _number(price.max())
    has_lag = bool(proof.lag_ns_min or proof.lag_ns_median)
    return FeedFigures(
        feed=proof.feed, grade=proof.grade, reasons=proof.reasons,
        is_suspect_identity=proof.is_suspect_identity, suspicion=proof.suspicion,
        symbols=[one.symbol for one in proof.instruments], trades=len(trades),
        volume_quote=float(quote.sum()), taker_buy_percent=_buy_percent(trades),
        first_price=first, last_price=float(price[-1]) if len(price) else None,
        low_price=_number(price.min()), high_price=high,
        change_percent=change_percent(first, float(price[-1]) if len(price) else None),
        rise_percent=change_percent(first, high),
        large_trades=int(is_large.sum()), large_quote=float(quote.filter(is_large).sum()),
        pumps=pumps, lag_ms_min=proof.lag_ns_min / 1e6 if has_lag else None,
        lag_ms_median=proof.lag_ns_median / 1e6 if has_lag else None,
        seconds=seconds(trades, at_ns),
    )  # fmt: skip


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, float) else None


def _buy_percent(trades: pl.DataFrame) -> float | None:
    bought = float(trades.filter("is_buy")["quote"].sum())
    return share_percent(bought, float(trades["quote"].sum()))


def seconds(trades: pl.DataFrame, at_ns: int) -> Seconds:
    """1-s bars of one feed."""
    quote = pl.col("quote").sum()
    bars = (
        trades.group_by(((pl.col("at_ns") - at_ns) // SECOND_NS).alias("second"))
        .agg(
            (quote / pl.col("coins").sum()).alias("vwap"),
            pl.col("price").last().alias("close"),
            quote.alias("volume_quote"),
            pl.len().alias("trades"),
            (100 * pl.col("quote").filter("is_buy").sum() / quote).alias("taker_buy_percent"),
        )
        .sort("second")
    )
    return Seconds(**{name: bars[name].to_list() for name in Seconds.__struct_fields__})


def buckets(trades: pl.DataFrame, at_ns: int, from_ns: int, to_ns: int) -> list[Bucket]:
    """The window's parts, cut to the window; empty where it does not reach."""
    found = []
    for name, from_s, to_s in PARTS:
        low = max(at_ns + int(from_s * SECOND_NS), from_ns)
        # The window's own end belongs to it: trades at exactly + 20 s are in the last part.
        high = to_ns if to_s == PARTS[-1][2] else min(at_ns + int(to_s * SECOND_NS), to_ns)
        if low >= high:
            continue
        part = trades.filter((pl.col("at_ns") >= low) & (pl.col("at_ns") < high))
        moves = part.group_by("feed").agg(
            (pl.col("price").last() / pl.col("price").first() - 1).alias("change")
        )
        middle = moves["change"].median()
        found.append(
            Bucket(
                name=name, from_s=(low - at_ns) / SECOND_NS, to_s=round((high - at_ns) / SECOND_NS),
                trades=len(part), volume_quote=float(part["quote"].sum()),
                taker_buy_percent=_buy_percent(part),
                large_trades=int((part["quote"] > LARGE_QUOTE).sum()), feeds=len(moves),
                change_percent=100 * middle if isinstance(middle, float) else None,
            )
        )  # fmt: skip
    return found


def largest(trades: pl.DataFrame, at_ns: int) -> list[LargeTrade]:
    """The largest trades, the largest first."""
    ordered = trades.sort(
        ["quote", "at_ns", "feed", "trade_id"], descending=[True, False, False, False]
    )
    return [
        LargeTrade(
            feed=one["feed"], symbol=one["symbol"], relative_ms=(one["at_ns"] - at_ns) / 1e6,
            side="buy" if one["is_buy"] else "sell", price=one["price"], quote=one["quote"],
            trade_id=one["trade_id"],
        )
        for one in ordered.head(LARGEST_SHOWN).iter_rows(named=True)
    ]  # fmt: skip

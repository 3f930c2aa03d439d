"""refined/ in the original's layout: pumps and their summary, as its users read them. Sans I/O.

Its field names, and its texts for prices; figures are by our rule. It called trades of one
millisecond a user's (top_users.json): nobody can know that, so what is one order's on one feed is
written as what it is, a sweep (top_sweeps.json).
"""

from __future__ import annotations

from typing import Any

import msgspec
import polars as pl

from pumpwatch.listing.canonical import number_text
from pumpwatch.moments import iso_ns
from pumpwatch.report.document import Pump, Report, figure, plain

FOLDER = "refined"
SWEEPS_MAX = 10
SWEEP_SPAN_NS = 10 * 10**9  # from the first pump on, as the original looked


def files(report: Report, inside: pl.DataFrame) -> dict[str, bytes]:
    """Every file's content by its name below refined/; ``inside``: the window's counted trades."""
    events = [_event(report, pump) for pump in report.pumps]
    summary = _summary(report)
    results = {
        one.feed: {
            "exchange": one.feed.partition("_")[0], "market_type": one.feed.partition("_")[2],
            "total_trades": one.trades,
            "total_volume": number_text(figure(_coins(inside, one.feed))),
            "pump_events_count": one.pumps,
        }
        for one in report.feeds
        if one.pumps and not one.is_suspect_identity
    }  # fmt: skip
    head = {
        "symbol": report.symbol, "trigger_time": iso_ns(report.at_ns),
        # The original has the time of making here; the same window is to give the same bytes.
        "analysis_time": iso_ns(report.to_ns), "total_exchanges": len(results),
        "total_pump_events": len(events), "max_price_change": summary["max_price_change"],
        "analysis_version": f"pumpwatch {report.software}, report {report.version}",
    }  # fmt: skip
    documents: dict[str, Any] = {
        "pump_analysis.json": {
            "metadata": head, "pump_events": events, "summary": summary,
            "exchange_results": results,
        },
        "pump_events.json": events,
        "summary.json": {**summary, "buckets": msgspec.to_builtins(report.buckets)},
        "top_sweeps.json": _sweeps(report, inside),
    }  # fmt: skip
    for one in report.feeds:
        of_feed = [e for e in events if f"{e['exchange']}_{e['market_type']}" == one.feed]
        documents[f"{one.feed}_pumps.json"] = of_feed
    return {name: _json(document) for name, document in documents.items()}


def _json(document: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(plain(document))) + b"\n"


def _coins(inside: pl.DataFrame, feed: str) -> float:
    return float(inside.filter(pl.col("feed") == feed)["coins"].sum())


def _event(report: Report, pump: Pump) -> dict[str, Any]:
    exchange, _, market_type = pump.feed.partition("_")
    return {
        "exchange": exchange, "market_type": market_type, "symbol": pump.symbol,
        "start_time": iso_ns(pump.start_ns), "end_time": iso_ns(pump.end_ns),
        "duration_ms": (pump.end_ns - pump.start_ns) // 10**6,
        "start_price": number_text(figure(pump.start_price)),
        "peak_price": number_text(figure(pump.peak_price)),
        "price_change_percent": pump.change_percent,
        "volume": number_text(figure(pump.volume_quote)), "trade_count": pump.trades,
        "trigger_time": iso_ns(report.at_ns),
        "relative_time_ms": (pump.start_ns - report.at_ns) // 10**6,
        "crossed_time": iso_ns(pump.crossed_ns), "intensity": pump.intensity,
        "volume_ratio": pump.volume_ratio,
    }  # fmt: skip


def _summary(report: Report) -> dict[str, Any]:
    pumps = report.pumps
    first = pumps[0].start_ns if pumps else 0
    return {
        "total_exchanges": len({pump.feed for pump in pumps}),
        "max_price_change": max((pump.change_percent for pump in pumps), default=0.0),
        "first_pump_exchange": pumps[0].feed if pumps else "",
        "pump_duration_ms": (max((p.end_ns for p in pumps), default=first) - first) // 10**6,
        "total_volume": number_text(figure(sum(pump.volume_quote for pump in pumps))),
        "verdict": report.verdict,
    }


def _sweeps(report: Report, inside: pl.DataFrame) -> list[dict[str, Any]]:
    """Trades of one feed, side and instant: one taker order that ran through the book."""
    if not report.pumps:
        return []
    from_ns = report.pumps[0].start_ns
    at = pl.col("at_ns")
    found = (
        inside.filter((at >= from_ns) & (at < from_ns + SWEEP_SPAN_NS))
        .group_by("feed", "symbol", "at_ns", "is_buy")
        .agg(
            pl.len().alias("trades"),
            pl.col("quote").sum(),
            pl.col("price").first().alias("first_price"),
            pl.col("price").last().alias("last_price"),
        )
        .filter(pl.col("trades") > 1)
        .sort("quote", "at_ns", "feed", "symbol", "is_buy", descending=[True, *[False] * 4])
    )
    return [
        {
            "exchange": one["feed"].partition("_")[0], "market_type": one["feed"].partition("_")[2],
            "symbol": one["symbol"], "time": iso_ns(one["at_ns"]),
            "side": "buy" if one["is_buy"] else "sell", "trade_count": one["trades"],
            "volume": number_text(figure(one["quote"])),
            "first_price": number_text(figure(one["first_price"])),
            "last_price": number_text(figure(one["last_price"])),
        }
        for one in found.head(SWEEPS_MAX).iter_rows(named=True)
    ]  # fmt: skip

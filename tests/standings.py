"""A daemon in good order, as its seat shows it; tests change what they are about."""

from __future__ import annotations

from typing import Any

import msgspec

from pumpwatch.balance import FeedBalance
from pumpwatch.config import FEED_NAMES
from pumpwatch.rates import LAG_BUCKETS_S, LagHistogram
from pumpwatch.standing import (
    BackfillStanding,
    BudgetStanding,
    ConnectionStanding,
    DatabaseStanding,
    FeedStanding,
    HistogramStanding,
    ProcessStanding,
    SpoolStanding,
    Standing,
    VolumeStanding,
    WriterStanding,
)

MIB = 2**20


def histogram(**rows_by_lag: int) -> HistogramStanding:
    """``histogram(_0_5=3)``: three rows after 0.5 s."""
    lags = LagHistogram()
    for name, rows in rows_by_lag.items():
        lags.note(float(name.strip("_").replace("_", ".")), rows)
    return HistogramStanding(edges_s=LAG_BUCKETS_S, counts=tuple(lags.rows), sum_s=lags.sum_s)


def balance(feed: str, rows: int = 1000, **changes: int) -> FeedBalance:
    """Every row parsed is applied."""
    figures = {
        "parsed": rows, "passed": rows, "repeated": 0, "history_skipped": 0, "quarantined": 0,
        "buffered": 0, "queued": 0, "spooled": rows, "replayed": 0, "accepted": rows,
        "applied": rows, "refused": 0, "quarantined_kept": 0, "refused_kept": 0,
        "passed_on": rows,
    }  # fmt: skip
    return FeedBalance(feed=feed, **{**figures, **changes})


def connection(number: int = 0, **changes: Any) -> ConnectionStanding:
    """An open connection with ten symbols."""
    shown = ConnectionStanding(
        number=number, state="open", wanted=10, subscribed=10, reconnects=0, messages=500,
        trades=1000, opened_at="2026-11-25T08:00:00.000000000Z", error="",
    )  # fmt: skip
    return msgspec.structs.replace(shown, **changes)


def feed(name: str = "binance_spot", **changes: Any) -> FeedStanding:
    """A feed that is recorded."""
    exchange, _, market_type = name.partition("_")
    shown = FeedStanding(
        feed=name, exchange=exchange, market_type=market_type, state="running", error="",
        connections_open=1, subscribed=10, wanted=10, left_out=0, refused={}, reconnects=0,
        messages=500, unreadable=0, rows_per_s={"1": 95.0, "10": 100.0, "60": 98.0}, lag_ms=12.5,
        silent_s=0.1, inexact_values=2, gaps_open=0, balance=balance(name),
        connections=[connection()], backfill=backfill(),
    )  # fmt: skip
    return msgspec.structs.replace(shown, **changes)


def backfill(**changes: Any) -> BackfillStanding:
    """A venue that was asked, and brought rows."""
    shown = BackfillStanding(
        requests=40, failures=1, rows=300, closed={"filled": 5, "empty": 2, "lost": 1}, waiting=0,
        times_apart=0, withheld=0, mute=0, mute_symbols=[], unchecked_s={},
    )  # fmt: skip
    return msgspec.structs.replace(shown, **changes)


def database(**changes: Any) -> DatabaseStanding:
    """A server that answers."""
    shown = DatabaseStanding(
        state="up", silent_s=0.4, pending_rows=20, pending_s=0.0, applied_rows=12_000,
        refused_rows=0, suspended_tables=[], restarts=0, rss_bytes=600 * MIB, disk_bytes=900 * MIB,
    )  # fmt: skip
    return msgspec.structs.replace(shown, **changes)


def spool(**changes: Any) -> SpoolStanding:
    """A spool with room."""
    shown = SpoolStanding(
        state="open", disk_bytes=3 * MIB, disk_bytes_max=8192 * MIB, buffered_bytes=0,
        buffered_rows=0, segments=1, damaged=0,
    )  # fmt: skip
    return msgspec.structs.replace(shown, **changes)


def process(**changes: Any) -> ProcessStanding:
    """The daemon's process."""
    shown = ProcessStanding(
        pid=4711, version="3.0.0", started_at="2026-11-25T08:00:00Z", uptime_s=3600.0,
        rss_bytes=300 * MIB, memory_bytes_max=4096 * MIB, cpu_s=120.5, open_files=200,
        open_files_max=65_536, loop_lag_s=0.001,
    )  # fmt: skip
    return msgspec.structs.replace(shown, **changes)


def standing(**changes: Any) -> Standing:
    """All twelve feeds in good order."""
    shown = Standing(
        at="2026-11-25T09:00:00.000Z", state="running", process=process(),
        feeds=[feed(name) for name in FEED_NAMES], spool=spool(), database=database(),
        volume=VolumeStanding(used_bytes=40 * 2**30, free_bytes=60 * 2**30),
        writers=[
            WriterStanding(table="trades", state="idle", requests=9, retries=1, error=""),
        ],
        budgets=[
            BudgetStanding(budget="okx", requests=90, delayed=4, refusals=0, waiting=0,
                           closed_s=0.0),
        ],
        differences=[], spooled_lag=histogram(_0_012=12_000),
        applied_lag=histogram(_0_4=9_000, _1_9=3_000), queries={"sql": histogram(_0_02=5)},
    )  # fmt: skip
    return msgspec.structs.replace(shown, **changes)


def with_feed(name: str, **changes: Any) -> Standing:
    """All feeds in good order but one."""
    good = standing()
    feeds = [
        msgspec.structs.replace(shown, **changes) if shown.feed == name else shown
        for shown in good.feeds
    ]
    return msgspec.structs.replace(good, feeds=feeds)

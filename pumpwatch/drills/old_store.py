"""An old store for drills: event folders as the original wrote them, of what the simulator sent.

Of the feeds that the original could read: with its milliseconds, and Binance's sides inverted, as
its connector did (F-09).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import trio

from pumpwatch.drills.stage import DaemonProcess
from pumpwatch.errors import DrillError
from pumpwatch.migrate_verbs import FOLDER, STATUS_FILE
from pumpwatch.sim.process import Simulator

# Sizes are coins, names are ours: nothing has to be known to write a file of theirs.
READ_FEEDS = ("binance_spot", "bybit_spot", "bybit_futures", "kucoin_spot", "gate_spot")
INVERTED = "binance_spot"
OTHER_SIDE = {"buy": "sell", "sell": "buy"}
MS_NS = 1_000_000
SIDE_NS = 10 * 10**9
STANDING_S_MAX = 300.0
READ_MS, BESIDE_OTHERS = 500.0, 4
SETTINGS = """
[migration]
shadow = "{folder}"
stages = "{stages}"
compare_interval_s = 1.0
check_interval_s = {check_s}
comparisons_min = {comparisons}
good_checks = 3
read_ms_max = {read_ms}
"""
Standing = dict[str, Any]


def settings(
    folder: Path, *, stages: str = "10:0 50:0 100:0 100:0", check_s: float = 1.0,
    comparisons: int = 3, is_alone: bool = True,
) -> str:  # fmt: skip
    """Of a daemon whose reads move."""
    return SETTINGS.format(
        folder=folder, stages=stages, check_s=check_s, comparisons=comparisons,
        read_ms=slow_read_ms(is_alone=is_alone),
    )  # fmt: skip


def slow_read_ms(*, is_alone: bool) -> float:
    """p99 of reads that is too slow: beside other work all of them are slower."""
    return READ_MS if is_alone else BESIDE_OTHERS * READ_MS


async def write_event(folder: Path, coin: str, simulator: Simulator, at_ns: int) -> int:
    """One event: what was delivered of the coin around ``at_ns``; returns its rows."""
    moment = datetime.fromtimestamp(at_ns // 10**9, UTC)
    place = folder / f"{coin}_{moment:%Y%m%d_%H%M%S}"
    at = f"{moment:%Y-%m-%dT%H:%M:%SZ}"
    rows = 0
    for feed in READ_FEEDS:
        if feed not in simulator.feeds:
            continue
        truth = (await simulator.truth(feed)).unique(["symbol", "trade_id", "exchange_ns"])
        some = truth.filter(
            pl.col("symbol") == f"{coin}USDT",
            pl.col("exchange_ns").is_between(at_ns - SIDE_NS, at_ns + SIDE_NS),
        ).sort("exchange_ns")
        records = [_record(feed, row, at_ns) for row in some.iter_rows(named=True)]
        rows += len(records)
        exchange, _, market_type = feed.partition("_")
        path = place / "raw" / exchange / f"{market_type}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        await trio.Path(path).write_text(json.dumps(records or None, indent=2))
    told = {"symbol": coin, "title": f"{coin} 신규 거래지원 안내", "announced_at": at,
            "detected_at": at, "trigger_time": at}  # fmt: skip
    await trio.Path(place / "metadata.json").write_text(json.dumps(told, ensure_ascii=False))
    return rows


def _record(feed: str, row: dict[str, Any], trigger_ns: int) -> dict[str, Any]:
    exchange, _, market_type = feed.partition("_")
    ms = row["exchange_ns"] // MS_NS
    return {
        "exchange": exchange, "market_type": market_type, "symbol": row["symbol"],
        "trade_id": row["trade_id"], "price": row["price"], "quantity": row["quantity"],
        "side": OTHER_SIDE[row["side"]] if feed == INVERTED else row["side"],
        "timestamp": ms, "collected_at": ms + 5, "trigger_time": trigger_ns // MS_NS,
    }  # fmt: skip


async def standing(
    daemon: DaemonProcess, condition: Callable[[Standing], bool], what: str
) -> Standing:
    """The migration's standing once it is so. Raises DrillError."""
    path = trio.Path(daemon.data_dir / FOLDER / STATUS_FILE)
    told: Standing = {}
    with trio.move_on_after(STANDING_S_MAX):
        while True:
            if await path.exists():
                told = msgspec.json.decode(await path.read_bytes())
                if condition(told):
                    return told
            await trio.sleep(0.2)
    raise DrillError(f"not {what} within {STANDING_S_MAX:g} s: {told}")

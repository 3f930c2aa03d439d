"""The end of a drill with holes: every row that is absent must be told of by the ledger.

Feeds are compared one after the other: all together are larger than memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
import trio

from pumpwatch.drills.holes import Holes, judge_holes
from pumpwatch.drills.outcome import Order, Outcome
from pumpwatch.drills.stage import SETTLE_S_MAX, DaemonProcess, settle
from pumpwatch.model import Gap
from pumpwatch.sim.faults import Played
from pumpwatch.sim.process import Simulator
from pumpwatch.sim.truth import load_truth
from pumpwatch.store.gap_rows import SELECT_SQL, read_gap
from pumpwatch.store.readonly import query
from pumpwatch.store.server import running_address
from pumpwatch.tally import KEY, fetch_stored

CLOSING_S_MAX = 180.0  # for holes to be filled or given up
APPLIED_S_MAX = 30.0  # the table learns what the daemon knows a moment later
SUMS = ("absent", "told", "recovered", "unsent")
EXAMPLES = 3


async def settle_holes(
    outcome: Outcome,
    simulator: Simulator,
    daemon: DaemonProcess,
    closing_s_max: float = CLOSING_S_MAX,
) -> dict[str, Any]:
    """End the trading; wait until all is applied and no hole is open, or nobody closes one.

    Returns the daemon's last word.
    """
    await settle(daemon, simulator, SETTLE_S_MAX + closing_s_max)  # rows come while holes close
    with trio.move_on_after(closing_s_max):
        await daemon.until(lambda now: not open_holes(now), "closed", closing_s_max + 1)
    last = await settle(daemon, simulator)
    outcome.expect(last["differences"] == [], f"balance: {last['differences']}")
    return last


def open_holes(document: dict[str, Any]) -> int:
    """Holes of all feeds of which nobody has said yet what became of them."""
    return sum(one["gaps_suspected"] + one["gaps_confirmed"] for one in document["feeds"])


async def read_ledger(outcome: Outcome, daemon: DaemonProcess) -> list[Gap]:
    """Every hole that the table knows, once as many of them are open as the daemon says."""
    is_open = expected = -1
    gaps: list[Gap] = []
    with trio.move_on_after(APPLIED_S_MAX):
        while True:
            gaps = await trio.to_thread.run_sync(_read_ledger, daemon)
            expected, is_open = open_holes(daemon.status()), sum(gap.is_open for gap in gaps)
            if is_open == expected:
                return gaps
            await trio.sleep(1)
    outcome.expect(False, f"{is_open} holes are open in the table, {expected} by the daemon")
    return gaps


def _read_ledger(daemon: DaemonProcess) -> list[Gap]:
    return [read_gap(row) for row in query(running_address(daemon.config), SELECT_SQL, [])]


async def judge_feeds(
    order: Order, outcome: Outcome, simulator: Simulator, daemon: DaemonProcess,
    gaps: Sequence[Gap], played: Sequence[Played], spooled: pl.DataFrame | None = None,
) -> None:  # fmt: skip
    """Hold the table against the truth; ``spooled`` are keys that must be stored whatever came."""
    await simulator.stop_generating()  # writes what of the truth was not written yet
    sums = dict.fromkeys(SUMS, 0)
    wanted = None if spooled is None else spooled.unique(KEY)
    address = running_address(daemon.config)
    for feed in order.feeds:
        order.tell(f"comparing {feed}")
        stored = await fetch_stored(address, feed=feed)
        found = await trio.to_thread.run_sync(
            _judge_feed, order, feed, stored,
            [gap for gap in gaps if gap.feed == feed],
            [one for one in played if one.fault.feed == feed],
        )  # fmt: skip
        outcome.rows += found.rows
        outcome.missing += found.silent
        outcome.duplicate += found.duplicate
        outcome.faults += [f"silent: {example}" for example in found.examples[:EXAMPLES]]
        outcome.expect(not found.unknown, f"rows that nobody traded: {found.unknown}")
        for name in SUMS:
            sums[name] += getattr(found, name)
        if wanted is not None:
            lost = wanted.filter(pl.col("feed") == feed).join(stored, on=KEY, how="anti")
            outcome.missing += len(lost)
            outcome.expect(lost.is_empty(), f"{feed}: {len(lost)} rows were spooled, not stored")
    outcome.figures |= {**sums, "spooled_checked": 0 if wanted is None else len(wanted)}


def _judge_feed(
    order: Order, feed: str, stored: pl.DataFrame, gaps: Sequence[Gap], played: Sequence[Played]
) -> Holes:
    truth = load_truth(order.folder / "truth", everything=True, only=feed)
    return judge_holes(truth, stored, gaps, played)

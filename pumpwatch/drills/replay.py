"""Recorded messages of all feeds through the whole road (D-01): what is stored is what was sent.

The simulator first plays what the venues really sent (acks, snapshots, other channels, repeats),
then goes on in their formats; frames are cut anywhere. ``count`` is the seconds of trading.
"""

from __future__ import annotations

import trio

from pumpwatch.config import FEED_NAMES
from pumpwatch.drills.by_feed import reckon_by_feed
from pumpwatch.drills.outcome import Order, Outcome
from pumpwatch.drills.stage import daemon_process, is_subscribed
from pumpwatch.sim.process import run_simulator

ROWS_MIN = 50_000


async def run(order: Order) -> Outcome:
    """Replay, compare; see the module."""
    outcome = Outcome()
    arguments = ["--seed", str(order.seed), "--rate", str(order.rate_per_s)]
    async with (
        run_simulator(order.folder / "truth", arguments) as simulator,
        daemon_process(order.folder / "run", simulator) as daemon,
    ):
        daemon.start()
        await daemon.until(is_subscribed, "subscribed")
        await trio.sleep(order.count)
        await reckon_by_feed(order, outcome, simulator, daemon)
        last = daemon.status()
        recorded = {
            feed: len((await simulator.truth(feed)).unique(["symbol", "trade_id"]))
            for feed in FEED_NAMES
        }
    feeds = {feed["feed"]: feed for feed in last["feeds"]}
    silent = [name for name in FEED_NAMES if not recorded[name]]
    outcome.expect(not silent, f"feeds without a row: {silent}")
    broken = {name: one["quarantined"] for name, one in feeds.items() if one["quarantined"]}
    outcome.expect(not broken, f"rows that were not understood: {broken}")
    outcome.expect(outcome.rows >= ROWS_MIN, f"{outcome.rows} rows, {ROWS_MIN} wanted")
    outcome.figures |= {
        "repeated": sum(one["repeated"] for one in feeds.values()),
        "history_skipped": sum(one["history_skipped"] for one in feeds.values()),
        "rows_by_feed": recorded,
    }
    return outcome

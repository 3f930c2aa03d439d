"""Connections replaced by plan: nothing may be missing, nor be thought so (R12).

Binance, OKX and Gate say that they will close. The others say nothing: there we replace ours before
they are too old (KuCoin's token, 24 h), which the drill asks for. Each time the successor must have
delivered before the old connection goes.
"""

from __future__ import annotations

import random
from functools import partial
from typing import Any

import trio

from pumpwatch.daemon_client import act
from pumpwatch.drills.faulted import BEGIN_S, NOTICE_S, Names, play_faults, told
from pumpwatch.drills.outcome import Order, Outcome
from pumpwatch.drills.stage import DaemonProcess
from pumpwatch.sim.faults import Fault
from pumpwatch.venues import FEEDS

SYMBOLS = 16
PAUSE_S = 4.0  # between two ends of one feed
ANNOUNCING = tuple(spec.name for spec in FEEDS if spec.exchange in NOTICE_S)
OTHERS = tuple(spec.name for spec in FEEDS if spec.exchange not in NOTICE_S)
ROUND = len(ANNOUNCING) + len(OTHERS)


async def run(order: Order) -> Outcome:
    """``count`` planned ends, in turn on every feed."""
    outcome = Outcome()
    rounds = -(-order.count // ROUND)
    run = await play_faults(
        order, outcome, plan_ends, ["--symbols", str(SYMBOLS)], meanwhile=partial(_renew, rounds)
    )
    # The successor's first row may overtake the old connection's last: known, and closed at once.
    real = [gap for gap in run.gaps if gap.reason != "late"]
    outcome.expect(not real, f"{len(real)} holes: {told(real)}")
    outcome.expect(run.found.absent == 0, f"{run.found.absent} rows are not stored")
    replaced = replacements(run.status)
    planned = rounds * ROUND
    outcome.expect(replaced >= planned, f"{replaced} replacements, {planned} were planned")
    outcome.figures |= {
        "planned": planned, "replaced": replaced, "late_rows": len(run.gaps) - len(real),
    }  # fmt: skip
    return outcome


def plan_ends(rng: random.Random, count: int, names: Names) -> list[Fault]:
    """Ends that are announced, a feed's next one when the last is over."""
    del names
    return [
        Fault(
            at_s=BEGIN_S + (_notice_s(feed) + PAUSE_S) * number + rng.uniform(0, 2),
            feed=feed, kind="close", seconds=_notice_s(feed),
        )
        for number in range(-(-count // ROUND))
        for feed in ANNOUNCING
    ]  # fmt: skip


def _notice_s(feed: str) -> float:
    return NOTICE_S[feed.split("_", maxsplit=1)[0]]


async def _renew(rounds: int, daemon: DaemonProcess) -> None:
    """What an age limit does, where the venue says nothing beforehand."""
    for number in range(rounds):
        for feed in OTHERS:
            await trio.to_thread.run_sync(partial(act, daemon.config, "renew_feed", feed=feed))

        def is_done(document: dict[str, Any], wanted: int = number + 1) -> bool:
            done = {one["feed"]: one["replacements"] for one in document["feeds"]}
            return all(done[feed] >= wanted for feed in OTHERS)

        await daemon.until(is_done, "replaced")
        await trio.sleep(PAUSE_S)


def replacements(status: dict[str, Any]) -> int:
    """Handovers that went well, of all feeds."""
    return sum(int(feed["replacements"]) for feed in status["feeds"])

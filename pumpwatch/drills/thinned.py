"""Streams that keep rows back on unbroken connections, where ids do not count up.

Nothing but the venue's list of latest trades shows them. The control plays it without comparisons:
then such rows are neither stored nor told of.
"""

from __future__ import annotations

import random
from functools import partial

import trio

from pumpwatch.drills.faulted import (
    BEGIN_S,
    CALM_S,
    Names,
    expect_closed,
    expect_told,
    play_faults,
)
from pumpwatch.drills.holes import BY_ID
from pumpwatch.drills.outcome import Control, Order, Outcome
from pumpwatch.drills.stage import DaemonProcess
from pumpwatch.sim.faults import Fault

SYMBOLS = 4  # all that Phemex's budget lets us read in COMPARE_S, of both of its feeds
THINNED = 0.01  # of the rows
COMPARE_S = 15.0  # each symbol's list is read so often: in a daemon's minute the drill would wait
COMPARED_S = COMPARE_S + 5.0  # after the last row that was kept back, all lists were read
SHARE_MIN = 0.9  # of what was kept back; short lists of busy symbols move on
NONE_FOUND = "0.0% of what was kept back was found"
CONTROL = Control("comparisons", NONE_FOUND)


async def run(order: Order) -> Outcome:
    """``count`` seconds of it, on every feed without such ids."""
    outcome = Outcome()
    toml = "" if not order.with_comparisons else f"[backfill]\ncompare_s = {COMPARE_S}\n"
    run = await play_faults(
        order, outcome, plan_thinning, ["--symbols", str(SYMBOLS)], toml=toml,
        meanwhile=partial(_look_on, order.count),
    )  # fmt: skip
    expect_told(outcome, run)
    expect_closed(outcome, run.gaps)
    share = run.found.recovered / max(1, run.found.unsent)
    outcome.expect(run.found.unsent > 0, "nothing was kept back")
    outcome.expect(share >= SHARE_MIN, f"{share:.1%} of what was kept back was found")
    if not order.with_comparisons:
        outcome.expect(not run.found.told, f"of {run.found.told} rows the ledger tells")
    outcome.figures["share"] = round(share, 4)
    return outcome


def plan_thinning(rng: random.Random, count: int, names: Names) -> list[Fault]:
    """One in a hundred rows does not come; no connection ends."""
    del rng
    return [
        Fault(at_s=BEGIN_S, feed=feed, kind="thin", share=THINNED, seconds=float(count))
        for feed in sorted(names)
        if feed not in BY_ID
    ]


async def _look_on(count: int, daemon: DaemonProcess) -> None:
    """Until each list was read once more; a part of that time is calm anyway."""
    await trio.sleep(BEGIN_S + count + COMPARED_S - CALM_S)
    daemon.expect_running()

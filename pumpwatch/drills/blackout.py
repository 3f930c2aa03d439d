"""All feeds out of reach at once: what comes back, against the most that venues still showed.

A venue's list of latest trades goes on while nobody asks, and a budget says how soon each symbol's
turn can come. The most is what an answer to everyone in the best order, the first in the moment in
which the venue is back, would have shown.
"""

from __future__ import annotations

import random
from collections import defaultdict

import numpy as np
import polars as pl

from pumpwatch.drills.faulted import (
    ALL_HISTORY,
    BEGIN_S,
    Names,
    expect_closed,
    expect_told,
    play_faults,
)
from pumpwatch.drills.outcome import Order, Outcome
from pumpwatch.sim.faults import Fault, Played
from pumpwatch.venues import FEEDS_BY_NAME

SHARE_MIN = 0.95  # of the most that could be had
SYMBOLS, SYMBOLS_OF_MANY = 40, 475  # a feed; 475 make 5,700 in all
BUDGET_S_A_SYMBOL = 3.0  # Phemex: 80 lists a minute for two feeds take half of that
MANY_FROM_S = 30  # so long an outage is played with many
DEPTH_ROWS = 65_536  # of histories by id
SECOND_NS = 10**9


async def run(order: Order) -> Outcome:
    """All feeds out of reach for ``count`` seconds, sockets and lists."""
    outcome = Outcome()
    symbols = SYMBOLS_OF_MANY if order.count >= MANY_FROM_S else SYMBOLS
    arguments = ["--symbols", str(symbols), "--depth", str(DEPTH_ROWS)]
    run = await play_faults(
        order, outcome, plan_blackout, arguments, budgets_s=BUDGET_S_A_SYMBOL * symbols
    )
    expect_told(outcome, run)
    expect_closed(outcome, run.gaps)
    most, got = reachable(run.truth, run.played), recovered(run.truth, run.stored)
    share = sum(got.values()) / max(1, sum(most.values()))
    outcome.expect(share >= SHARE_MIN, f"{share:.1%} of what the venues' lists still showed")
    outcome.expect(run.too_many == 0, f"{run.too_many} requests were too many, or banned")
    outcome.figures |= {
        "symbols": symbols * len(most), "reachable": sum(most.values()), "share": round(share, 4),
        "share_by_feed": {
            feed: round(got.get(feed, 0) / rows, 3) for feed, rows in most.items() if rows
        },
        "too_many": run.too_many,
    }  # fmt: skip
    return outcome


def plan_blackout(rng: random.Random, count: int, names: Names) -> list[Fault]:
    """Nobody answers, sockets nor lists."""
    del rng
    return [
        Fault(at_s=BEGIN_S, feed=feed, kind="outage", seconds=float(count))
        for feed in sorted(names)
    ]


def recovered(truth: pl.DataFrame, stored: pl.DataFrame) -> dict[str, int]:
    """Rows by feed that no connection brought, and that are stored."""
    keys = ["feed", "symbol", "trade_id", "exchange_ns"]
    unsent = truth.filter(~pl.col("delivered"), ~pl.col("history")).unique(keys)
    had = unsent.join(stored.unique(keys), on=keys, how="semi")
    return dict(had.group_by("feed").len().sort("feed").iter_rows())


def reachable(truth: pl.DataFrame, played: list[Played]) -> dict[str, int]:
    """Rows by feed that the best order of requests could have brought.

    A history brings everything. Of the others each symbol's list is read once, the busiest first,
    as fast as the budget that both feeds of an exchange share allows.
    """
    back_ns = {one.fault.feed: one.until_ns for one in played}
    found: dict[str, int] = dict.fromkeys(sorted(back_ns), 0)
    turns: defaultdict[str, list[tuple[float, str, pl.DataFrame]]] = defaultdict(list)
    for key, rows in truth.partition_by("feed", "symbol", as_dict=True).items():
        feed = str(key[0])
        if feed in ALL_HISTORY:
            found[feed] += int((~rows["delivered"]).sum())
        elif not rows["delivered"].all():
            turns[FEEDS_BY_NAME[feed].rest_allowance.key].append((-len(rows), feed, rows))
    for some in turns.values():
        spent = 0.0
        for _, feed, rows in sorted(some, key=lambda turn: turn[:2]):
            spec = FEEDS_BY_NAME[feed]
            allowance = spec.rest_allowance
            spent += spec.recent.weight
            wait_s = max(0.0, spent - allowance.burst) * allowance.per_s / allowance.units
            asked_ns = back_ns[feed] + int(wait_s * SECOND_NS)
            found[feed] += _shown(rows, asked_ns, spec.recent.rows_max)
    return found


def _shown(rows: pl.DataFrame, asked_ns: int, depth_rows: int) -> int:
    """Rows among a list's that no connection brought; ``rows`` are one symbol's, oldest first."""
    ns = rows["exchange_ns"].to_numpy()
    last = int(np.searchsorted(ns, asked_ns, side="right"))
    return int((~rows["delivered"][max(0, last - depth_rows) : last]).sum())

"""Instruments that are new: the first trade is stored where the list named it in time.

Each is announced some time before its first trade, or not before it at all. Where ids count up what
came before the subscription is backfilled to the first id; where a venue shows only its latest
trades, as far as they reach.
"""

from __future__ import annotations

import random

import polars as pl

from pumpwatch.drills.faulted import (
    BEGIN_S,
    Names,
    expect_closed,
    expect_told,
    play_faults,
)
from pumpwatch.drills.holes import BY_ID
from pumpwatch.drills.outcome import Order, Outcome
from pumpwatch.sim.faults import Fault, Played
from pumpwatch.tally import KEY

SYMBOLS = 8
LEAD_S_MAX = 60.0  # from the list to the first trade
LATE_SHARE = 0.2  # of the instruments: the list names them after their first trade
LATE_S_MAX = 5.0
BEGIN_S_MAX = 30.0  # they are spread over so long
POLL_S_MAX = 30.0  # R21: between two lists, at the longest
MARGIN_S = 10.0  # one poll and so much before the first trade: it must be stored from the stream
FEEDS = 12
SECOND_NS = 10**9


async def run(order: Order) -> Outcome:
    """``count`` new instruments, in turn on every feed."""
    outcome = Outcome()
    each = -(-order.count // FEEDS)
    arguments = ["--symbols", str(SYMBOLS), "--newborns", str(each)]
    run = await play_faults(order, outcome, plan_births, arguments)
    expect_told(outcome, run)
    expect_closed(outcome, run.gaps)
    births = [one for one in run.played if one.symbols]
    outcome.expect(len(births) == order.count, f"{len(births)} of {order.count} were born")
    stored = run.stored.select(KEY).unique()
    firsts = [_first_stored(run.truth, stored, one) for one in births]
    early = [lead_s(one.fault) >= POLL_S_MAX + MARGIN_S for one in births]
    missed = [
        f"{one.fault.feed} {one.symbols[0]}, {lead_s(one.fault):.0f} s before it traded"
        for one, is_early, first in zip(births, early, firsts, strict=True)
        if not first and (is_early or one.fault.feed in BY_ID)
    ]
    outcome.expect(not missed, f"{len(missed)} without their first trade: {missed[:5]}")
    outcome.figures |= {
        "births": len(births), "in_time": sum(early), "first_stored": sum(firsts),
        "first_stored_in_time": sum(a and b for a, b in zip(early, firsts, strict=True)),
    }  # fmt: skip
    return outcome


def plan_births(rng: random.Random, count: int, names: Names) -> list[Fault]:
    """Most are listed first and trade later; some trade first."""
    feeds = sorted(names)
    found = []
    for number in range(count):
        lead = rng.uniform(0, LEAD_S_MAX)
        is_late = rng.random() < LATE_SHARE
        listed_s, seconds = (rng.uniform(0.1, LATE_S_MAX), 0.0) if is_late else (0.0, lead)
        found.append(
            Fault(
                at_s=BEGIN_S + rng.uniform(0, BEGIN_S_MAX), feed=feeds[number % len(feeds)],
                kind="launch", seconds=seconds, listed_s=listed_s,
            )
        )  # fmt: skip
    return found


def lead_s(fault: Fault) -> float:
    """From the list that names it to its first trade; negative: the trade came first."""
    return fault.seconds - fault.listed_s


def _first_stored(truth: pl.DataFrame, stored: pl.DataFrame, one: Played) -> bool:
    """Whether the instrument's first trade is in the table."""
    rows = truth.filter(
        pl.col("feed") == one.fault.feed, pl.col("venue_symbol") == one.symbols[0]
    ).select(KEY)
    return len(rows) > 0 and len(rows.head(1).join(stored, on=KEY, how="semi")) == 1

"""Holes on purpose: seeded faults of all feeds, and the ledger held against what was traded.

All faults that a venue knows are mixed. Backfill is on unless the order switches it off: then holes
stay open, and the drill fails.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import msgspec

from pumpwatch.drills.faulted import (
    BEGIN_S,
    BUSY_SYMBOLS,
    NOTICE_S,
    STAYS_OPEN,
    Names,
    expect_closed,
    expect_told,
    play_faults,
)
from pumpwatch.drills.outcome import Control, Order, Outcome
from pumpwatch.sim.faults import Fault, Kind
from pumpwatch.venues import FEEDS_BY_NAME
from pumpwatch.venues.spec import TradeIds

CONTROL = Control("backfill", STAYS_OPEN)  # known all the same, and nobody closes them
EVERY_S = 0.5  # a fault begins
SYMBOLS = 16
KINDS: tuple[tuple[Kind, int], ...] = (
    ("withhold", 6), ("thin", 2), ("mute", 2), ("repeat", 2), ("late", 3), ("cut", 6),
    ("stall", 1), ("half_open", 1), ("refuse", 1), ("expire", 1), ("close", 2), ("rest", 2),
    ("outage", 3),
)  # fmt: skip


async def run(order: Order) -> Outcome:
    """``count`` faults of every kind; see the module."""
    outcome = Outcome()
    run = await play_faults(order, outcome, plan_faults, ["--symbols", str(SYMBOLS)])
    expect_told(outcome, run)
    expect_closed(outcome, run.gaps)
    kinds = Counter(one.fault.kind for one in run.played)
    outcome.figures["kinds"] = dict(sorted(kinds.items()))
    return outcome


# --- plans ----------------------------------------------------------------------------------------


def plan_faults(rng: random.Random, count: int, names: Names) -> list[Fault]:
    """Faults of all kinds, one after the other."""
    kinds = [kind for kind, weight in KINDS for _ in range(weight)]
    feeds = sorted(names)
    found = []
    for number in range(count):
        feed = feeds[number % len(feeds)]
        kind = rng.choice(kinds)
        if kind == "expire" and not feed.startswith("kucoin"):
            kind = "cut"
        if kind == "repeat" and FEEDS_BY_NAME[feed].ids is TradeIds.NONE:
            kind = "late"  # without ids a row told twice is two rows, for whoever listens
        symbol = rng.choice(names[feed][:BUSY_SYMBOLS])
        at_s = BEGIN_S + EVERY_S * number
        found.append(_fault(rng, Fault(at_s=at_s, feed=feed, kind=kind, symbol=symbol)))
    return found


def _fault(rng: random.Random, fault: Fault) -> Fault:
    """The same with its particulars."""
    some: dict[str, Any] = {}
    match fault.kind:
        case "withhold":
            some["rows"] = rng.choice((1, 1, 1, rng.randint(2, 40)))
        case "thin":
            some |= {"share": rng.uniform(0.01, 0.1), "seconds": rng.uniform(1, 4)}
        case "mute":
            some["seconds"] = rng.uniform(0.2, 4)
        case "repeat":
            some["rows"] = rng.randint(1, 30)
        case "late":
            some |= {"rows": rng.randint(1, 5), "seconds": rng.uniform(0.05, 1.5)}
        case "cut":
            some["how"] = rng.choice(("fin", "reset", "mid_frame"))
        case "stall" | "half_open":
            some["seconds"] = rng.uniform(1, 8)
        case "refuse":
            some["seconds"] = rng.uniform(0.5, 3)
        case "close":
            some["seconds"] = NOTICE_S.get(fault.feed.split("_")[0], 0.0)
        case "rest":
            status = rng.choice((0, 429, 500, 503))
            some |= {"status": status, "seconds": rng.uniform(1, 5), "symbol": ""}
            some |= {"retry_after_s": 2.0} if status == 429 else {"delay_s": rng.uniform(0, 2)}
        case "outage":
            some |= {"seconds": 10 ** rng.uniform(-1, 1), "symbol": ""}
    return msgspec.structs.replace(fault, **some)

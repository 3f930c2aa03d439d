"""Holes on purpose: seeded faults of all feeds, and the ledger held against what was traded.

All faults that a venue knows are mixed. Backfill is on unless the order switches it off: then holes
stay open, and the drill fails.
"""

from __future__ import annotations

import json
import random
import signal
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
import polars as pl
import trio

from pumpwatch.demo import Simulator, run_simulator
from pumpwatch.drills.holes import BY_ID, Holes, judge_holes
from pumpwatch.drills.outcome import Order, Outcome
from pumpwatch.drills.stage import (
    DaemonProcess,
    daemon_process,
    is_subscribed,
    settle,
    simulator_arguments,
)
from pumpwatch.model import Gap
from pumpwatch.sim.faults import Fault, Kind, Played
from pumpwatch.sim.truth import META_FILE, load_truth
from pumpwatch.store.gap_rows import SELECT_SQL, read_gap
from pumpwatch.store.server import running_address
from pumpwatch.store.window import query
from pumpwatch.tally import fetch_stored
from pumpwatch.venues import FEEDS_BY_NAME
from pumpwatch.venues.spec import TradeIds

Names = dict[str, list[str]]  # each feed's symbols as the venue calls them, busiest first

BEGIN_S = 2.0
EVERY_S = 0.5  # a fault begins
SYMBOLS = 16
BUSY_SYMBOLS = 12  # faults of one symbol hit one of these
CALM_S = 12.0  # after the last fault: keepalives run out, connections come back
PLAYED_S_MAX = 120.0
CLOSING_S_MAX = 150.0  # for what is open to be closed or given up
# Who says beforehand that it will close a connection, and how long before.
NOTICE_S = {"binance": 8.0, "okx": 8.0, "gate": 8.0}
KINDS: tuple[tuple[Kind, int], ...] = (
    ("withhold", 6), ("thin", 2), ("mute", 2), ("repeat", 2), ("late", 3), ("cut", 6),
    ("stall", 1), ("half_open", 1), ("refuse", 1), ("expire", 1), ("close", 2), ("rest", 2),
    ("outage", 3),
)  # fmt: skip


async def run(order: Order) -> Outcome:
    """``count`` faults of every kind; see the module."""
    outcome, found, gaps = await _drill(order)
    outcome.expect(found.false_filled == 0, f"{found.false_filled} rows are said to be there")
    outcome.expect(found.noticed == found.lossy, f"without a row: {found.overlooked[:5]}")
    _expect_closed(outcome, gaps)
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


# --- playing --------------------------------------------------------------------------------------


async def _drill(order: Order) -> tuple[Outcome, Holes, list[Gap]]:
    rng = random.Random(order.seed)
    outcome = Outcome()
    arguments = simulator_arguments(order.seed, order.rate_per_s)
    arguments += ["--goes-on", "--symbols", str(SYMBOLS)]
    async with (
        run_simulator(order.folder / "truth", arguments) as simulator,
        daemon_process(order.folder / "run", simulator, has_backfill=order.with_backfill) as daemon,
    ):
        daemon.start()
        await daemon.until(is_subscribed, "subscribed")
        plan = plan_faults(rng, order.count, _names(simulator))
        await simulator.give_faults(plan)
        played = await _until_played(simulator, plan)
        await trio.sleep(CALM_S)
        await settle(daemon, simulator)
        await _until_closed(daemon)
        last = await settle(daemon, simulator)
        outcome.expect(last["differences"] == [], f"balance: {last['differences']}")
        stored = await fetch_stored(running_address(daemon.config))
        gaps = await trio.to_thread.run_sync(_read_ledger, daemon)
        daemon.signal(signal.SIGTERM)
        outcome.expect(await daemon.wait() == 0, f"the daemon's exit code is {daemon.exit_code}")
        await simulator.end()
    truth = await trio.to_thread.run_sync(_load, order)
    found = await trio.to_thread.run_sync(judge_holes, truth, stored, gaps, played)
    _tell(outcome, found, gaps, played)
    return outcome, found, gaps


def _load(order: Order) -> pl.DataFrame:
    return load_truth(order.folder / "truth", everything=True)


def _names(simulator: Simulator) -> Names:
    """Symbols that trade stand first in a venue's list."""
    meta = json.loads((simulator.truth_dir / META_FILE).read_text(encoding="utf-8"))
    return {feed: facts["venue_symbols"][:BUSY_SYMBOLS] for feed, facts in meta.items()}


async def _until_played(simulator: Simulator, plan: Sequence[Fault]) -> list[Played]:
    """Wait for the plan's end; a count of rows that a symbol does not trade is given up."""
    ends_s = max(fault.at_s + fault.seconds for fault in plan)
    with trio.move_on_after(ends_s + PLAYED_S_MAX):
        while True:
            played = await simulator.played_faults()
            if len(played) == len(plan) and all(one.until_ns for one in played):
                return played
            await trio.sleep(1)
    return await simulator.played_faults()


async def _until_closed(daemon: DaemonProcess) -> None:
    """Wait until no hole is open, or nobody closes one any more."""
    with trio.move_on_after(CLOSING_S_MAX):
        await daemon.until(lambda document: not open_holes(document), "closed", CLOSING_S_MAX + 1)


def open_holes(document: dict[str, Any]) -> int:
    """Holes of all feeds of which nobody has said yet what became of them."""
    return sum(one["gaps_suspected"] + one["gaps_confirmed"] for one in document["feeds"])


def _read_ledger(daemon: DaemonProcess) -> list[Gap]:
    return [read_gap(row) for row in query(running_address(daemon.config), SELECT_SQL, [])]


def _tell(outcome: Outcome, found: Holes, gaps: Sequence[Gap], played: Sequence[Played]) -> None:
    states = Counter(gap.state for gap in gaps)
    outcome.rows, outcome.missing, outcome.duplicate = found.rows, found.silent, found.duplicate
    outcome.expect(not found.unknown, f"rows that nobody traded: {found.unknown}")
    outcome.faults += [f"silent: {example}" for example in found.examples[:5]]
    outcome.figures = {
        "injected": len(played), "lossy": found.lossy, "noticed": found.noticed,
        "unsent": found.unsent, "recovered": found.recovered, "absent": found.absent,
        "told": found.told, "silent": found.silent, "beyond": found.beyond,
        "beyond_by_feed": found.beyond_by_feed, "false_filled": found.false_filled,
        "ledger_rows": len(gaps), "states": dict(sorted(states.items())),
    }  # fmt: skip


def _expect_closed(outcome: Outcome, gaps: Sequence[Gap]) -> None:
    still = [gap for gap in gaps if gap.is_open]
    outcome.expect(not still, f"{len(still)} holes stay open: {_told(still)}")
    by_id = [gap for gap in gaps if gap.state == "lost" and gap.feed in ALL_HISTORY]
    outcome.expect(not by_id, f"lost, though there is a history: {_told(by_id)}")


def _told(gaps: Sequence[Gap]) -> str:
    shown = Counter(f"{gap.feed} {gap.cause} {gap.state} {gap.reason}".strip() for gap in gaps)
    return "; ".join(f"{times} x {what}" for what, times in shown.most_common(5))


ALL_HISTORY = BY_ID - {"binance_futures"}  # REST gives every id

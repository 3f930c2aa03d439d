"""Faults of the feeds against a recording daemon: what was traded, stored and told in the end."""

from __future__ import annotations

import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import msgspec
import polars as pl
import trio

from pumpwatch.drills.holes import BY_ID, Holes, judge_holes
from pumpwatch.drills.outcome import Order, Outcome
from pumpwatch.drills.stage import GOES_ON, DaemonProcess, is_subscribed, settle, stage_of
from pumpwatch.drills.told import read_ledger, settle_holes
from pumpwatch.model import Gap
from pumpwatch.sim.faults import Fault, Played
from pumpwatch.sim.process import Simulator
from pumpwatch.sim.truth import load_truth
from pumpwatch.store.server import running_address
from pumpwatch.tally import fetch_stored

NO_COMPARISONS = "[backfill]\ncompare = false\n"
Names = dict[str, list[str]]  # each feed's symbols as the venue calls them, busiest first
Meanwhile = Callable[[DaemonProcess], Awaitable[None]]  # what else happens while faults play
Planner = Callable[[random.Random, int, Names], list[Fault]]

BEGIN_S = 2.0  # of a plan: the first fault
BUSY_SYMBOLS = 12  # faults of one symbol hit one of these
CALM_S = 12.0  # after the last fault: keepalives run out, connections come back
PLAYED_S_MAX = 120.0
CLOSING_S_MAX = 150.0  # for what is open to be closed or given up
CLOSING_S_A_FAULT = 2.0  # and so much more: budgets are used up by then
STAYS_OPEN = "holes stay open"
REFUSED = ("403", "418", "429")  # too many requests, or a ban
# Who says beforehand that it will close a connection, and how long before.
NOTICE_S = {"binance": 8.0, "okx": 8.0, "gate": 8.0}
ALL_HISTORY = BY_ID - {"binance_futures"}  # REST gives every id


class FaultedRun(msgspec.Struct, kw_only=True):
    """What is known at the end of one."""

    truth: pl.DataFrame  # all that was traded, delivered or not
    stored: pl.DataFrame
    gaps: list[Gap]
    played: list[Played]
    found: Holes
    status: dict[str, Any]  # the daemon's last word
    too_many: int  # requests that venues refused so, or banned


async def play_faults(
    order: Order,
    outcome: Outcome,
    planner: Planner,
    arguments: Sequence[str],
    *,
    toml: str = "",
    meanwhile: Meanwhile | None = None,
    budgets_s: float = 0.0,
) -> FaultedRun:
    """Record, play the plan, wait until nothing is open any more, hold all against the truth.

    ``budgets_s``: so long the venues' budgets alone may hold up the closing.
    """
    rng = random.Random(order.seed)
    if order.with_backfill and not order.with_comparisons:
        toml += NO_COMPARISONS
    async with stage_of(
        order, toml, has_backfill=order.with_backfill, arguments=[*GOES_ON, *arguments]
    ) as (simulator, daemon):
        daemon.start()
        await daemon.until(is_subscribed, "subscribed")
        plan = planner(rng, order.count, _names(simulator))
        await simulator.give_faults(plan)
        async with trio.open_nursery() as nursery:
            if meanwhile is not None:
                nursery.start_soon(meanwhile, daemon)
            played = await _until_played(simulator, plan)
        await trio.sleep(CALM_S)
        closing_s_max = 0.0  # without backfill nobody closes what ids do not
        if order.with_backfill:
            closing_s_max = CLOSING_S_MAX + CLOSING_S_A_FAULT * order.count + budgets_s
        status = await settle_holes(outcome, simulator, daemon, closing_s_max)
        # In this order: a hole that backfill closes meanwhile is not yet called filled here.
        gaps = await read_ledger(outcome, daemon)
        await settle(daemon, simulator)
        stored = await fetch_stored(running_address(daemon.config))
        too_many = _too_many(await simulator.stats())
        daemon.signal(signal.SIGTERM)
        outcome.expect(await daemon.wait() == 0, f"the daemon's exit code is {daemon.exit_code}")
        await simulator.end()
    truth = await trio.to_thread.run_sync(
        partial(load_truth, order.folder / "truth", everything=True)
    )
    found = await trio.to_thread.run_sync(judge_holes, truth, stored, gaps, played)
    run = FaultedRun(
        truth=truth, stored=stored, gaps=gaps, played=played, found=found, status=status,
        too_many=too_many,
    )  # fmt: skip
    _tell(outcome, run)
    return run


def _names(simulator: Simulator) -> Names:
    """Symbols that trade stand first in a venue's list."""
    return {feed: facts["venue_symbols"] for feed, facts in simulator.facts().items()}


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


def _too_many(stats: dict[str, Any]) -> int:
    return sum(
        times
        for feed in stats["feeds"].values()
        for answer, times in feed["rest"].items()
        if answer.endswith(REFUSED)
    )


def _tell(outcome: Outcome, run: FaultedRun) -> None:
    found = run.found
    states = Counter(gap.state for gap in run.gaps)
    outcome.rows, outcome.missing, outcome.duplicate = found.rows, found.silent, found.duplicate
    outcome.expect(not found.unknown, f"rows that nobody traded: {found.unknown}")
    outcome.faults += [f"silent: {example}" for example in found.examples[:5]]
    outcome.figures = {
        "injected": len(run.played), "lossy": found.lossy, "noticed": found.noticed,
        "unsent": found.unsent, "recovered": found.recovered, "absent": found.absent,
        "told": found.told, "silent": found.silent, "beyond": found.beyond,
        "beyond_by_feed": found.beyond_by_feed, "false_filled": found.false_filled,
        "ledger_rows": len(run.gaps), "states": dict(sorted(states.items())),
    }  # fmt: skip


# --- what must hold -------------------------------------------------------------------------------


def expect_told(outcome: Outcome, run: FaultedRun) -> None:
    """The ledger says nothing untrue, and overlooks no fault."""
    found = run.found
    outcome.expect(found.false_filled == 0, f"{found.false_filled} rows are said to be there")
    outcome.expect(found.noticed == found.lossy, f"without a row: {found.overlooked[:5]}")


def expect_closed(outcome: Outcome, gaps: Sequence[Gap]) -> None:
    """No hole is left open, and none is lost where a venue has a history."""
    still = [gap for gap in gaps if gap.is_open]
    outcome.expect(not still, f"{len(still)} {STAYS_OPEN}: {told(still)}")
    by_id = [gap for gap in gaps if gap.state == "lost" and gap.feed in ALL_HISTORY]
    outcome.expect(not by_id, f"lost, though there is a history: {told(by_id)}")


def told(gaps: Sequence[Gap]) -> str:
    """Holes by what they are, the most frequent first."""
    shown = Counter(f"{gap.feed} {gap.cause} {gap.state} {gap.reason}".strip() for gap in gaps)
    return "; ".join(f"{times} x {what}" for what, times in shown.most_common(5))

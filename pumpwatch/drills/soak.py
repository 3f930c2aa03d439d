"""A soak (D-02): hours at a steady rate, with pumps, cuts, restarts of the database, kills.

Every row that is absent at the end must lie in a hole that the ledger tells of, and every row that
lay in the spool at a kill must be stored. Feeds are compared one after the other: all together are
larger than memory. ``count`` is in minutes; the symbols go on trading while nobody listens.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Sequence
from typing import Any

import msgspec
import polars as pl
import psutil
import trio

from pumpwatch.clock import SystemClock
from pumpwatch.config import FEED_NAMES
from pumpwatch.demo import Simulator, run_simulator
from pumpwatch.drills.covered import ENDLESS_NS, SAYS_MISSING
from pumpwatch.drills.holes import Holes, judge_holes
from pumpwatch.drills.outcome import Order, Outcome
from pumpwatch.drills.soak_plan import Step, plan_soak
from pumpwatch.drills.spooled import read_spooled
from pumpwatch.drills.stage import (
    DaemonProcess,
    daemon_process,
    is_subscribed,
    settle,
    simulator_arguments,
)
from pumpwatch.drills.trace import PROCESSES, SAMPLE_S, MemoryTrace, growth_of
from pumpwatch.model import Gap
from pumpwatch.sim.faults import Fault, Played
from pumpwatch.sim.truth import load_truth
from pumpwatch.store.gap_rows import COLUMNS, read_gap
from pumpwatch.store.server import running_address
from pumpwatch.store.server_process import PidFile
from pumpwatch.store.sql import Sql
from pumpwatch.tally import KEY, fetch_stored

PUMP_TIMES = 20  # the steady rate: 100,000 rows a second at 5,000
CUTS = ("fin", "reset", "mid_frame")
COVERED_MIN = 0.999
NEAR_NS = 5 * 10**9  # after all is subscribed again, a hole may still begin in the outage
CLOSING_S_MAX = 180.0  # for holes to be filled or given up
TELL_S = 60.0


class Outage(msgspec.Struct, frozen=True):
    """From a kill until all was subscribed again; wall time."""

    from_ns: int
    to_ns: int


class _Soak:
    """One run: what is done to it, and what must come back."""

    def __init__(self, order: Order, simulator: Simulator, daemon: DaemonProcess) -> None:
        self.outages: list[Outage] = []
        self.spooled: list[pl.DataFrame] = []
        self.done: dict[str, int] = {}
        self._order = order
        self._simulator = simulator
        self._daemon = daemon
        self._rng = random.Random(order.seed + 1)
        self._clock = SystemClock()

    async def play(self, plan: Sequence[Step], seconds: float) -> None:
        """Every step in its time, and the rest of the time."""
        begun_s = trio.current_time()
        for step in plan:
            await trio.sleep_until(begun_s + step.at_s)
            self._order.tell(f"{step.at_s:.0f} s: {step.kind} {step.feed}".rstrip())
            self.done[step.kind] = self.done.get(step.kind, 0) + 1
            await self._do(step)
        await trio.sleep_until(begun_s + seconds)

    async def _do(self, step: Step) -> None:
        match step.kind:
            case "pump":
                await self._simulator.set_rate(self._order.rate_per_s * PUMP_TIMES)
            case "calm":
                await self._simulator.set_rate(self._order.rate_per_s)
            case "cut":
                how: Any = self._rng.choice(CUTS)
                await self._simulator.give_faults([Fault(feed=step.feed, kind="cut", how=how)])
            case "database":
                known = PidFile.read(self._daemon.data_dir)
                if known is not None and psutil.pid_exists(known.pid):
                    # In order and not, in turn; the daemon starts it again.
                    process = psutil.Process(known.pid)
                    (process.kill if self.done["database"] % 2 else process.terminate)()
            case "kill":
                await self._kill()

    async def _kill(self) -> None:
        at_ns = self._clock.wall_ns()
        self._daemon.kill()
        left = await trio.to_thread.run_sync(read_spooled, self._daemon.data_dir / "spool")
        self.spooled.append(left.keys)
        self._daemon.start()
        await self._daemon.until(is_subscribed, "subscribed after a kill")
        self.outages.append(Outage(at_ns, self._clock.wall_ns()))


async def run(order: Order) -> Outcome:
    """Soak for ``count`` minutes; see the module."""
    outcome = Outcome()
    seconds = order.count * 60.0
    plan = plan_soak(random.Random(order.seed), seconds, FEED_NAMES)
    arguments = [*simulator_arguments(order.seed, order.rate_per_s), "--goes-on"]
    async with (
        run_simulator(order.folder / "truth", arguments) as simulator,
        daemon_process(order.folder / "run", simulator, has_backfill=True) as daemon,
    ):
        daemon.start()
        await daemon.until(is_subscribed, "subscribed")
        soak, trace = _Soak(order, simulator, daemon), MemoryTrace(daemon)
        begun_ns = SystemClock().wall_ns()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trace.run, min(SAMPLE_S, seconds / 60))
            nursery.start_soon(_tell, order, daemon)
            await soak.play(plan, seconds)
            nursery.cancel_scope.cancel()
        ended_ns = SystemClock().wall_ns()
        steady = daemon.status()
        order.tell("trading ends; what is pending drains, holes close")
        await _settle(daemon, simulator, outcome)
        gaps = await _ledger(daemon)
        played = await simulator.played_faults()
        await simulator.stop_generating()  # writes what of the truth was not written yet
        await _judge(order, outcome, daemon, gaps, played, soak)
        outcome.figures["bytes_per_row"] = await _bytes_per_row(daemon, outcome.rows)
        daemon.signal(signal.SIGTERM)
        outcome.expect(await daemon.wait() == 0, f"the daemon's exit code is {daemon.exit_code}")
    outcome.faults += trace.broken()
    _tell_coverage(outcome, gaps, soak.outages, (begun_ns, ended_ns), steady)
    outcome.figures |= {
        "minutes": order.count, "rate_per_s": order.rate_per_s, "steps": soak.done,
        "kill_to_subscribed_s": [round((o.to_ns - o.from_ns) / 1e9, 1) for o in soak.outages],
        "lag_p50_s": steady["store"]["lag_p50_s"], "lag_p99_s": steady["store"]["lag_p99_s"],
        "growth": [one for name in PROCESSES if (one := growth_of(trace.points, name))],
        **trace.figures(),
    }  # fmt: skip
    return outcome


async def _tell(order: Order, daemon: DaemonProcess) -> None:
    begun_s = trio.current_time()
    while True:
        await trio.sleep(TELL_S)
        status = daemon.status()
        if status:
            order.tell(
                f"{trio.current_time() - begun_s:.0f} s: {status['store']['applied_rows']:,} rows"
                f" applied since the daemon's start, {status['store']['pending_rows']:,} pending"
            )


# --- the end --------------------------------------------------------------------------------------


async def _settle(daemon: DaemonProcess, simulator: Simulator, outcome: Outcome) -> None:
    await settle(daemon, simulator)
    with trio.move_on_after(CLOSING_S_MAX):
        await daemon.until(
            lambda now: not sum(f["gaps_suspected"] + f["gaps_confirmed"] for f in now["feeds"]),
            "closed", CLOSING_S_MAX + 1,
        )  # fmt: skip
    last = await settle(daemon, simulator)
    outcome.expect(last["differences"] == [], f"balance: {last['differences']}")


async def _ledger(daemon: DaemonProcess) -> list[Gap]:
    sql = Sql(running_address(daemon.config), readonly=True)
    try:
        return [read_gap(row) for row in await sql.query_dicts(f"SELECT {COLUMNS} FROM feed_gaps")]
    finally:
        await sql.aclose()


async def _bytes_per_row(daemon: DaemonProcess, rows: int) -> float:
    sql = Sql(running_address(daemon.config), readonly=True)
    try:
        [(used,)] = await sql.query("SELECT sum(diskSize) FROM table_partitions('trades')")
        return round(int(used or 0) / max(rows, 1), 1)
    finally:
        await sql.aclose()


async def _judge(
    order: Order, outcome: Outcome, daemon: DaemonProcess, gaps: Sequence[Gap],
    played: Sequence[Played], soak: _Soak,
) -> None:  # fmt: skip
    sums = {"absent": 0, "told": 0, "recovered": 0, "unsent": 0}
    spooled = pl.concat(soak.spooled).unique(KEY) if soak.spooled else None
    address = running_address(daemon.config)
    for feed in FEED_NAMES:
        order.tell(f"comparing {feed}")
        stored = await fetch_stored(address, feed=feed)
        own_gaps = [gap for gap in gaps if gap.feed == feed]
        own_faults = [one for one in played if one.fault.feed == feed]
        found = await trio.to_thread.run_sync(
            _judge_feed, order, feed, stored, own_gaps, own_faults
        )
        outcome.rows += found.rows
        outcome.missing += found.silent
        outcome.duplicate += found.duplicate
        outcome.faults += [f"silent: {example}" for example in found.examples[:3]]
        outcome.expect(not found.unknown, f"rows that nobody traded: {found.unknown}")
        for name in sums:
            sums[name] += getattr(found, name)
        if spooled is not None:
            own = spooled.filter(pl.col("feed") == feed)
            lost = own.join(stored, on=KEY, how="anti")
            outcome.missing += len(lost)
            outcome.expect(lost.is_empty(), f"{feed}: {len(lost)} rows were spooled, not stored")
    outcome.figures |= {**sums, "spooled_checked": 0 if spooled is None else len(spooled)}


def _judge_feed(
    order: Order, feed: str, stored: pl.DataFrame, gaps: Sequence[Gap], played: Sequence[Played]
) -> Holes:
    truth = load_truth(order.folder / "truth", everything=True, only=feed)
    return judge_holes(truth, stored, gaps, played)


# --- what is covered ------------------------------------------------------------------------------


def covered_share(
    gaps: Sequence[Gap], symbols: dict[str, int], span: tuple[int, int],
    without: Sequence[Outage] = (),
) -> float:  # fmt: skip
    """Of the feeds' seconds; each symbol of a feed is its equal share of the feed's second.

    ``symbols`` is how many each feed has. Holes inside ``without`` do not count, nor do its
    seconds. A hole that is filled, or was none, is covered.
    """
    begin_ns, end_ns = span
    outages = [(max(o.from_ns, begin_ns), min(o.to_ns, end_ns)) for o in without]
    whole_ns = end_ns - begin_ns - sum(high - low for low, high in outages)
    spans: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for gap in gaps:
        if gap.state in SAYS_MISSING:
            low, high = max(gap.from_ns, begin_ns), min(gap.to_ns or ENDLESS_NS, end_ns)
            if low < high:
                spans.setdefault((gap.feed, gap.symbol), []).append((low, high))
    uncovered_ns = dict.fromkeys(symbols, 0.0)
    for (feed, symbol), held in spans.items():
        share = 1.0 if symbol == "*" else 1 / symbols[feed]
        uncovered_ns[feed] += share * (_length(held) - _length(held, outages))
    shares = [1 - min(ns, whole_ns) / whole_ns for ns in uncovered_ns.values()]
    return sum(shares) / len(shares)


def _length(
    spans: Sequence[tuple[int, int]], inside: Sequence[tuple[int, int]] | None = None
) -> int:
    """Of their union; ``inside``: only where one of these is, too."""
    length, reached = 0, 0
    for low, high in sorted(spans):
        begin = max(low, reached)
        if begin < high:
            if inside is None:
                length += high - begin
            else:
                length += sum(max(0, min(high, up) - max(begin, down)) for down, up in inside)
            reached = high
    return length


def _tell_coverage(
    outcome: Outcome, gaps: Sequence[Gap], outages: Sequence[Outage], span: tuple[int, int],
    status: dict[str, Any],
) -> None:  # fmt: skip
    symbols = {feed["feed"]: int(feed["wanted"]) for feed in status["feeds"]}
    near = [Outage(one.from_ns, one.to_ns + NEAR_NS) for one in outages]
    whole = covered_share(gaps, symbols, span)
    while_up = covered_share(gaps, symbols, span, near)
    outcome.expect(
        while_up >= COVERED_MIN,
        f"{while_up:.4%} of the feeds' seconds are covered while the daemon ran, {COVERED_MIN:.1%}"
        " wanted",
    )
    outcome.figures |= {
        "covered_percent": round(whole * 100, 4),
        "covered_percent_while_up": round(while_up * 100, 4),
        "ledger_rows": len(gaps),
        "lost": sum(gap.state == "lost" for gap in gaps),
        "open": sum(gap.is_open for gap in gaps),
    }

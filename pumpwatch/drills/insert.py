"""How fast rows are inserted (D-03a): through sockets, parser and spool into the applied table.

The clock runs from the first row received until every row is applied in the table. What is accepted
(received and spooled), what is applied, and processor time are told apart.
"""

from __future__ import annotations

import contextlib
import random
from typing import Any

import psutil
import trio

from pumpwatch.drills.by_feed import reckon_by_feed
from pumpwatch.drills.outcome import Order, Outcome
from pumpwatch.drills.stage import DaemonProcess, applied_rows, is_subscribed, parsed_rows, stage_of
from pumpwatch.drills.trace import MemoryTrace
from pumpwatch.sim.process import Simulator
from pumpwatch.store.server_process import PidFile

APPLIED_PER_S_MIN = 50_000
DRAIN_S_MAX = 600.0


async def run(order: Order) -> Outcome:
    """``count`` seconds at ``rate_per_s``; see the module."""
    outcome = Outcome()
    seed = random.Random(order.seed).randrange(1 << 31)
    async with stage_of(order, seed=seed) as (simulator, daemon):
        await simulator.set_rate(0)
        daemon.start()
        await daemon.until(is_subscribed, "subscribed")
        trace = MemoryTrace(daemon)
        known = PidFile.read(daemon.data_dir)
        assert daemon.process is not None
        pids = {"daemon": daemon.process.pid, "database": 0 if known is None else known.pid}
        before = _cpu_s(pids)
        begun = await daemon.until(bool, "running")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trace.run, max(1.0, order.count / 30))
            began_s = trio.current_time()
            await simulator.set_rate(order.rate_per_s)
            await trio.sleep(order.count)
            await simulator.stop_generating()
            accepted_s = trio.current_time() - began_s
            accepted = parsed_rows(await daemon.until(bool, "running")) - parsed_rows(begun)
            last = await _applied(daemon, simulator)
            applied_s = trio.current_time() - began_s
            nursery.cancel_scope.cancel()
        used = {name: s - before.get(name, 0.0) for name, s in _cpu_s(pids).items()}
        await reckon_by_feed(order, outcome, simulator, daemon)
    rows = applied_rows(last) - applied_rows(begun)
    outcome.expect_speed(
        order,
        rows / applied_s >= APPLIED_PER_S_MIN,
        f"{rows / applied_s:,.0f} rows/s applied, {APPLIED_PER_S_MIN:,} wanted",
    )
    outcome.faults += trace.too_large()
    outcome.figures |= {
        "seconds_offered": order.count, "offered_per_s": order.rate_per_s,
        "accepted_per_s": round(accepted / accepted_s), "applied_per_s": round(rows / applied_s),
        "cpu_s": {name: round(seconds, 1) for name, seconds in used.items()},
        "cpu_us_per_row": {
            name: round(seconds / max(rows, 1) * 1e6, 2) for name, seconds in used.items()
        },
        **trace.figures(),
    }  # fmt: skip
    return outcome


async def _applied(daemon: DaemonProcess, simulator: Simulator) -> dict[str, Any]:
    """The status when as many rows are in the table as the simulator delivered."""
    sent = await simulator.delivered_rows()
    found: dict[str, Any] = await daemon.until(
        lambda now: parsed_rows(now) >= sent and not now["store"]["pending_rows"],
        "applied", DRAIN_S_MAX,
    )  # fmt: skip
    return found


def _cpu_s(pids: dict[str, int]) -> dict[str, float]:
    found = {}
    for name, pid in pids.items():
        with contextlib.suppress(psutil.Error):
            times = psutil.Process(pid).cpu_times()
            found[name] = times.user + times.system
    return found

"""A pump (D-03b): a calm rate, thirty times it, ten times it for four times as long, calm again.

At 5,000 rows a second that is 5,000 -> 150,000 -> 50,000 -> 5,000; ``count`` is the seconds of the
burst. A window is asked for all the time.
"""

from __future__ import annotations

import random
import statistics
from typing import Any

import trio

from pumpwatch.clock import SystemClock
from pumpwatch.daemon_client import ask_window
from pumpwatch.drills.by_feed import reckon_by_feed
from pumpwatch.drills.outcome import Order, Outcome
from pumpwatch.drills.reckoning import pending
from pumpwatch.drills.stage import DaemonProcess, is_subscribed, stage_of
from pumpwatch.drills.trace import MemoryTrace
from pumpwatch.errors import ServerError
from pumpwatch.sim.process import Simulator
from pumpwatch.store.window_model import WindowQuestion

# (name, times the calm rate, times the count)
PHASES = (("calm", 1, 1), ("burst", 30, 1), ("high", 10, 4), ("calm again", 1, 1))
REST_S = 3.0  # as many rows as come in so long may be pending, and count as drained
DRAINED_S_MAX = 120.0
ASK_S = 1.0
WINDOW_NS = 10 * 10**9
ROWS_MAX = 1000
SYMBOL = "BTCUSDT"


class _Answers:
    """Windows that were asked for, by phase; seconds."""

    def __init__(self) -> None:
        self.phase = PHASES[0][0]
        self.times_s: dict[str, list[float]] = {}
        self.failed: list[str] = []

    async def run(self, daemon: DaemonProcess) -> None:
        """One a second until cancelled."""
        clock = SystemClock()
        while True:
            to_ns = clock.wall_ns() - 10**9
            question = WindowQuestion(symbols=(SYMBOL,), from_ns=to_ns - WINDOW_NS, to_ns=to_ns)
            begun_s, phase = trio.current_time(), self.phase
            try:
                await trio.to_thread.run_sync(ask_window, daemon.config, question, ROWS_MAX)
            except ServerError as error:
                self.failed.append(f"{phase}: {error}")
            else:
                self.times_s.setdefault(phase, []).append(trio.current_time() - begun_s)
            await trio.sleep(ASK_S)

    def figures(self) -> dict[str, Any]:
        """Median and worst of each phase, in ms."""
        return {
            phase: {"asked": len(times), "p50_ms": round(statistics.median(times) * 1e3, 1),
                    "worst_ms": round(max(times) * 1e3, 1)}
            for phase, times in self.times_s.items()
        }  # fmt: skip


async def run(order: Order) -> Outcome:
    """Play the profile; see the module."""
    outcome, answers = Outcome(), _Answers()
    seed = random.Random(order.seed).randrange(1 << 31)
    async with stage_of(order, seed=seed) as (simulator, daemon):
        daemon.start()
        await daemon.until(is_subscribed, "subscribed")
        trace = MemoryTrace(daemon)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trace.run, max(1.0, order.count / 6))
            nursery.start_soon(answers.run, daemon)
            sent, drained_s = await _play(order, simulator, daemon, answers)
            nursery.cancel_scope.cancel()
        lag_s = daemon.status()["store"]["lag_p99_s"]
        await reckon_by_feed(order, outcome, simulator, daemon)
    outcome.faults += trace.too_large()
    in_time = drained_s <= DRAINED_S_MAX
    outcome.expect_speed(order, in_time, f"drained {drained_s:.0f} s after the burst")
    outcome.expect(not answers.failed, f"no answer: {answers.failed[:3]}")
    outcome.expect("burst" in answers.times_s, "nobody asked during the burst")
    outcome.figures |= {
        "delivered_per_s": sent, "drained_s": round(drained_s, 1), "lag_p99_s": lag_s,
        "answers": answers.figures(), **trace.figures(),
    }  # fmt: skip
    return outcome


async def _play(
    order: Order, simulator: Simulator, daemon: DaemonProcess, answers: _Answers
) -> tuple[dict[str, int], float]:
    """Rows a second that were delivered in each phase; seconds from the burst's end to drained."""
    sent: dict[str, int] = {}
    drained_s: float | None = None
    burst_end_s = 0.0
    for name, times, lengths in PHASES:
        answers.phase = name
        order.tell(f"{name}: {order.rate_per_s * times:,} rows/s")
        before, begun_s = await simulator.delivered_rows(), trio.current_time()
        await simulator.set_rate(order.rate_per_s * times)
        end_s = begun_s + lengths * order.count
        rest = order.rate_per_s * times * REST_S
        while trio.current_time() < end_s:
            await trio.sleep(min(0.5, end_s - trio.current_time()))
            status = daemon.status()
            is_after = burst_end_s and drained_s is None
            if is_after and status and pending(status) <= rest:
                drained_s = trio.current_time() - burst_end_s
        seconds = trio.current_time() - begun_s
        sent[name] = round((await simulator.delivered_rows() - before) / seconds)
        if name == "burst":
            burst_end_s = trio.current_time()
    if drained_s is None:
        rest = order.rate_per_s * REST_S
        await daemon.until(lambda now: pending(now) <= rest, "drained", 10 * DRAINED_S_MAX)
        drained_s = trio.current_time() - burst_end_s
    return sent, drained_s

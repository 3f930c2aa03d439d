"""A database at a tenth of the incoming rate.

Memory stays flat, the disk takes the rest; afterwards it drains twice as fast as rows come in.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import trio

from pumpwatch.clock import SystemClock
from pumpwatch.drills.outcome import Order, Outcome
from pumpwatch.drills.reckoning import pending, reckon
from pumpwatch.drills.stage import DaemonProcess, external_stage, is_subscribed, parsed_rows
from pumpwatch.drills.trace import line_through

LINE_BYTES = 230  # a trade's line, about
SLOW_SHARE = 0.1
DRAIN_SHARE_MIN = 2.0
DRAIN_S_MAX = 600.0
GROWTH_MIB_MAX = 64.0  # of the daemon's memory while the spool grows: its buffers' bound
# So long a run fills, in its first three quarters, what is bounded otherwise: the memory hour, and
# this much of requests that are tried again and marks of what is not visible yet. Then it is flat.
LEVEL_FROM_S = 240
FILLING_MIB = 96.0
LEVEL_MIB_MAX = 16.0  # in the last quarter
WATCH_S = 1.0
DRAINED_ROWS_S = 2.0  # as many rows as come in so long may always be pending


async def run(order: Order) -> Outcome:
    """A slow database for ``count`` seconds, then a fast one; see the module."""
    outcome = Outcome()
    rng = random.Random(order.seed)
    clock = SystemClock()
    seed = rng.randrange(1 << 31)
    async with external_stage(order, seed) as parts:
        daemon = parts.daemon
        daemon.start()
        await daemon.until(is_subscribed, "subscribed")
        await trio.sleep(2 * WATCH_S)
        parts.proxy.bytes_per_s = order.rate_per_s * LINE_BYTES * SLOW_SHARE
        slow = await _watch(daemon, order.count)
        parts.proxy.bytes_per_s = None
        begun_ns, first = clock.wall_ns(), daemon.status()
        rest = order.rate_per_s * DRAINED_ROWS_S
        drained = await daemon.until(lambda now: pending(now) <= rest, "drained", DRAIN_S_MAX)
        drain_s = (clock.wall_ns() - begun_ns) / 1e9
        incoming = parsed_rows(drained) - parsed_rows(first)
        applied = pending(first) - pending(drained) + incoming
        await reckon(outcome, parts.simulator, daemon)
    rss_mib = [one["daemon_rss_mib"] for one in slow]
    growth_mib = max(rss_mib) - rss_mib[0]
    last_mib = last_quarter_growth(rss_mib)
    share = applied / max(incoming, 1)
    outcome.expect(pending(slow[-1]) > pending(slow[0]), "the spool did not grow")
    bound_mib = GROWTH_MIB_MAX
    if order.count >= LEVEL_FROM_S:
        bound_mib += FILLING_MIB + daemon.config.memory.max_mib
        outcome.expect(
            last_mib <= LEVEL_MIB_MAX, f"memory grew by {last_mib:.0f} MiB in the last quarter"
        )
    outcome.expect(growth_mib <= bound_mib, f"memory grew by {growth_mib:.0f} MiB")
    is_fast = share >= DRAIN_SHARE_MIN
    outcome.expect_speed(order, is_fast, f"drained at {share:.1f} times the incoming rate")
    outcome.figures |= {
        "slow_s": order.count, "pending_rows_max": max(map(pending, slow)),
        "spool_mib_max": round(max(one["store"]["spool_mib"] for one in slow), 1),
        "memory_growth_mib": round(growth_mib, 1),
        "last_quarter_growth_mib": round(last_mib, 1), "drain_s": round(drain_s, 1),
        "drain_rows_per_s": round(applied / drain_s), "drain_share": round(share, 1),
    }  # fmt: skip
    return outcome


def last_quarter_growth(values: Sequence[float]) -> float:
    """How far a line through the last quarter of these values rises."""
    begin, end = line_through(list(enumerate(values))[-len(values) // 4 :])
    return end - begin


async def _watch(daemon: DaemonProcess, seconds: float) -> list[dict[str, Any]]:
    """The daemon's statuses of so many seconds, one a second."""
    seen = []
    for _ in range(max(4, int(seconds / WATCH_S))):
        seen.append(daemon.status() or await daemon.until(bool, "running"))
        await trio.sleep(WATCH_S)
    return seen

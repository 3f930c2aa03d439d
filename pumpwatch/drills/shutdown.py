"""SIGTERM under load: everything received is stored, at the latest by the next start.

Every other time a second signal follows at once: that end is not orderly, and costs a tail.
"""

from __future__ import annotations

import random
import signal

import trio

from pumpwatch.clock import SystemClock
from pumpwatch.drills.outcome import Order, Outcome
from pumpwatch.drills.reckoning import reckon
from pumpwatch.drills.stage import is_subscribed, stage_of
from pumpwatch.drills.verdict import Kill

LOAD_S = (1.0, 4.0)
EXIT_S_MAX = 45.0  # closing handshakes (10), draining (5 here) and the database's end (20 at most)
SECOND_S = (0.0, 1.5)
EXIT_SECOND = 128 + signal.SIGTERM
SETTINGS = "[system]\nshutdown_s = 5\n"


async def run(order: Order) -> Outcome:
    """End the daemon ``count`` times; see the module."""
    outcome = Outcome()
    rng = random.Random(order.seed)
    clock = SystemClock()
    kills: list[Kill] = []
    ends_s: dict[str, float] = {"one": 0.0, "two": 0.0}
    seed = rng.randrange(1 << 31)
    async with stage_of(order, SETTINGS, seed=seed) as (simulator, daemon):
        for number in range(order.count):
            started_ns = clock.wall_ns()
            daemon.start()
            await daemon.until(is_subscribed, "subscribed")
            await trio.sleep(rng.uniform(*LOAD_S))
            daemon.signal(signal.SIGTERM)
            begun_s = trio.current_time()
            is_second = bool(number % 2)
            if is_second:
                await trio.sleep(rng.uniform(*SECOND_S))
                daemon.signal(signal.SIGTERM)
            code = await daemon.wait(EXIT_S_MAX + 60)
            took_s = trio.current_time() - begun_s
            if is_second:
                kills.append(Kill(started_ns=started_ns, at_ns=clock.wall_ns()))
            # The second may also come when all is done: just before, or just after the exit code.
            expected = (EXIT_SECOND, 0, -signal.SIGTERM) if is_second else (0,)
            outcome.expect(code in expected, f"exit code {code} after {1 + is_second} signals")
            outcome.expect(took_s <= EXIT_S_MAX, f"ended after {took_s:.1f} s")
            name = "two" if is_second else "one"
            ends_s[name] = max(ends_s[name], round(took_s, 1))
        daemon.start()
        await daemon.until(is_subscribed, "subscribed")
        verdict = await reckon(outcome, simulator, daemon, kills=kills)
    outcome.figures = {"ends": order.count, "end_s_max": ends_s, "tail_rows": verdict.tail_rows,
                       "unspooled_ms_max": verdict.unspooled_ms_max}  # fmt: skip
    return outcome

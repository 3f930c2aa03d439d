"""Other clocks and other orders (D-17): the venues' clocks ahead and behind, trades out of order.

Rows must be stored with the venue's time to its last digit: the truth's key holds it. Trades come
late and behind younger ones, up to what the simulator calls disorder (under 2 s). ``count`` is the
seconds at each offset.
"""

from __future__ import annotations

import random

import trio

from pumpwatch.config import FEED_NAMES
from pumpwatch.drills.by_feed import reckon_by_feed
from pumpwatch.drills.outcome import Order, Outcome
from pumpwatch.drills.stage import (
    DaemonProcess,
    daemon_process,
    is_subscribed,
    simulator_arguments,
)
from pumpwatch.sim.faults import LATE_S_MAX, Fault
from pumpwatch.sim.process import Simulator, run_simulator

OFFSETS_S = (-1.3, 1.3)
LATE_EVERY_S = 0.5
LATE_ROWS = 5


async def run(order: Order) -> Outcome:
    """Both offsets; see the module."""
    outcome, late = Outcome(), 0
    lags_ms: dict[str, float] = {}
    for number, offset_s in enumerate(OFFSETS_S):
        order.tell(f"the venues' clocks are {offset_s:+g} s off")
        folder = order.folder / f"{number}"
        arguments = [
            *simulator_arguments(order.seed + number, order.rate_per_s),
            f"--clock-offset={offset_s}",
        ]
        async with (
            run_simulator(folder / "truth", arguments) as simulator,
            daemon_process(folder / "run", simulator) as daemon,
        ):
            daemon.start()
            await daemon.until(is_subscribed, "subscribed")
            rng = random.Random(order.seed + number)
            lags: list[float] = []
            with trio.move_on_after(order.count):
                await _disorder(simulator, daemon, rng, lags)
            played = await simulator.played_faults()
            late += sum(one.rows for one in played)
            lags_ms[f"{offset_s:+g} s"] = round(min(lags, default=0.0), 1)
            await reckon_by_feed(order, outcome, simulator, daemon)
    outcome.expect(late > 0, "no row came late")
    # A clock that is ahead shows as a lag below zero: nothing takes received for after traded.
    outcome.expect(lags_ms["+1.3 s"] < 0, f"the venues' clocks were not ahead: {lags_ms}")
    outcome.figures |= {"late_rows": late, "offsets_s": list(OFFSETS_S), "lag_ms_min": lags_ms}
    return outcome


async def _disorder(
    simulator: Simulator, daemon: DaemonProcess, rng: random.Random, lags_ms: list[float]
) -> None:
    """Rows of one symbol after the other come behind younger ones; notes each feed's lag."""
    while True:
        await trio.sleep(LATE_EVERY_S)
        feed = rng.choice(FEED_NAMES)
        symbol = simulator.facts()[feed]["venue_symbols"][0]  # the busiest
        seconds = rng.uniform(0.05, LATE_S_MAX - 0.1)
        fault = Fault(feed=feed, kind="late", symbol=symbol, rows=LATE_ROWS, seconds=seconds)
        await simulator.give_faults([fault])
        feeds = daemon.status().get("feeds", [])
        lags_ms += [feed["lag_ms"] for feed in feeds if feed["lag_ms"] is not None]

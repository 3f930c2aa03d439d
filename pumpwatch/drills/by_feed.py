"""The end of a long drill: the table is held against the truth one feed after the other.

All feeds together are larger than memory. For drills that end nothing by force: a row that was
delivered must be there.
"""

from __future__ import annotations

import signal

import trio

from pumpwatch.drills.outcome import Order, Outcome
from pumpwatch.drills.stage import DaemonProcess, settle
from pumpwatch.sim.process import Simulator
from pumpwatch.store.server import running_address
from pumpwatch.tally import compare, fetch_stored


async def reckon_by_feed(
    order: Order, outcome: Outcome, simulator: Simulator, daemon: DaemonProcess
) -> None:
    """Settle, compare, end the daemon and the simulator; adds to the outcome."""
    order.tell("trading ends; what is pending drains")
    last = await settle(daemon, simulator)
    outcome.expect(last["differences"] == [], f"balance: {last['differences']}")
    await simulator.stop_generating()  # writes what of the truth was not written yet
    address = running_address(daemon.config)
    order.tell("comparing with the truth")
    for feed in order.feeds:
        truth, stored = await simulator.truth(feed), await fetch_stored(address, feed=feed)
        (found,) = await trio.to_thread.run_sync(compare, truth, stored, [feed])
        outcome.rows += found.sent
        outcome.missing += found.missing
        outcome.duplicate += found.duplicate
        outcome.expect(not found.different, f"{feed}: {found.different} rows with other values")
        outcome.expect(not found.unknown, f"{feed}: {found.unknown} rows that nobody traded")
    daemon.signal(signal.SIGTERM)
    outcome.expect(await daemon.wait() == 0, f"the daemon's exit code is {daemon.exit_code}")
    await simulator.end()

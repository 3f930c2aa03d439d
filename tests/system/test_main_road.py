"""The whole road: what the simulator delivered is what the database holds, row for row."""

from __future__ import annotations

import signal
from pathlib import Path

import polars as pl
import pytest
import trio
from polars.testing import assert_frame_equal

from pumpwatch.config import FEED_NAMES
from pumpwatch.drills.stage import DaemonProcess, applied_rows, daemon_process, is_subscribed
from pumpwatch.errors import EXIT_GOOD
from pumpwatch.sim.process import Simulator, run_simulator
from pumpwatch.store.server import running_address
from pumpwatch.tally import compare, fetch_stored

pytestmark = [pytest.mark.questdb, pytest.mark.slow]

SEED = 20_261_125
RATE = 10_000
SECONDS = 20
COLUMNS = ["feed", "symbol", "trade_id", "exchange_ns", "side", "price", "quantity"]


async def settle(daemon: DaemonProcess, simulator: Simulator) -> None:
    """Trading has stopped: wait until what was delivered is applied."""
    await simulator.stop_generating()
    stats = await simulator.stats()
    delivered = sum(feed["delivered"] for feed in stats["feeds"].values())
    await daemon.until(
        lambda document: (
            sum(feed["parsed"] for feed in document["feeds"]) >= delivered
            and not document["store"]["pending_rows"]
        ),
        "settled",
    )


async def assert_exact(daemon: DaemonProcess, truth: pl.DataFrame) -> None:
    """The multisets are equal.

    Without the order number: Phemex's belongs to the message, and a snapshot after a restart tells
    rows again under another one.
    """
    stored = await fetch_stored(running_address(daemon.config))
    sequence = pl.lit(0, dtype=pl.Int64).alias("sequence_number")
    tallies = compare(truth.with_columns(sequence), stored.with_columns(sequence), list(FEED_NAMES))
    assert all(tally.sent for tally in tallies), tallies
    assert [tally for tally in tallies if not tally.is_exact] == []
    sent = truth.select(
        *COLUMNS[:5], pl.col("price").cast(pl.Float64), pl.col("quantity").cast(pl.Float64)
    ).unique(COLUMNS)
    assert_frame_equal(
        sent.sort(COLUMNS), stored.select(COLUMNS).sort(COLUMNS), check_row_order=True
    )


async def test_every_row_of_twelve_feeds_is_stored_once(tmp_path: Path) -> None:
    print(f"seed {SEED}")
    arguments = ["--rate", str(RATE), "--seed", str(SEED)]
    async with (
        run_simulator(tmp_path / "truth", arguments) as simulator,
        daemon_process(tmp_path / "run", simulator) as daemon,
    ):
        daemon.start()
        await daemon.until(is_subscribed, "subscribed")
        await trio.sleep(SECONDS)
        await settle(daemon, simulator)
        document = daemon.status()
        assert document["differences"] == []
        assert document["store"]["refused_rows"] == 0
        await simulator.end()
        await assert_exact(daemon, await simulator.truth())
        daemon.signal(signal.SIGTERM)
        assert await daemon.wait() == EXIT_GOOD, daemon.log_tail()


async def test_sigterm_in_mid_load_loses_nothing(tmp_path: Path) -> None:
    """What came before the sockets were closed is stored, at the latest by the next start."""
    print(f"seed {SEED + 1}")
    arguments = ["--rate", str(RATE), "--seed", str(SEED + 1)]
    async with (
        run_simulator(tmp_path / "truth", arguments) as simulator,
        daemon_process(tmp_path / "run", simulator, "[system]\nshutdown_s = 1\n") as daemon,
    ):
        daemon.start()
        await daemon.until(is_subscribed, "subscribed")
        await trio.sleep(5)
        daemon.signal(signal.SIGTERM)
        assert await daemon.wait() == EXIT_GOOD, daemon.log_tail()
        await simulator.stop_generating()
        daemon.start()
        await daemon.until(
            lambda document: is_subscribed(document) and not document["store"]["pending_rows"],
            "drained",
        )
        assert applied_rows(daemon.status()) >= 0
        await simulator.end()
        await assert_exact(daemon, await simulator.truth())

"""What a kill costs is known to the id: the next start opens it as holes of the ledger (R3)."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import trio

from pumpwatch.drills.stage import DaemonProcess
from pumpwatch.errors import EXIT_GOOD
from pumpwatch.store.server import running_address
from pumpwatch.store.window import iso_ns
from pumpwatch.tally import fetch_stored
from tests.system.test_cuts import (
    CUT_S,
    START_S_MAX,
    check,
    holes_of,
    is_healthy,
    missing_ids,
    quiet,
    recording,
    until_listed,
    witness,
)

pytestmark = [pytest.mark.questdb, pytest.mark.slow]

Holes = dict[tuple[str, str], list[dict[str, object]]]
Missing = dict[tuple[str, str], list[int]]


def keep_all(daemon: DaemonProcess) -> None:
    """What a SIGKILL leaves is left."""


def forget_positions(daemon: DaemonProcess) -> None:
    """The control: nothing says where symbols stood."""
    shutil.rmtree(daemon.data_dir / "spool")


async def kill_and_start(
    folder: Path, between: Callable[[DaemonProcess], None]
) -> tuple[Holes, Missing, pl.DataFrame]:
    """Trading goes on while the daemon is dead; the ledger, the missing ids, and what is stored."""
    async with recording(folder) as (simulator, _, daemon):
        async with witness(simulator, await until_listed(daemon)):
            await trio.sleep(4)
            daemon.kill()
            between(daemon)
            await trio.sleep(CUT_S)
            daemon.start()
            await daemon.until(is_healthy, "healthy after the kill", START_S_MAX)
            await trio.sleep(4)
            await quiet(daemon, simulator)
        holes = await holes_of(daemon)
        await simulator.end()
        missing = await missing_ids(daemon, await simulator.truth())
        stored = await fetch_stored(running_address(daemon.config))
        assert daemon.status()["differences"] == []
        daemon.signal(signal.SIGTERM)
        assert await daemon.wait() == EXIT_GOOD, daemon.log_tail()
    return holes, missing, stored


async def test_what_passed_while_the_daemon_was_dead_is_a_hole_with_exact_bounds(
    tmp_path: Path,
) -> None:
    holes, missing, stored = await kill_and_start(tmp_path, keep_all)
    check(holes, missing, {"restart"})
    times = {
        (feed, symbol, number): iso_ns(ns)
        for feed, symbol, number, ns in stored.select(
            "feed", "symbol", "sequence_number", "exchange_ns"
        ).iter_rows()
    }
    for (feed, symbol), ids in missing.items():
        (row,) = [row for row in holes[(feed, symbol)] if row["state"] == "confirmed"]
        # The rows on both sides of it, and no later or earlier ones.
        assert row["from_ts"] == times[(feed, symbol, ids[0] - 1)], row
        assert row["to_ts"] == times[(feed, symbol, ids[-1] + 1)], row


async def test_control_without_positions_the_outage_is_in_no_row(tmp_path: Path) -> None:
    holes, missing, _ = await kill_and_start(tmp_path, forget_positions)
    with pytest.raises((AssertionError, ValueError)):
        check(holes, missing, {"restart"})
    assert len(missing) > 0
    assert not any(row["cause"] == "restart" for rows in holes.values() for row in rows)

"""All feeds are cut for some seconds: every row comes back, where the venue's depth allows."""

from __future__ import annotations

import signal
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import trio

from pumpwatch.clock import SystemClock
from pumpwatch.config import FEED_NAMES, Config, in_folder
from pumpwatch.daemon_client import act
from pumpwatch.drills.stage import DaemonProcess, daemon_process
from pumpwatch.errors import EXIT_GOOD
from pumpwatch.moments import parse_iso_ns
from pumpwatch.sim.process import Simulator, run_simulator
from pumpwatch.store.gap_rows import read_gaps
from pumpwatch.store.server import running_address
from pumpwatch.tally import KEY, compare, fetch_stored
from pumpwatch.venues import FEEDS_BY_NAME
from pumpwatch.verify import verify
from pumpwatch.verify_book import Span
from tests.system.proxy import Proxy, run_proxy
from tests.system.test_cuts import holes_of, quiet, venue_symbols
from tests.system.venue_witness import subscribe_all

pytestmark = [pytest.mark.questdb, pytest.mark.slow]

SEED = 20_261_127
SYMBOLS = 6
ARGUMENTS = ["--symbols", str(SYMBOLS), "--rate", "400", "--no-recorded", "--seed", str(SEED)]
CUT_S = 4.0
START_S_MAX = 180.0  # the machine may be busy
MEND_S_MAX = 120.0
APPLIED_S_MAX = 90.0


def is_healthy(document: dict[str, Any]) -> bool:
    return len(document["feeds"]) == len(FEED_NAMES) and all(
        feed["healthy"] and feed["wanted"] for feed in document["feeds"]
    )


def is_mended(document: dict[str, Any]) -> bool:
    return is_healthy(document) and not any(
        feed["gaps_suspected"] + feed["gaps_confirmed"] for feed in document["feeds"]
    )


@asynccontextmanager
async def recording(
    folder: Path, toml: str = ""
) -> AsyncIterator[tuple[Simulator, Proxy, DaemonProcess, Config]]:
    """Daemon and simulator with a proxy between their sockets; all is subscribed."""
    print(f"seed {SEED}")
    async with run_simulator(folder / "truth", ARGUMENTS) as simulator:
        url = simulator.feeds[FEED_NAMES[0]]["websocket_url"]
        direct = simulator.configure(in_folder(Config(), folder / "witness"))
        async with run_proxy(url) as proxy, run_proxy(url, proxy.port) as rest_proxy:
            for urls in simulator.feeds.values():
                urls["websocket_url"] = proxy.through(urls["websocket_url"])
                urls["rest_url"] = rest_proxy.through(urls["rest_url"])  # KuCoin's tells where
            async with daemon_process(folder / "run", simulator, toml, has_backfill=True) as daemon:
                daemon.start()
                await daemon.until(is_healthy, "healthy", START_S_MAX)
                yield simulator, proxy, daemon, direct


async def until_listed(daemon: DaemonProcess) -> dict[str, list[str]]:
    with trio.fail_after(60):
        while len(names := await venue_symbols(daemon)) < len(FEED_NAMES):  # noqa: ASYNC110
            await trio.sleep(0.2)
    return names


async def check_rows(daemon: DaemonProcess, simulator: Simulator) -> None:
    """Everything that somebody was sent is stored once, and nothing else."""
    await simulator.end()
    truth = await simulator.truth()
    stored = await fetch_stored(running_address(daemon.config))
    # Phemex's number is a message's: of a list, not of the trades in it.
    is_message = pl.col("feed").str.starts_with("phemex")
    without = pl.when(is_message).then(0).otherwise(pl.col("sequence_number"))
    truth, stored = (one.with_columns(without.alias("sequence_number")) for one in (truth, stored))
    for tally in compare(truth, stored, list(FEED_NAMES)):
        assert (tally.missing, tally.duplicate, tally.different) == (0, 0, 0), tally


async def until_closed(daemon: DaemonProcess) -> list[dict[str, Any]]:
    """The table's holes once none is open: it learns what the daemon knows a moment later."""
    with trio.fail_after(APPLIED_S_MAX):
        while True:
            rows = await trio.to_thread.run_sync(lambda: read_gaps(daemon.config, limit=100_000))
            if not any(row["state"] in ("suspected", "confirmed") for row in rows):
                return rows
            await trio.sleep(0.5)


async def try_lost_ones_again(daemon: DaemonProcess, rows: list[dict[str, Any]]) -> None:
    """They are opened, looked at, and lost again: the venue shows no more than before."""
    lost = [row for row in rows if row["state"] == "lost"]
    for feed in {f"{row['exchange']}_{row['market_type']}" for row in lost}:
        act_on = partial(act, daemon.config, "retry_gaps", feed=feed)
        told = await trio.to_thread.run_sync(act_on)
        assert not told.endswith(" 0 of them were lost"), told
    if lost:
        await trio.sleep(2)
        await daemon.until(is_mended, "mended again", MEND_S_MAX)


async def check_that_missing_rows_are_told(
    daemon: DaemonProcess, simulator: Simulator, rows: list[dict[str, Any]]
) -> None:
    """What is not stored lies in a hole that is called lost; where there is a history, nothing."""
    await simulator.end()
    stored = await fetch_stored(running_address(daemon.config))
    truth = await simulator.truth()
    missing = truth.unique(KEY).join(stored, on=KEY, how="anti")
    lost: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for row in rows:
        if row["state"] == "lost":
            span = parse_iso_ns(row["from_ts"]), parse_iso_ns(row["to_ts"])
            assert span[0] is not None
            assert span[1] is not None
            lost[(f"{row['exchange']}_{row['market_type']}", row["symbol"])].append(span)
    print(f"{len(missing)} rows are missing, {sum(map(len, lost.values()))} holes are lost")
    for feed, symbol, at_ns in missing.select("feed", "symbol", "exchange_ns").iter_rows():
        assert FEEDS_BY_NAME[feed].history is None, (feed, symbol, at_ns)
        spans = lost[(feed, symbol)]
        assert any(low <= at_ns <= high for low, high in spans), (feed, symbol, at_ns, spans)


async def check_that_it_is_found_whole(daemon: DaemonProcess, begun_ns: int) -> None:
    """``verify`` has a reason for everything; holes can be asked for again, and none is open."""
    span = Span(begun_ns, SystemClock().wall_ns())
    found = await verify(daemon.config, span, FEED_NAMES, SYMBOLS, SEED)
    assert [one for one in found if not one.reason] == []
    told = await trio.to_thread.run_sync(lambda: act(daemon.config, "retry_gaps", open="true"))
    assert told == "0 holes are looked at again now, 0 of them were lost"


async def test_every_row_of_a_cut_comes_back(tmp_path: Path) -> None:
    async with recording(tmp_path) as (simulator, proxy, daemon, direct):
        begun_ns = SystemClock().wall_ns()
        async with subscribe_all(direct, await until_listed(daemon), SEED):
            await trio.sleep(3)
            proxy.cut()
            await trio.sleep(CUT_S)
            proxy.mend()
            await daemon.until(is_healthy, "healthy again", START_S_MAX)
            await trio.sleep(2)
            await quiet(daemon, simulator)
        document = await daemon.until(is_mended, "mended", MEND_S_MAX)
        await until_closed(daemon)
        holes = await holes_of(daemon)
        states = Counter((feed, row["state"]) for (feed, _), rows in holes.items() for row in rows)
        assert not any(state == "lost" for _, state in states), states
        for feed in FEED_NAMES:
            assert states[(feed, "filled")] > 0, (feed, states)
        assert sum(feed["backfill"]["rows"] for feed in document["feeds"]) > 0
        await check_that_it_is_found_whole(daemon, begun_ns)
        await check_rows(daemon, simulator)
        assert document["differences"] == []
        daemon.signal(signal.SIGTERM)
        assert await daemon.wait() == EXIT_GOOD, daemon.log_tail()


async def test_a_kill_in_the_middle_of_it_forgets_nothing(tmp_path: Path) -> None:
    async with recording(tmp_path) as (simulator, proxy, daemon, direct):
        async with subscribe_all(direct, await until_listed(daemon), SEED):
            await trio.sleep(3)
            proxy.cut()
            await trio.sleep(CUT_S)
            proxy.mend()
            await trio.sleep(1)
            daemon.kill()
            daemon.start()
            await daemon.until(is_healthy, "healthy after the kill", START_S_MAX)
            await trio.sleep(2)
            await quiet(daemon, simulator)
        await daemon.until(is_mended, "mended", MEND_S_MAX)
        rows = await until_closed(daemon)
        await try_lost_ones_again(daemon, rows)
        await check_that_missing_rows_are_told(daemon, simulator, rows)

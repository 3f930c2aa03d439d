"""What a cut costs is known to the id: stored rows and the ledger's holes are the whole truth."""

from __future__ import annotations

import signal
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import trio
from trio_websocket import ConnectionClosed, open_websocket_url

from pumpwatch.clock import SystemClock
from pumpwatch.drills.stage import DaemonProcess, daemon_process
from pumpwatch.errors import EXIT_GOOD
from pumpwatch.sim.process import Simulator, run_simulator
from pumpwatch.store.gap_rows import read_gaps
from pumpwatch.store.readonly import query
from pumpwatch.store.server import running_address
from pumpwatch.tally import fetch_stored
from pumpwatch.venues import FEEDS_BY_NAME
from tests.system.proxy import Proxy, run_proxy

pytestmark = [pytest.mark.questdb, pytest.mark.slow]

SEED = 20_261_126
FEEDS = ("binance_spot", "okx_futures", "gate_spot")  # ids count up
SYMBOLS = 12
ARGUMENTS = ["--feeds", ",".join(FEEDS), "--symbols", str(SYMBOLS), "--rate", "900",
             "--no-recorded", "--seed", str(SEED)]  # fmt: skip
CUT_S = 2.0
START_S_MAX = 180.0  # the machine may be busy


@asynccontextmanager
async def witness(simulator: Simulator, names: dict[str, list[str]]) -> AsyncIterator[None]:
    """Somebody else who is subscribed to everything: trading goes on while we are cut off."""
    async with trio.open_nursery() as nursery:
        for feed in FEEDS:
            await nursery.start(_subscribe, simulator.feeds[feed]["websocket_url"], feed, names)
        yield
        nursery.cancel_scope.cancel()


async def _subscribe(
    url: str,
    feed: str,
    names: dict[str, list[str]],
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    async with open_websocket_url(url) as socket:
        now_s = SystemClock().wall_ns() // 10**9
        request = FEEDS_BY_NAME[feed].subscribe.render(tuple(names[feed]), 1, now_s)
        await socket.send_message(request)
        task_status.started()
        try:
            while True:
                await socket.get_message()
        except ConnectionClosed:
            return


def by_feed(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {feed["feed"]: feed for feed in document["feeds"]}


def is_healthy(document: dict[str, Any]) -> bool:
    feeds = by_feed(document)
    return set(feeds) == set(FEEDS) and all(
        feed["healthy"] and feed["wanted"] for feed in feeds.values()
    )


async def quiet(daemon: DaemonProcess, simulator: Simulator) -> None:
    """Trading has stopped, and all that came is in the table."""
    await simulator.stop_generating()
    await trio.sleep(2)
    await daemon.until(
        lambda document: (
            document["store"]["pending_rows"] == 0 and document["store"]["buffered_rows"] == 0
        ),
        "quiet",
    )
    await trio.sleep(2)  # a look at the ledger, and its rows


async def holes_of(daemon: DaemonProcess) -> dict[tuple[str, str], list[dict[str, Any]]]:
    rows = await trio.to_thread.run_sync(lambda: read_gaps(daemon.config, limit=100_000))
    found: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        found[(f"{row['exchange']}_{row['market_type']}", row["symbol"])].append(row)
    return found


async def missing_ids(
    daemon: DaemonProcess, truth: pl.DataFrame
) -> dict[tuple[str, str], list[int]]:
    """Of each symbol, between the first and the last id that is stored."""
    stored = await fetch_stored(running_address(daemon.config))
    key = ["feed", "symbol"]
    spans = stored.group_by(key).agg(
        pl.col("sequence_number").min().alias("low"), pl.col("sequence_number").max().alias("high")
    )
    lost = (
        truth.unique(["feed", "symbol", "sequence_number"])
        .join(stored, on=["feed", "symbol", "sequence_number"], how="anti")
        .join(spans, on=key)
        .filter(pl.col("sequence_number").is_between(pl.col("low"), pl.col("high")))
    )
    ids: dict[tuple[str, str], list[int]] = {}
    for (feed, symbol), rows in lost.group_by(key):
        ids[(str(feed), str(symbol))] = sorted(rows["sequence_number"].to_list())
    return ids


def check(
    holes: dict[tuple[str, str], list[dict[str, Any]]],
    missing: dict[tuple[str, str], list[int]],
    causes: set[str],
) -> None:
    """One confirmed row for each symbol that traded meanwhile, with exactly the missing ids."""
    assert len(missing) > SYMBOLS, "hardly anything was lost: this proves nothing"
    for key, ids in missing.items():
        assert ids == list(range(ids[0], ids[-1] + 1)), key
        (row,) = [row for row in holes[key] if row["state"] == "confirmed"]
        assert (row["first_id"], row["last_id"]) == (ids[0], ids[-1]), key
        assert (row["missing"], row["exact"], row["cause"] in causes) == (len(ids), True, True)
    for key, rows in holes.items():
        for row in rows:
            if row["state"] == "confirmed":
                assert key in missing, row
            else:  # that nothing was missing is proven, or nothing has traded since
                assert (row["state"], row["reason"]) in {
                    ("empty", "next_id"), ("filled", "late"), ("suspected", None),
                }, row  # fmt: skip
                assert row["to_ts"], row


@asynccontextmanager
async def recording(folder: Path) -> AsyncIterator[tuple[Simulator, Proxy, DaemonProcess]]:
    """Daemon and simulator with a proxy between their sockets; all is subscribed."""
    print(f"seed {SEED}")
    async with (
        run_simulator(folder / "truth", ARGUMENTS) as simulator,
        run_proxy(simulator.feeds[FEEDS[0]]["websocket_url"]) as proxy,
    ):
        direct = {feed: dict(urls) for feed, urls in simulator.feeds.items()}
        for urls in simulator.feeds.values():
            urls["websocket_url"] = proxy.through(urls["websocket_url"])
        async with daemon_process(folder / "run", simulator) as daemon:
            simulator.feeds = direct
            daemon.start()
            await daemon.until(is_healthy, "healthy", START_S_MAX)
            yield simulator, proxy, daemon


async def venue_symbols(daemon: DaemonProcess) -> dict[str, list[str]]:
    rows = await trio.to_thread.run_sync(
        lambda: query(
            running_address(daemon.config),
            # Bybit refuses a whole request for one symbol that does not trade yet.
            "SELECT DISTINCT exchange, market_type, venue_symbol FROM instruments"
            " WHERE status = 'trading'",
            [],
        )
    )
    names: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        names[f"{row['exchange']}_{row['market_type']}"].append(row["venue_symbol"])
    return names


async def until_listed(daemon: DaemonProcess) -> dict[str, list[str]]:
    """The instruments' rows are in the table within a few seconds."""
    with trio.fail_after(60):
        while set(names := await venue_symbols(daemon)) != set(FEEDS):  # noqa: ASYNC110
            await trio.sleep(0.2)
    return names


async def test_a_cut_is_one_confirmed_hole_per_symbol_that_traded(tmp_path: Path) -> None:
    async with recording(tmp_path) as (simulator, proxy, daemon):
        async with witness(simulator, await until_listed(daemon)):
            await trio.sleep(4)
            proxy.cut()
            await trio.sleep(CUT_S)
            assert not is_healthy(daemon.status())
            proxy.mend()
            await daemon.until(is_healthy, "healthy again")
            await trio.sleep(4)
            await quiet(daemon, simulator)
        document, holes = daemon.status(), await holes_of(daemon)
        await simulator.end()
        missing = await missing_ids(daemon, await simulator.truth())
        check(holes, missing, {"cut"})
        # One row for each symbol, and no other.
        assert sum(len(rows) for rows in holes.values()) == len(FEEDS) * SYMBOLS
        shown = by_feed(document)
        for feed in FEEDS:
            confirmed = sum(name == feed for name, _ in missing)
            assert shown[feed]["gaps_confirmed"] == confirmed
            assert shown[feed]["reconnects"] >= 1
        assert document["differences"] == []
        daemon.signal(signal.SIGTERM)
        assert await daemon.wait() == EXIT_GOOD, daemon.log_tail()


async def test_holes_outlive_a_daemon_that_is_killed(tmp_path: Path) -> None:
    async with recording(tmp_path) as (simulator, proxy, daemon):
        async with witness(simulator, await until_listed(daemon)):
            await trio.sleep(4)
            proxy.cut()
            await trio.sleep(CUT_S)
            proxy.mend()
            await daemon.until(is_healthy, "healthy again")
            await trio.sleep(2)
            before = await holes_of(daemon)
            daemon.signal(signal.SIGKILL)
            await daemon.wait()
            daemon.start()
            await daemon.until(is_healthy, "healthy after the kill", START_S_MAX)
            await quiet(daemon, simulator)
        document, after = daemon.status(), await holes_of(daemon)
        kept = {row["gap_id"]: row for rows in after.values() for row in rows}
        for rows in before.values():
            for row in rows:
                assert kept[row["gap_id"]]["state"] == row["state"], row
                assert kept[row["gap_id"]]["revision"] >= row["revision"]
        is_open = [row for row in kept.values() if row["state"] in ("suspected", "confirmed")]
        shown = by_feed(document)
        assert sum(
            feed["gaps_suspected"] + feed["gaps_confirmed"] for feed in shown.values()
        ) == len(is_open)
        daemon.signal(signal.SIGTERM)
        assert await daemon.wait() == EXIT_GOOD, daemon.log_tail()

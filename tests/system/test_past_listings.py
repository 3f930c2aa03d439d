"""Listings of before the recording: notices paged back, trades fetched, and never called proven."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest
import trio

from pumpwatch import research
from pumpwatch.clock import SystemClock
from pumpwatch.config import Config, in_folder
from pumpwatch.drills.stage import GOES_ON, DaemonProcess, is_subscribed, stage
from pumpwatch.drills.verbs import say
from pumpwatch.listing.bundle import KEPT, TRADES
from pumpwatch.moments import iso_ns
from pumpwatch.past_journal import Journal
from pumpwatch.past_listings import JOURNAL
from pumpwatch.sim.process import Simulator
from pumpwatch.tally import KEY
from tests.system.venue_witness import subscribe_all

pytestmark = [pytest.mark.questdb, pytest.mark.slow]

SEED = 20_261_128
NS = 10**9
TRADED_S = 22.0  # before the daemon is there
LATE_S = 8.0
TOML = "[listing]\nbefore_s = 5\nafter_s = 5\n"
ARGUMENTS = [*GOES_ON, "--symbols", "4", "--no-recorded", "--depth", "20000"]
COIN = "BTC"
QUARTERLY = "BTCUSDT_261225"  # has the same symbol on Binance futures, and is not meant
SCRIPT = [
    {"board": "upbit", "do": "publish", "title": f"코인({COIN}) KRW 마켓 디지털 자산 추가",
     "late_s": LATE_S, "symbols": [COIN], "key": "one"},
    {"board": "upbit", "do": "publish", "title": f"코인({COIN}) 거래지원 종료 안내 (9/14 15:00)",
     "late_s": LATE_S},
    {"board": "upbit", "do": "edit", "key": "one", "at_s": 0.5},  # lifts it, and changes no time
]  # fmt: skip
REFUSED_S = 15.0  # so long the board answers nobody: the kill meets a backfill that has only begun
REFUSE = [{"board": "upbit", "do": "refuse", "status": 429, "retry_after_s": 1.0,
           "for_s": REFUSED_S, "path": "/api/v1/announcements"}]  # fmt: skip
DONE_S_MAX = 120.0


async def backfill(daemon: DaemonProcess, since_ns: int) -> Journal:
    # The verb prints one JSON document.
    code, rows, text = await say(
        daemon, "listings", "backfill", "--since", iso_ns(since_ns)[:19] + "Z", within_s=120
    )
    assert code == 0, text
    return msgspec.convert(rows[0] if isinstance(rows, list) else rows, Journal)


def kept(daemon: DaemonProcess) -> Journal:
    """The backfill as it stands on the disk."""
    return msgspec.json.decode((daemon.data_dir / JOURNAL).read_bytes(), type=Journal)


async def expect_rows(simulator: Simulator, journal: Journal, data_dir: Path) -> None:
    """Every row that the table calls whole is the truth's; where nothing reached, it says so."""
    await simulator.stop_generating()
    is_meant = (pl.col("symbol") == f"{COIN}USDT") & (pl.col("venue_symbol") != QUARTERLY)
    truth = (await simulator.truth()).filter(is_meant).unique(KEY)
    (one,) = [event for event in journal.events if event.event.symbol == COIN]
    place = data_dir / "listings" / one.bundle
    kept = pl.read_parquet(place / KEPT).with_columns(
        pl.col("timestamp").cast(pl.Int64).alias("exchange_ns")
    )
    at_ns = one.event.announced_ns
    certificate: dict[str, Any] = json.loads((place / "certificate.json").read_bytes())
    document = certificate.get("content", certificate)
    assert {feed["grade"] for feed in document["feeds"]} <= {"archive", "not_listed"}
    whole = 0
    for had in one.feeds:
        if not had.symbol:
            continue
        low_ns = had.reached_ns
        mine = kept.filter((pl.col("feed") == had.feed) & (pl.col("exchange_ns") >= low_ns))
        # Two rows may share the newest instant, and the list may have been asked between them.
        theirs = truth.filter(
            (pl.col("feed") == had.feed) & (pl.col("exchange_ns") >= low_ns)
            & (pl.col("exchange_ns") < mine["exchange_ns"].max())
        )  # fmt: skip
        lacking = theirs.join(mine, on=["trade_id", "exchange_ns"], how="anti")
        told = lacking.select("trade_id", "exchange_ns", "sequence_number").rows()[:3]
        assert len(lacking) == 0, (had, len(lacking), len(mine), told)
        whole += had.is_window_reached
        assert had.is_window_reached or had.text
    shown = [(had.feed, had.reached_ns - at_ns, had.from_list, had.text) for had in one.feeds]
    assert whole >= 6, shown
    window = pl.read_parquet(place / TRADES)
    assert len(window) > 20
    at = window["timestamp"].cast(pl.Int64)
    assert at.min() >= at_ns - 5 * NS  # type: ignore[operator]
    assert at.max() <= at_ns + 5 * NS  # type: ignore[operator]


async def test_a_listing_of_before_is_fetched_once_over_refusals_and_a_kill(tmp_path: Path) -> None:
    begun_ns = SystemClock().wall_ns()
    print(f"seed {SEED}")
    async with stage(tmp_path, SEED, 400, TOML, has_backfill=True, arguments=ARGUMENTS) as (
        simulator,
        daemon,
    ):
        direct = simulator.configure(in_folder(Config(), tmp_path / "witness"))
        names = {feed: facts["venue_symbols"] for feed, facts in simulator.facts().items()}
        async with subscribe_all(direct, names, SEED):  # somebody trades before we are there
            await trio.sleep(TRADED_S)
        await simulator.script_boards(SCRIPT)
        await trio.sleep(1.0)
        daemon.start()
        await daemon.until(is_subscribed, "subscribed")
        await simulator.script_boards(REFUSE)
        since_ns = begun_ns - 60 * NS
        since = iso_ns(since_ns)[:19] + "Z"
        code, _, text = await say(
            daemon, "listings", "backfill", "--since", since, "--no-wait", within_s=60
        )
        assert code == 0, text
        daemon.kill()
        assert kept(daemon).state != "done"
        daemon.start()
        await daemon.until(is_subscribed, "subscribed again")
        with trio.fail_after(DONE_S_MAX):  # it goes on by itself
            while kept(daemon).state != "done":  # noqa: ASYNC110 - another process
                await trio.sleep(0.2)
        journal = kept(daemon)
        await expect_rows(simulator, journal, daemon.data_dir)
        assert [one.event.symbol for one in journal.events] == [COIN]
        (event,) = research.events(daemon.data_dir).filter(coin=COIN).to_dicts()
        assert (event["proven"], event["covered"], event["archive"] > 0) == (0, 0, True)
        again = await backfill(daemon, since_ns)
        assert again.events == []  # it is known by now
        code, rows, _ = await say(daemon, "listings", "list", within_s=60)
        states = {row["symbol"]: row["state"] for row in rows}
        assert (code, states[COIN]) == (0, "historic")

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
from pumpwatch.demo import Simulator
from pumpwatch.drills.stage import DaemonProcess, is_subscribed, stage
from pumpwatch.drills.verbs import say
from pumpwatch.listing.bundle import KEPT, TRADES
from pumpwatch.moments import iso_ns
from pumpwatch.past_journal import Journal, PastEvent
from pumpwatch.past_listings import JOURNAL
from pumpwatch.tally import KEY

pytestmark = [pytest.mark.questdb, pytest.mark.slow]

SEED = 20_261_128
NS = 10**9
TRADED_S = 14.0  # before the daemon is there
POLL_S = 0.1
WAIT_S = 90.0
TOML = "[listing]\nbefore_s = 5\nafter_s = 5\n"
ARGUMENTS = ["--symbols", "4", "--no-recorded", "--depth", "20000"]
FIRST, SECOND = "ETH", "BTC"  # listed
TRAPS = ("거래지원 종료 안내 (9/14 15:00)", "신규 거래지원 안내 (BTC, USDT 마켓)",
         "거래 유의 종목 지정 안내", "거래지원 취소 안내")  # fmt: skip
BOUGHT = {"bybit_spot": "", "bybit_futures": "?holes=3"}  # daily files, of which one has holes


def publish(title: str, late_s: float, **more: Any) -> dict[str, Any]:
    return {"board": "upbit", "do": "publish", "title": title, "late_s": late_s, **more}


# Three pages, newest first; the second listing stands on the third until an edit lifts it.
SCRIPT = [
    publish(f"코인({FIRST}) KRW 마켓 디지털 자산 추가", 9.0, symbols=[FIRST], key="one"),
    publish(f"코인({SECOND}) KRW 마켓 디지털 자산 추가", 8.0, symbols=[SECOND], key="two"),
    *(publish(f"코인({SECOND}) {TRAPS[number % 4]}", 7.0) for number in range(45)),
    {"board": "upbit", "do": "edit", "key": "two", "at_s": 0.5},  # and changes no time
]
REFUSE = [{"board": "upbit", "do": "refuse", "status": 429, "retry_after_s": 1.0, "count": 4,
           "path": "/api/v1/announcements"}]  # fmt: skip


def with_files(daemon: DaemonProcess, simulator: Simulator) -> None:
    """Switch Bybit's daily files on."""
    urls = [
        f"{name}={simulator.feeds[name]['rest_url']}/archive/{{symbol}}/{{year}}-{{month}}-{{day}}"
        + query
        for name, query in BOUGHT.items()
    ]
    with daemon.config_file.open("a", encoding="utf-8") as file:
        file.write(f"[archives]\nenabled = true\nurls = {json.dumps(urls)}\n")


async def until_journal(daemon: DaemonProcess, state: str) -> None:
    """The journal on disk has come so far."""
    with trio.fail_after(WAIT_S):
        while True:
            try:
                text = (daemon.data_dir / JOURNAL).read_bytes()
            except FileNotFoundError:
                text = b""
            if text and msgspec.json.decode(text, type=Journal).state == state:
                return
            daemon.expect_running()
            await trio.sleep(POLL_S)


async def backfill(daemon: DaemonProcess, since_ns: int) -> Journal:
    # The verb prints one JSON document.
    code, rows, text = await say(
        daemon, "listings", "backfill", "--since", iso_ns(since_ns)[:19] + "Z", within_s=120
    )
    assert code == 0, text
    return msgspec.convert(rows[0] if isinstance(rows, list) else rows, Journal)


def expect_rows(truth: pl.DataFrame, one: PastEvent, data_dir: Path) -> None:
    """Every row that the table calls whole is the truth's; where nothing reached, it says so."""
    truth = truth.filter(pl.col("symbol") == f"{one.event.symbol}USDT").unique(KEY)
    truth = truth.with_columns(pl.col("price", "quantity").cast(pl.Float64))
    place = data_dir / "listings" / one.bundle
    kept = pl.read_parquet(place / KEPT).with_columns(
        pl.col("timestamp").cast(pl.Int64).alias("exchange_ns")
    )
    at_ns = one.event.announced_ns
    whole = 0
    for had in one.feeds:
        if not had.symbol:
            continue
        mine = kept.filter((pl.col("feed") == had.feed) & (pl.col("exchange_ns") >= had.reached_ns))
        theirs = truth.filter(
            (pl.col("feed") == had.feed) & (pl.col("exchange_ns") >= had.reached_ns)
            & (pl.col("exchange_ns") <= mine["exchange_ns"].max())
        )  # fmt: skip
        # Bybit's spot files have numbers of their own.
        key = ["exchange_ns", "side", "price", "quantity"] if had.feed == "bybit_spot" else KEY
        lacking = theirs.join(mine, on=key, how="anti")
        assert len(lacking) == 0, (had, lacking)
        assert len(mine.join(theirs, on=key, how="anti")) == 0, had  # nor one that never was
        whole += had.is_window_reached
        assert had.is_window_reached or had.text
    assert whole >= 6, one.feeds
    by_feed = {had.feed: had for had in one.feeds}
    assert by_feed["bybit_spot"].from_file > 0
    assert by_feed["bybit_spot"].is_window_reached
    assert by_feed["bybit_futures"].from_file == 0
    assert "differs from the list" in by_feed["bybit_futures"].text
    assert "no daily files" in by_feed["kucoin_spot"].text
    assert not by_feed["kucoin_spot"].is_window_reached
    window = pl.read_parquet(place / TRADES)
    assert len(window) > 20
    at = window["timestamp"].cast(pl.Int64)
    assert at.min() >= at_ns - 5 * NS  # type: ignore[operator]
    assert at.max() < at_ns + 5 * NS  # type: ignore[operator]


def expect_research(settings: Path) -> None:
    """A running instance gives the same events and rows as its bundles."""
    events = research.events(settings).filter(pl.col("coin").is_in([FIRST, SECOND]))
    assert events["state"].to_list() == ["historic", "historic"]
    assert (events["archive"] > 6).all()
    assert events.select(pl.sum_horizontal("proven", "covered", "incomplete")).sum().item() == 0
    windows = [research.window(event, settings) for event in events.iter_rows(named=True)]
    for window, count in zip(windows, events["rows"], strict=True):
        assert len(window) == count
        assert set(window["certified"]) == {"archive"}
        assert set(window["origin"]) == {"archive"}
    kept = research.scan(events, settings).filter(pl.col("t_ms").abs() < 5_000).collect()
    assert len(kept) == sum(events["rows"])
    panel = research.panel(events, "5s", "5s", "1s", settings, value="trade_count")
    feeds = [name for name in panel.columns if name not in ("event_id", "t_ms")]
    counted = panel.filter(pl.col("t_ms") > -5_000).select(pl.sum_horizontal(feeds)).sum().item()
    assert 0 < counted <= len(kept)


async def test_listings_of_before_are_fetched_once_over_refusals_and_kills(tmp_path: Path) -> None:
    begun_ns = SystemClock().wall_ns()
    print(f"seed {SEED}")
    async with stage(tmp_path, SEED, 400, TOML, has_backfill=True, arguments=ARGUMENTS) as (
        simulator,
        daemon,
    ):
        with_files(daemon, simulator)
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
        daemon.kill()  # while the board still refuses
        assert (daemon.data_dir / JOURNAL).is_file()
        daemon.start()  # and it goes on unasked
        await until_journal(daemon, "events")
        daemon.kill()  # among the events
        daemon.start()
        await daemon.until(is_subscribed, "subscribed again")
        journal = await backfill(daemon, since_ns)
        assert "listing_backfill_refused" in daemon.log_file.read_text()
        assert [one.event.symbol for one in journal.events] == [FIRST, SECOND]
        assert (journal.notices, journal.page) == (47, 4)  # what stands on the fourth is older
        await simulator.stop_generating()
        truth = await simulator.truth()
        for one in journal.events:
            expect_rows(truth, one, daemon.data_dir)
        await trio.to_thread.run_sync(expect_research, daemon.config_file)
        again = await backfill(daemon, since_ns)
        assert again.events == []  # they are known by now
        code, rows, _ = await say(daemon, "listings", "list", within_s=60)
        states = {row["symbol"]: row["state"] for row in rows}
        assert (code, states[FIRST], states[SECOND]) == (0, "historic", "historic")

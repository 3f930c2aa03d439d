"""Fake listings (D-05): scripted notices with every trap, rows withheld, the daemon killed.

One event for each coin of a listing, none for a trap. A window's rows are the simulator's for that
coin and no other; a feed that is called proven or covered has every trade that the venue shows.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import trio

from pumpwatch.config import FEED_NAMES
from pumpwatch.drills.listing_script import Notice, make_notices
from pumpwatch.drills.outcome import Order, Outcome
from pumpwatch.drills.stage import DaemonProcess, is_subscribed, stage_of
from pumpwatch.listing.archive import FOLDER
from pumpwatch.listing.bundle import EVENT, TRADES
from pumpwatch.listing.certificate import Certificate, FeedProof
from pumpwatch.listing.verify import read_certificate, verify_bundle
from pumpwatch.sim.faults import Fault
from pumpwatch.sim.process import Simulator
from pumpwatch.sim.truth import load_truth
from pumpwatch.store.readonly import reading
from pumpwatch.store.server import running_address

WARM_S = 12.0  # of trading before the first notice: a window has a past
EVERY_S = 1.2
SIDE_S = 5  # of a window, on both sides
SETTLE_S_MAX = 150.0
KILLS_EVERY = 20  # notices
KILL_AFTER_S = 4.0  # of a notice: detected, not complete
SETTINGS = f"""
[listing]
before_s = {SIDE_S}
after_s = {SIDE_S}
"""
FAST = {"[listing.upbit]": "poll_interval_s = 1.0", "[listing.bithumb]": "poll_interval_s = 1.5"}
SYMBOLS = 80
KEY = ["exchange_ns", "symbol", "trade_id"]


async def run(order: Order) -> Outcome:
    """Play ``count`` notices; see the module."""
    outcome, rng = Outcome(), random.Random(order.seed)
    async with stage_of(
        order, SETTINGS, has_backfill=True, arguments=["--symbols", str(SYMBOLS)]
    ) as (simulator, daemon):
        _look_often(daemon)
        daemon.start()
        await daemon.until(is_subscribed, "subscribed")
        coins = _coins(simulator)
        notices = make_notices(rng, coins, FEED_NAMES, order.count, EVERY_S)
        await trio.sleep(WARM_S)
        kills = await _play(simulator, daemon, notices, outcome)
        expected = {coin for notice in notices for coin in notice.symbols}
        await _settled(daemon, expected)
        events = await trio.to_thread.run_sync(_events, daemon)
        await simulator.stop_generating()
        daemon.signal(signal.SIGTERM)
        await daemon.wait()
        await simulator.end()
        _judge_events(outcome, events, expected)
        truth = await trio.to_thread.run_sync(_truth, order.folder / "truth")
        await trio.to_thread.run_sync(_judge_bundles, outcome, daemon, truth, expected)
    outcome.figures |= {"notices": order.count, "listings": len(expected), "kills": kills}
    return outcome


def _look_often(daemon: DaemonProcess) -> None:
    text = daemon.config_file.read_text("utf-8")
    for section, line in FAST.items():
        text = text.replace(section, f"{section}\n{line}")
    daemon.config_file.write_text(text, "utf-8")


def _coins(simulator: Simulator) -> list[str]:
    """Coins that most feeds have, by plain names."""
    counts: dict[str, int] = {}
    for facts in simulator.facts().values():
        for symbol in facts["symbols"]:
            coin = symbol.removesuffix("USDT")
            if coin.isascii() and coin.isalpha() and coin.isupper():
                counts[coin] = counts.get(coin, 0) + 1
    known = {"BTC", "ETH", "XRP", "SOL", "DOGE", "ADA", "TRX", "LINK", "AVAX", "DOT", "BNB",
             "SHIB", "LTC", "GRT"}  # fmt: skip
    return sorted(coin for coin, feeds in counts.items() if feeds >= 6 and coin not in known)


# --- playing --------------------------------------------------------------------------------------


async def _play(
    simulator: Simulator, daemon: DaemonProcess, notices: Sequence[Notice], outcome: Outcome
) -> int:
    meta = simulator.facts()
    script = [action for notice in notices for action in notice.actions]
    await simulator.script_boards(script)
    begun_s, kills = trio.current_time(), 0
    for number, notice in enumerate(notices):
        await trio.sleep_until(begun_s + max(0.0, notice.at_s - 1.0))
        plan = [
            Fault(feed=feed, kind="withhold", symbol=name, rows=notice.withheld)
            for feed in notice.withheld_feeds
            for coin in notice.symbols
            if (name := _venue_symbol(meta[feed], coin))
        ]
        if plan:
            await simulator.give_faults(plan)
            outcome.figures["withheld"] = outcome.figures.get("withheld", 0) + len(plan)
        if number % KILLS_EVERY == KILLS_EVERY // 2 and notice.symbols:
            await trio.sleep_until(begun_s + notice.at_s + KILL_AFTER_S)
            daemon.kill()
            kills += 1
            daemon.start()
            await daemon.until(is_subscribed, "subscribed again")
    return kills


def _venue_symbol(facts: dict[str, Any], coin: str) -> str:
    for symbol, name in zip(facts["symbols"], facts["venue_symbols"], strict=True):
        if symbol == f"{coin}USDT":
            return str(name)
    return ""


async def _settled(daemon: DaemonProcess, expected: set[str]) -> None:
    """Every window is published; what is partial had its time to become complete."""
    with trio.move_on_after(SETTLE_S_MAX):
        while True:
            states = await trio.to_thread.run_sync(_states, daemon)
            if set(states) >= expected and all(one == "complete" for one in states.values()):
                return
            await trio.sleep(1.0)


def _states(daemon: DaemonProcess) -> dict[str, str]:
    found: dict[str, str] = {}
    for place in _bundles(daemon):
        certificate, _ = read_certificate(place)
        if certificate.window.kind == "announcement":
            found[certificate.symbol] = certificate.state
    return found


def _bundles(daemon: DaemonProcess) -> list[Path]:
    return sorted(path.parent for path in (daemon.data_dir / FOLDER).glob(f"*_*/{EVENT}"))


def _events(daemon: DaemonProcess) -> list[tuple[str, str, str, str]]:
    with reading(running_address(daemon.config)) as connection:
        return connection.execute(
            "SELECT symbol, source, notice_id, state FROM listing_events"
        ).fetchall()


# --- judging --------------------------------------------------------------------------------------


def _judge_events(
    outcome: Outcome, events: Sequence[tuple[str, str, str, str]], expected: set[str]
) -> None:
    found = [event[0] for event in events]
    for coin in sorted(expected - set(found)):
        outcome.expect(False, f"{coin}: was listed, and is no event")
    for coin in sorted(set(found)):
        outcome.expect(coin in expected, f"{coin}: was not listed, and is an event")
        outcome.expect(found.count(coin) == 1, f"{coin}: is {found.count(coin)} events")


def _truth(folder: Path) -> pl.DataFrame:
    """All that was traded, whoever got it; numbers as doubles."""
    whole = load_truth(folder, everything=True)
    return whole.with_columns(pl.col("price").cast(pl.Float64), pl.col("quantity").cast(pl.Float64))


def _judge_bundles(
    outcome: Outcome, daemon: DaemonProcess, truth: pl.DataFrame, expected: set[str]
) -> None:
    grades: dict[str, int] = {}
    states: dict[str, int] = {}
    published = set()
    for place in _bundles(daemon):
        verdict = verify_bundle(place)
        outcome.expect(verdict.is_sound, f"{place.name}: {verdict.faults[:2]}")
        certificate, _ = read_certificate(place)
        outcome.expect(certificate.symbol in expected, f"{place.name}: of a coin not listed")
        published.add(certificate.symbol)
        states[certificate.state] = states.get(certificate.state, 0) + 1
        rows = pl.read_parquet(place / TRADES)
        outcome.rows += len(rows)
        for proof in certificate.feeds:
            grades[proof.grade] = grades.get(proof.grade, 0) + 1
            _judge_feed(outcome, place.name, certificate, proof, rows, truth)
    for coin in sorted(expected - published):
        outcome.expect(False, f"{coin}: has no bundle")
    outcome.figures |= {"grades": grades, "states": states}


def _judge_feed(
    outcome: Outcome, name: str, certificate: Certificate, proof: FeedProof, rows: pl.DataFrame,
    truth: pl.DataFrame,
) -> None:  # fmt: skip
    window = certificate.window
    held = rows.filter(pl.col("feed") == proof.feed).select(
        pl.col("timestamp").cast(pl.Int64).alias("exchange_ns"), "symbol", "trade_id", "side",
        "price", "quantity",
    )  # fmt: skip
    symbols = [one.symbol for one in proof.instruments]
    traded = truth.filter(
        (pl.col("feed") == proof.feed) & pl.col("symbol").is_in(symbols)
        & pl.col("exchange_ns").is_between(window.from_ns, window.to_ns, closed="left")
    ).select(held.columns)  # fmt: skip
    where = f"{name} {proof.feed}"
    unknown = held.join(traded, on=held.columns, how="anti")
    outcome.expect(unknown.is_empty(), f"{where}: {len(unknown)} rows that nobody traded")
    outcome.duplicate += len(held) - held.unique(KEY).height
    absent = traded.join(held, on=KEY, how="anti")
    if proof.grade in ("proven", "covered") and len(absent):
        outcome.missing += len(absent)
        outcome.expect(False, f"{where}: is called {proof.grade} and misses {len(absent)} rows")
    if proof.grade == "not_listed":
        has_market = truth.filter(
            (pl.col("feed") == proof.feed) & (pl.col("symbol") == f"{certificate.symbol}USDT")
        )
        outcome.expect(has_market.is_empty(), f"{where}: is called not listed, and trades")

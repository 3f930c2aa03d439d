"""Every message that the simulator makes says exactly what its truth log says."""

from __future__ import annotations

import csv
import random
import re
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import trio
from trio.testing import MockClock

from pumpwatch.sim.engine import QUIET_PER_S, QUIET_TICK_S, Engine
from pumpwatch.sim.exchange import VENUES
from pumpwatch.sim.frames import EPOCH_NS
from pumpwatch.sim.instruments import Instrument
from pumpwatch.sim.settings import FEED_NAMES, SimSettings
from pumpwatch.sim.venue import Request
from tests.sim.driving import SECOND_NS, START_NS, SYMBOLS, contract_values, simulator
from tests.sim.reading import Seen, difference, read_texts, truth_rows

SAMPLES = Path(__file__).parents[1] / "samples"
HOUR_NS = 3600 * SECOND_NS


async def record(
    feed: str, folder: Path, settings: SimSettings, seconds: float, start_ns: int = START_NS,
    headers: tuple[tuple[bytes, bytes], ...] = ((b"X-Gate-Size-Decimal", b"1"),), path: str = "",
) -> tuple[list[Seen], pl.DataFrame, list[str]]:  # fmt: skip
    """One client on all symbols: what it got, the truth, and the messages."""
    async with simulator(settings, folder, start_ns) as stage:
        values = contract_values(stage, feed)
        client = await stage.connect(feed, headers=headers, path=path)
        await client.subscribe([name for name in stage.tradable(feed) if name in values][:20])
        await stage.trade(seconds)
        await stage.close()
        await client.closed.wait()
        return read_texts(feed, client.texts, values), stage.truth(), client.texts


def settings_of(feed: str, **changes: Any) -> SimSettings:
    facts = {"feeds": (feed,), "symbols": SYMBOLS, "rate_per_s": 2000.0, "seed": 5, **changes}
    return SimSettings(**facts)


@pytest.mark.parametrize("feed", FEED_NAMES)
async def test_wire_equals_truth(feed: str, tmp_path: Path, autojump_clock: object) -> None:
    got, truth, _ = await record(feed, tmp_path, settings_of(feed), 1.5)
    assert len(got) > 2500
    assert set(truth["feed"]) == {feed}
    has_ids = not feed.startswith("phemex")
    assert not difference(got, truth_rows(truth, has_ids=has_ids))
    assert not truth.select("venue_symbol", "trade_id", "exchange_ns").is_duplicated().any()


@pytest.mark.parametrize("feed", FEED_NAMES)
async def test_each_symbol_comes_in_its_order(
    feed: str, tmp_path: Path, autojump_clock: object
) -> None:
    got, truth, _ = await record(feed, tmp_path, settings_of(feed, recorded=False), 1.5)
    by_symbol: dict[str, list[Seen]] = {}
    for row in got:
        by_symbol.setdefault(row.symbol, []).append(row)
    assert len(by_symbol) == min(20, truth["venue_symbol"].n_unique())
    for rows in by_symbol.values():
        times = [row.exchange_ns for row in rows]
        assert times == sorted(times)
        sequences = [row.sequence for row in rows]
        assert sequences == sorted(sequences)
        if feed in {"binance_spot", "binance_futures", "okx_spot", "okx_futures", "gate_spot",
                    "gate_futures"}:  # fmt: skip
            assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))


@pytest.mark.parametrize("feed", FEED_NAMES)
async def test_digits_roll_over(
    feed: str, tmp_path: Path, autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers gain a digit, and times pass the point where their higher digits change."""

    def first_numbers(self: object, instrument: Instrument, rng: random.Random) -> tuple[int, int]:
        number = 10 ** (4, 8, 12, 16)[instrument.index % 4] - 50 - instrument.index
        return number, number

    monkeypatch.setattr(VENUES[feed], "first_numbers", first_numbers)
    start_ns = (START_NS // EPOCH_NS + 1) * EPOCH_NS - SECOND_NS
    settings = settings_of(feed, recorded=False)
    got, truth, _ = await record(feed, tmp_path, settings, 1.5, start_ns)
    assert not difference(got, truth_rows(truth, has_ids=not feed.startswith("phemex")))
    times = truth["exchange_ns"] // EPOCH_NS
    assert times.n_unique() > 1
    digits = set(truth["sequence_number"].cast(pl.String).str.len_chars())
    assert digits >= {5, 9, 13, 17}
    if VENUES[feed].flow.is_contiguous and VENUES[feed].flow.sequences == "number":
        assert digits == {4, 5, 8, 9, 12, 13, 16, 17}  # (others jump over the edge)


EVENTS = {  # an event's and its newest trade's time, and their units
    "binance_spot": (r'"E":(\d+)', r'"T":(\d+)', 10**6, 10**6),
    "bybit_futures": (r'"ts":(\d+)', r'"T":(\d+)(?!.*"T":)', 10**6, 10**6),
    "gate_futures": (r'"time_ms":(\d+)', r'"create_time_ms":(\d+)(?!.*_ms":)', 10**6, 10**6),
    "phemex_futures": (r'"dts":(\d+)', r'"trades_p":\[\[(\d+)', 1, 1),
}


@pytest.mark.parametrize("feed", EVENTS)
async def test_event_times_follow_the_trades(
    feed: str, tmp_path: Path, autojump_clock: object
) -> None:
    """Also in the last milliseconds before their higher digits change."""
    edge_ns = (START_NS // EPOCH_NS + 1) * EPOCH_NS
    start_ns = edge_ns - SECOND_NS - 1000  # a tick ends a microsecond before the edge
    settings = settings_of(feed, recorded=False, rate_per_s=5000.0)
    _, truth, texts = await record(feed, tmp_path, settings, 1.2, start_ns)
    assert (edge_ns - truth["exchange_ns"]).is_between(0, 15 * SECOND_NS // 1000).any()
    event, trade, event_unit_ns, trade_unit_ns = EVENTS[feed]
    checked = 0
    for text in texts:
        found, of_trade = re.search(event, text), re.search(trade, text)
        if found is not None and of_trade is not None and '"snapshot"}' not in text[-12:]:
            delay_ns = int(found[1]) * event_unit_ns - int(of_trade[1]) * trade_unit_ns
            assert 0 <= delay_ns <= 3_000_000, text
            checked += 1
    assert checked > 20


@pytest.mark.parametrize("feed", FEED_NAMES)
async def test_the_recorded_messages_come_first(
    feed: str, tmp_path: Path, autojump_clock: object
) -> None:
    """All of the hand-checked rows, in their order, moved by whole seconds; the newest is now."""
    got, _, _ = await record(feed, tmp_path, settings_of(feed, symbols=60), 0.5)
    expected = hand_checked(feed)
    checked = 0
    for symbol in {row["symbol"] for row in expected}:
        mine = [row for row in expected if row["symbol"] == symbol]
        first = [row for row in got if row.symbol == symbol]
        if not first:
            continue  # beyond the 20 symbols of one connection, or never listed against USDT
        at = next(
            (at for at in range(len(first)) if matches(first[at : at + len(mine)], mine)), None
        )
        assert at is not None, symbol
        played = first[at : at + len(mine)]
        shifts = [
            row.exchange_ns - int(want["exchange_ns"])
            for row, want in zip(played, mine, strict=True)
        ]
        assert all(shift % SECOND_NS == 0 for shift in shifts)
        newest_ns = max(row.exchange_ns for row in played)
        assert START_NS - SECOND_NS <= newest_ns <= START_NS + SECOND_NS // 10
        checked += len(played)
    assert checked >= 2


def hand_checked(feed: str) -> list[dict[str, str]]:
    """The table's rows as they are played: a snapshot first, without its rows of about an hour."""
    lines = (SAMPLES / f"{feed}.jsonl").read_text(encoding="utf-8").splitlines()
    with (SAMPLES / f"{feed}.expected.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    snapshots = {number for number, line in enumerate(lines, 1) if '"type":"snapshot"' in line}
    rows.sort(key=lambda row: int(row["line"]) not in snapshots)
    newest_ns: dict[str, int] = {}
    for row in rows:
        newest_ns[row["symbol"]] = max(newest_ns.get(row["symbol"], 0), int(row["exchange_ns"]))

    def is_doubtful(row: dict[str, str]) -> bool:
        moved_s = (START_NS - newest_ns[row["symbol"]]) // SECOND_NS
        age_ns = START_NS - int(row["exchange_ns"]) - moved_s * SECOND_NS
        return HOUR_NS - 300 * SECOND_NS <= age_ns <= HOUR_NS + 60 * SECOND_NS

    return [row for row in rows if int(row["line"]) not in snapshots or not is_doubtful(row)]


def matches(played: list[Seen], expected: list[dict[str, str]]) -> bool:
    """The same prices, sides and quantities in the same order."""
    return [(row.side, row.price, row.quantity) for row in played] == [
        (row["side"], row["price"], row["quantity"]) for row in expected
    ]


@pytest.mark.parametrize("feed", ["binance_spot", "binance_futures"])
async def test_binance_wraps_combined_streams(
    feed: str, tmp_path: Path, autojump_clock: object
) -> None:
    path = "/stream" if feed == "binance_spot" else "/public/stream"
    got, truth, texts = await record(feed, tmp_path, settings_of(feed), 1.0, path=path)
    assert not difference(got, truth_rows(truth, has_ids=True))
    assert all(text.startswith('{"stream":"') for text in texts[1:])


async def test_gate_cuts_decimal_sizes_without_the_header(
    tmp_path: Path, autojump_clock: object
) -> None:
    feed = "gate_futures"
    settings = settings_of(feed, recorded=False)
    got, truth, texts = await record(feed, tmp_path, settings, 1.0, headers=())
    rows = truth_rows(truth, has_ids=True)
    by_id = {(row.symbol, row.trade_id): row for row in rows}
    assert len(by_id) == len(got)
    cut = [row for row in got if row != by_id[row.symbol, row.trade_id]]
    assert cut
    assert not any('"size":"' in text for text in texts)
    for row in cut:
        want = by_id[row.symbol, row.trade_id]
        assert float(row.quantity) < float(want.quantity)
        assert want._replace(quantity="", side="") == row._replace(quantity="", side="")


async def test_gate_messages_for_several_trades(tmp_path: Path, autojump_clock: object) -> None:
    """R7: a range message delivers no row, its trades are only in REST, and ids run on."""
    feed = "gate_spot"
    settings = settings_of(feed, recorded=False, gate_ranges=True)
    async with simulator(settings, tmp_path) as stage:
        client = await stage.connect(feed)
        names = stage.tradable(feed)
        await client.subscribe(names)
        await stage.trade(5.0)
        await stage.close()
        await client.closed.wait()
        merged = [row for row in ranges(client.texts) if row["range_first"]]
        assert len(merged) >= 4
        truth = stage.truth(everything=True)
        for row in merged:
            first, last = row["range_first"], row["order_id"]
            within = truth.filter(
                (pl.col("venue_symbol") == row["symbol"])
                & pl.col("sequence_number").is_between(first, last)
            )
            assert len(within) == last - first + 1
            assert not within["delivered"].any()
            assert sum(map(Decimal, within["quantity"])) == Decimal(row["quantity"])
            listed = stage.get(feed, "/api/v4/spot/trades", currency_pair=row["symbol"], limit=1000)
            assert set(range(first, last + 1)) <= {int(one["sequence_id"]) for one in listed}
        delivered = [row for row in ranges(client.texts) if not row["range_first"]]
        assert len(delivered) == truth["delivered"].sum()


def ranges(texts: list[str]) -> list[Any]:
    from tests._fast.plain_gate import read_spot

    return [row for text in texts for row in read_spot(text.encode())[2]]


@pytest.mark.parametrize("feed", ["okx_spot", "okx_futures", "phemex_spot", "phemex_futures"])
async def test_what_is_told_again_is_one_row_of_the_truth(
    feed: str, tmp_path: Path, autojump_clock: object
) -> None:
    """A second connection is greeted with old trades: the truth has each trade once."""
    settings = settings_of(feed, symbols=3, rate_per_s=300.0, recorded=False)
    async with simulator(settings, tmp_path) as stage, trio.open_nursery() as nursery:
        values = contract_values(stage, feed)
        names = [name for name in stage.tradable(feed) if name in values][:3]
        clients = [await stage.connect(feed)]
        await clients[0].subscribe(names)
        nursery.start_soon(stage.trade, 4.0)
        for _ in range(2):
            await trio.sleep(1.3)
            clients.append(await stage.connect(feed))
            await clients[-1].subscribe(names)
        await trio.sleep(2.0)
        await stage.close()
        rows = [read_texts(feed, client.texts, values) for client in clients]
        truth = stage.truth()
    assert sum(map(len, rows)) > len(truth)
    has_ids = feed.startswith("okx")
    want = truth_rows(truth, has_ids=has_ids)
    if has_ids:
        assert set().union(*rows) == set(want)
        assert len(want) == len(set(want))
        return
    # Phemex: by nanosecond, side, price and quantity, as ordered multisets; the message's sequence
    # differs from a snapshot to an incremental message.
    union: dict[Seen, int] = {}
    for one in rows:
        for key, count in counted(one).items():
            union[key] = max(count, union.get(key, 0))
    assert union == counted(want)
    # The truth has a row as it was told first: in a snapshot, or in an incremental message.
    first = {row._replace(sequence=0): row.sequence for row in rows[0]}
    told = {row._replace(sequence=0): row.sequence for row in want}
    single = [key for key, count in counted(want).items() if count == 1 and key in first]
    assert len(single) > 500
    assert all(first[key] == told[key] for key in single)
    ordinals = truth["trade_id"].str.split("-").list.last().cast(pl.Int64)
    assert ordinals.max() >= 1  # equal trades happened


def counted(rows: list[Seen]) -> dict[Seen, int]:
    found: dict[Seen, int] = {}
    for row in rows:
        key = row._replace(sequence=0)
        found[key] = found.get(key, 0) + 1
    return found


@pytest.mark.parametrize("feed", ["phemex_spot", "phemex_futures"])
async def test_phemex_rows_and_history(feed: str, tmp_path: Path, autojump_clock: object) -> None:
    """The snapshot's old rows are marked; none is so near to an hour that readers may disagree."""
    settings = settings_of(feed, symbols=18, rate_per_s=300.0)
    got, truth, texts = await record(feed, tmp_path, settings, 1.0)
    assert len(got) == len(truth)
    ages = START_NS - truth["exchange_ns"]
    assert (truth["history"] == (ages > HOUR_NS)).all()
    assert truth["history"].any()
    assert ages.is_between(HOUR_NS - 250 * SECOND_NS, HOUR_NS + 50 * SECOND_NS).sum() == 0
    snapshots = [text for text in texts if text.endswith('"type":"snapshot"}')]
    assert len(snapshots) == truth["venue_symbol"].n_unique()
    assert max(text.count("[") - 1 for text in snapshots) > 500


@pytest.mark.parametrize("feed", ["bybit_spot", "bybit_futures", "phemex_spot", "phemex_futures"])
async def test_whole_messages_of_a_thousand_rows(
    feed: str, tmp_path: Path, autojump_clock: object
) -> None:
    """Where a venue may send 1,000 trades at once, now and then it does: frames over 64 KB."""
    got, truth, texts = await record(feed, tmp_path, settings_of(feed, recorded=False), 12.0)
    assert not difference(got, truth_rows(truth, has_ids=feed.startswith("bybit")))
    longest = max(len(text) for text in texts if "snapshot" not in text[-12:])
    assert longest > (65_535 if feed.startswith("bybit") else 40_000)


async def test_a_burst_is_for_one_symbol(tmp_path: Path, autojump_clock: object) -> None:
    settings = settings_of("binance_spot", recorded=False, rate_per_s=100.0, burst_rows=3000,
                           burst_every_s=2.0)  # fmt: skip
    got, truth, _ = await record("binance_spot", tmp_path, settings, 3.0)
    assert not difference(got, truth_rows(truth, has_ids=True))
    busiest = truth["venue_symbol"].value_counts()["count"].max()
    assert busiest >= 3000
    assert len(truth) == pytest.approx(3300, abs=60)


async def test_the_pumped_coin_gets_its_share(tmp_path: Path, autojump_clock: object) -> None:
    settings = settings_of("okx_spot", recorded=False, pump="SOL", pump_share=0.8)
    _, truth, _ = await record("okx_spot", tmp_path, settings, 3.0)
    share = (truth["symbol"] == "SOLUSDT").mean()
    assert share == pytest.approx(0.8, abs=0.02)


async def test_a_lifted_coin_rises_and_no_other(tmp_path: Path, autojump_clock: object) -> None:
    settings = settings_of("okx_spot", recorded=False, pump="SOL", pump_share=0.5)
    async with simulator(settings, tmp_path, START_NS) as stage:
        values = contract_values(stage, "okx_spot")
        client = await stage.connect("okx_spot")
        await client.subscribe([name for name in stage.tradable("okx_spot") if name in values][:20])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stage.trade, 6.0)
            await trio.sleep(1.0)
            answer = await stage.exchange.answer(
                "control", Request("POST", "/lift", {}, {}, b"SOL")
            )
            assert answer.body == b'{"lifted":1}'
        await stage.close()
        await client.closed.wait()
        got, truth = read_texts("okx_spot", client.texts, values), stage.truth()
    assert not difference(got, truth_rows(truth, has_ids=True))
    for symbol, low, high in (("SOLUSDT", 1.12, 1.35), ("BTCUSDT", 0.95, 1.05)):
        prices = truth.filter(pl.col("symbol") == symbol)["price"].cast(pl.Float64)
        assert low < prices[-20:].median() / prices[:20].median() < high  # type: ignore[operator]


async def test_a_quiet_simulator_ticks_seldom_but_while_a_coin_rises(
    tmp_path: Path, autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks_s: list[float] = []
    tick = Engine.tick

    def note(engine: Engine, now_s: float, *more: Any) -> None:
        ticks_s.append(now_s)
        tick(engine, now_s, *more)

    monkeypatch.setattr(Engine, "tick", note)
    for rate_per_s, quiet_s in ((QUIET_PER_S - 1, QUIET_TICK_S), (QUIET_PER_S, 0.02)):
        ticks_s.clear()
        settings = settings_of("okx_spot", recorded=False, rate_per_s=rate_per_s)
        async with simulator(settings, tmp_path / f"{rate_per_s}", START_NS) as stage:
            client = await stage.connect("okx_spot")
            await client.subscribe(stage.tradable("okx_spot")[:20])
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stage.trade, 4.0)
                await trio.sleep(2.0)
                stage.exchange.engine.lift("SOL")
            await stage.close()
            await client.closed.wait()
        steps_s = np.diff([at_s for at_s in ticks_s if at_s < 2.0])
        assert np.median(steps_s) == pytest.approx(quiet_s, abs=0.005)
        assert np.median(np.diff([at_s for at_s in ticks_s if at_s > 2.5])) == pytest.approx(
            0.02, abs=0.005
        )


def test_the_same_seed_gives_the_same_trades(tmp_path: Path) -> None:
    truths = []
    for seed, name in ((5, "a"), (5, "b"), (6, "c")):
        settings = settings_of("kucoin_futures", seed=seed)
        run = partial(record, "kucoin_futures", tmp_path / name, settings, 1.0)
        truths.append(trio.run(run, clock=MockClock(autojump_threshold=0))[1])
    assert truths[0].equals(truths[1])
    assert not truths[0].equals(truths[2])

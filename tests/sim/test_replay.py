"""A bundle played back is what a stock client gets: each trade once, when it was received."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from pumpwatch.errors import UsageError
from pumpwatch.listing.canonical import number_text
from pumpwatch.replay_verb import read_instruments, read_notice, told
from pumpwatch.research.bundles import Bundle
from pumpwatch.research.replaying import ReplayRow, in_receive_order
from pumpwatch.sim.replay import ReplayExchange, items_of
from pumpwatch.sim.settings import FEED_NAMES, SimSettings
from pumpwatch.sim.told import ToldMessage, ToldNotice, contracts_text
from pumpwatch.sim.venue import Request
from tests.research.making import FIRST_NS, VENUE_NAMES, Move, Shape, make_bundle
from tests.sim.driving import Stage, VirtualClock, contract_values
from tests.sim.reading import Seen, difference, read_texts

NS = 10**9
SHAPE = Shape(moves={"okx_spot": Move(500, 8.0)}, rate_per_s=3.0, before_s=30, after_s=30)
DECIMALS = ((b"X-Gate-Size-Decimal", b"1"),)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundles"), SHAPE)


def rows_of(place: Path) -> list[ReplayRow]:
    return list(in_receive_order(Bundle(place).scan(kept=False).collect()))


@asynccontextmanager
async def replayed(
    place: Path, *, speed: float = 1.0, wait_s: float = 1.0, to_now: bool = False,
    now_ns: int = FIRST_NS + 40 * 86_400 * NS,
) -> AsyncIterator[tuple[Stage, ReplayExchange]]:  # fmt: skip
    """The venues of a bundle on memory streams, weeks later."""
    clock = VirtualClock(now_ns)
    clock.wall_ns()
    bundle = Bundle(place)
    exchange = ReplayExchange(
        SimSettings(symbols=2, recorded=False), clock, read_instruments(bundle),
        items_of(map(told, rows_of(place)), read_notice(bundle)), speed=speed, wait_s=wait_s,
        to_now=to_now,
    )  # fmt: skip
    async with playing(exchange, clock) as stage:
        yield stage, exchange


@asynccontextmanager
async def playing(exchange: ReplayExchange, clock: VirtualClock) -> AsyncIterator[Stage]:
    """It plays, boards and all."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(exchange.boards.run)
        nursery.start_soon(exchange.play)
        yield Stage(exchange, clock, nursery, None)
        nursery.cancel_scope.cancel()


def seen(rows: Sequence[ReplayRow]) -> list[Seen]:
    """As a client reads them: Phemex gives no id, Bybit's futures an order number of their own."""
    return [
        Seen(row.venue_symbol, "" if row.exchange == "phemex" else row.trade_id, row.timestamp_ns,
             row.side, number_text(row.price), number_text(row.quantity), row.sequence_number)
        for row in rows
    ]  # fmt: skip


@pytest.mark.parametrize("feed", FEED_NAMES)
async def test_a_stock_client_gets_exactly_the_bundles_trades(
    feed: str, place: Path, autojump_clock: object
) -> None:
    expected = [row for row in rows_of(place) if row.feed == feed]
    async with replayed(place, speed=10.0) as (stage, exchange):
        values = contract_values(stage, feed)
        client = await stage.connect(feed, headers=DECIMALS)
        await client.subscribe([VENUE_NAMES[feed].format("POD")])
        await exchange.finished.wait()
        await exchange.drain()
        await stage.close()
        await client.closed.wait()
    got = read_texts(feed, client.texts, values)
    assert len(got) > 80
    assert not difference(got, seen(expected))


@pytest.mark.parametrize(("feed", "limit_s"), [("phemex_spot", 30.0), ("kucoin_spot", 28.0)])
async def test_a_client_that_never_pings_is_cut_as_by_the_venue(
    feed: str, limit_s: float, place: Path, autojump_clock: object
) -> None:
    async with replayed(place) as (stage, _):
        client = await stage.connect(feed)
        await client.subscribe([VENUE_NAMES[feed].format("POD")])
        started_s = trio.current_time()
        await client.closed.wait()
        assert trio.current_time() - started_s == pytest.approx(limit_s, abs=0.5)


async def test_each_comes_when_it_was_received(place: Path, autojump_clock: object) -> None:
    """At speed 1 the recorded spacing, at 10 a tenth of it; measured on the reader's side."""
    rows = [row for row in rows_of(place) if row.feed == "binance_spot"]
    for speed in (1.0, 10.0):
        async with replayed(place, speed=speed) as (stage, _):
            client = await stage.connect("binance_spot")
            await client.subscribe(["PODUSDT"])
            came: list[float] = []
            while len(came) < len(rows):
                await trio.sleep(0.1)
                came = [
                    at_s
                    for text, at_s in zip(client.texts, client.came_s, strict=True)
                    if '"trade"' in text
                ]
        spacing = [(row.at_ns - rows[0].at_ns) / NS / speed for row in rows]
        assert [at - came[0] for at in came] == pytest.approx(spacing, abs=0.001)


async def test_it_waits_for_the_last_subscription(place: Path, autojump_clock: object) -> None:
    async with replayed(place, wait_s=5.0) as (stage, exchange):
        started_s = trio.current_time()
        for number, feed in enumerate(("okx_spot", "gate_spot", "phemex_spot")):
            await trio.sleep_until(started_s + 4.0 * number)
            client = await stage.connect(feed)
            await client.subscribe([VENUE_NAMES[feed].format("POD")])
        await trio.sleep_until(started_s + 12.9)
        assert exchange.engine.started_s is None
        await trio.sleep_until(started_s + 13.2)
        assert exchange.engine.started_s == pytest.approx(started_s + 13.0, abs=0.1)


async def test_it_begins_when_it_is_told_to(place: Path, autojump_clock: object) -> None:
    async with replayed(place, wait_s=3600.0, speed=0.0) as (_, exchange):
        answer = await exchange.answer("control", Request("POST", "/start", {}, {}))
        assert answer.status == 200
        await exchange.finished.wait()
        assert trio.current_time() < 60
        answer = await exchange.answer("control", Request("GET", "/replay", {}, {}))
        document = json.loads(answer.body)
        assert document["is_over"]
        assert document["frames"] == {"recorded": 0, "rebuilt": len(exchange.items) - 1}
        assert document["told"] == {"trades": len(rows_of(place)), "notices": 1}


async def test_the_board_shows_the_notice_when_we_saw_it(
    place: Path, autojump_clock: object
) -> None:
    notice = read_notice(Bundle(place))
    first_ns = rows_of(place)[0].at_ns
    async with replayed(place) as (stage, exchange):

        def titles() -> list[str]:
            request = Request("GET", "/api/v1/announcements", {"category": "trade"}, {})
            document = json.loads(exchange.boards.answer("upbit", request).body)
            return [one["title"] for one in document["data"]["notices"]]

        assert notice.title not in titles()
        client = await stage.connect("okx_spot")
        await client.subscribe(["POD-USDT"])
        while exchange.engine.started_s is None:  # noqa: ASYNC110 - nothing tells of it
            await trio.sleep(0.01)
        seen_s = exchange.engine.started_s + (notice.at_ns - first_ns) / NS
        await trio.sleep_until(seen_s - 0.05)
        assert notice.title not in titles()
        await trio.sleep_until(seen_s + 0.05)
        assert titles()[0] == notice.title
        posted = exchange.boards.boards["upbit"].notices[-1]
        assert str(posted.number) == notice.notice_id
        assert posted.first_ns == notice.announced_ns // NS * NS


async def test_all_may_be_moved_to_now_by_whole_seconds(
    place: Path, autojump_clock: object
) -> None:
    rows = [row for row in rows_of(place) if row.feed == "okx_futures"]
    async with replayed(place, to_now=True, speed=0.0) as (stage, exchange):
        client = await stage.connect("okx_futures")
        await client.subscribe(["POD-USDT-SWAP"])
        values = contract_values(stage, "okx_futures")
        await exchange.finished.wait()
        moved_ns = exchange.offset_ns
        assert moved_ns % NS == 0
        assert 0 <= stage.clock.wall_ns() - (rows_of(place)[0].at_ns + moved_ns) < 10 * NS
        await exchange.drain()
        await stage.close()
        await client.closed.wait()
    got = read_texts("okx_futures", client.texts, values)
    expected = [one._replace(exchange_ns=one.exchange_ns + moved_ns) for one in seen(rows)]
    assert not difference(got, expected)


async def test_lists_know_what_was_told_and_no_more(place: Path, autojump_clock: object) -> None:
    rows = [row for row in rows_of(place) if row.feed == "binance_spot"]
    async with replayed(place) as (stage, exchange):
        assert stage.get("binance_spot", "/api/v3/trades", symbol="PODUSDT") == []
        client = await stage.connect("binance_spot")
        await client.subscribe(["PODUSDT"])
        while exchange.told_trades < 300:  # noqa: ASYNC110 - nothing tells of it
            await trio.sleep(0.01)
        listed = stage.get("binance_spot", "/api/v3/trades", symbol="PODUSDT", limit=1000)
        assert [str(one["id"]) for one in listed] == [row.trade_id for row in rows][: len(listed)]
        assert 0 < len(listed) < len(rows)
        await exchange.finished.wait()
        after = stage.get("binance_spot", "/api/v3/historicalTrades", symbol="PODUSDT",
                          fromId=rows[5].trade_id, limit=3)  # fmt: skip
        assert [str(one["id"]) for one in after] == [row.trade_id for row in rows[5:8]]


def test_rows_of_one_message_stay_together(place: Path) -> None:
    """Bybit may tell several trades at once; they have one receive time."""
    rows = [told(row) for row in rows_of(place) if row.feed == "bybit_spot"][:4]
    same = [row._replace(at_ns=rows[0].at_ns) for row in rows]
    assert [len(item.rows) for item in items_of(same, None) if isinstance(item, ToldMessage)] == [4]
    binance = [row._replace(feed="binance_spot") for row in same]
    assert len(items_of(binance, None)) == 4  # one trade a message there
    phemex = [row._replace(feed="phemex_spot") for row in same]
    assert len(items_of(phemex, None)) == 4  # a message has one number


def test_a_coin_named_by_hand_has_no_notice(place: Path) -> None:
    notice = read_notice(Bundle(place))
    assert items_of([], notice) == [notice]
    assert items_of([], notice._replace(source="manual")) == []
    assert isinstance(items_of([], notice._replace(source="bithumb_markets"))[0], ToldNotice)


@pytest.mark.parametrize(
    ("quantity", "value", "text"),
    [("300", "0.1", "3000"), ("0.3", "10", "0.03"), ("12.5", "1", "12.5"), ("9", "3", "3"),
     ("0.30000000000000004", "0.1", "3.0000000000000004"),
     ("1", "3", "0.333333333333333")],
)  # fmt: skip
def test_contracts_are_counted_exactly(quantity: str, value: str, text: str) -> None:
    assert contracts_text(quantity, value) == text


def test_a_contract_of_nothing_is_no_contract() -> None:
    with pytest.raises(UsageError, match="damaged"):
        contracts_text("1", "0")


async def test_a_reader_who_stops_holds_up_the_fastest_pace(
    place: Path, autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with replayed(place, speed=0.0) as (stage, exchange):
        market: Any = exchange.venues["okx_spot"].market
        behind = [True]
        monkeypatch.setattr(type(market), "is_behind", property(lambda self: behind[0]))
        client = await stage.connect("okx_spot")
        await client.subscribe(["POD-USDT"])
        await trio.sleep(30)
        assert exchange.told_trades + exchange.told_notices == 0
        behind[0] = False
        await exchange.finished.wait()

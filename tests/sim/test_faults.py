"""Faults of the simulator: what a client misses, and that the truth says so."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest
import trio

from pumpwatch.errors import UsageError
from pumpwatch.sim.engine import QUIET_TICK_S
from pumpwatch.sim.faults import Fault, read_plan
from pumpwatch.sim.player import LOG_FILE
from pumpwatch.sim.settings import FEED_NAMES, SimSettings
from pumpwatch.sim.venue import Answer, Request
from pumpwatch.venues import FEEDS_BY_NAME
from pumpwatch.venues.spec import ReplyKind
from tests.sim.driving import Client, Stage, contract_values, simulator
from tests.sim.reading import Seen, difference, read_texts, truth_rows
from tests.sim.test_connections import RawClient

TICK_NS = int(QUIET_TICK_S * 1e9)  # a fault begins and ends with one
NOTICED = [name for name in FEED_NAMES if name.split("_")[0] in ("binance", "okx", "gate")]


def settings_of(feed: str, **changes: Any) -> SimSettings:
    facts = {"feeds": (feed,), "symbols": 3, "recorded": False, "rate_per_s": 200.0, **changes}
    return SimSettings(**facts)


async def subscribed(stage: Stage, feed: str, nursery: trio.Nursery) -> tuple[Client, list[str]]:
    """A client of the feed's first symbols, while faults can be played."""
    nursery.start_soon(stage.exchange.faults.run)
    names = stage.tradable(feed)[:3]
    client = await stage.connect(feed, headers=[(b"x-gate-size-decimal", b"1")])
    await client.subscribe(names)
    await trio.sleep(0.1)
    return client, names


def play(stage: Stage, feed: str, kind: Any, **facts: Any) -> None:
    fault = Fault(feed=feed, kind=kind, **facts)
    stage.exchange.faults.give([fault], trio.current_time())


async def outcome(
    feed: str, kind: Any, folder: Path, *, run_s: float = 6.0, named: bool = True, **facts: Any
) -> tuple[list[Seen], pl.DataFrame, str, bool]:
    """What a client saw, the whole truth, the symbol of the fault, and whether it was closed."""
    async with simulator(settings_of(feed), folder) as stage, trio.open_nursery() as nursery:
        client, names = await subscribed(stage, feed, nursery)
        play(stage, feed, kind, symbol=names[0] if named else "", **facts)
        await stage.trade(run_s)
        is_closed = client.closed.is_set()
        values = contract_values(stage, feed)
        await stage.close()
        seen = read_texts(feed, client.texts, values)
        truth = stage.truth(everything=True)
        nursery.cancel_scope.cancel()
    return seen, truth, names[0], is_closed


def sent(feed: str, truth: pl.DataFrame) -> list[Seen]:
    return truth_rows(truth.filter("delivered"), has_ids=not feed.startswith("phemex"))


@pytest.mark.parametrize("feed", FEED_NAMES)
async def test_withheld_rows_are_in_rest_and_not_on_the_stream(
    feed: str, tmp_path: Path, autojump_clock: object
) -> None:
    seen, truth, symbol, is_closed = await outcome(feed, "withhold", tmp_path, rows=7, at_s=1)
    held = truth.filter("withheld")
    assert (len(held), held["venue_symbol"].unique().to_list()) == (7, [symbol])
    assert not difference(seen, sent(feed, truth))
    assert not is_closed
    rows = truth.filter(pl.col("venue_symbol") == symbol).with_row_index()
    index = rows.filter("withheld")["index"].to_list()
    assert index == list(range(index[0], index[0] + 7))  # one after the other: a range


@pytest.mark.parametrize("feed", ["okx_spot", "bybit_futures", "phemex_spot"])
async def test_rest_shows_what_the_stream_withheld(feed: str, autojump_clock: object) -> None:
    async with simulator(settings_of(feed)) as stage, trio.open_nursery() as nursery:
        _, names = await subscribed(stage, feed, nursery)
        play(stage, feed, "mute", symbol=names[0], seconds=100)
        await stage.trade(2)
        spec = FEEDS_BY_NAME[feed]
        page = spec.recent
        query = {page.symbol_param: names[0], **page.params}
        answer = await stage.exchange.answer(feed, Request("GET", page.path, query, {}))
        assert page.read(answer.body, names[0]).rows > 10
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("feed", FEED_NAMES)
async def test_a_thinned_stream_lacks_some_rows(
    feed: str, tmp_path: Path, autojump_clock: object
) -> None:
    seen, truth, symbol, _ = await outcome(feed, "thin", tmp_path, share=0.2, seconds=60)
    of_symbol = truth.filter((pl.col("venue_symbol") == symbol) & ~pl.col("history"))
    share = of_symbol["withheld"].mean()
    assert 0.05 < share < 0.4
    assert not truth.filter(pl.col("venue_symbol") != symbol)["withheld"].any()
    assert not difference(seen, sent(feed, truth))


RENAMED = [("binance_futures", "p", "z"), ("gate_spot", "price", "prize"),
           ("phemex_futures", "symbol", "zymbol")]  # fmt: skip


@pytest.mark.parametrize(("feed", "field", "into"), RENAMED)
async def test_a_member_is_called_something_else_for_a_while(
    feed: str, field: str, into: str, tmp_path: Path, autojump_clock: object
) -> None:
    async with simulator(settings_of(feed), tmp_path) as stage, trio.open_nursery() as nursery:
        client, _ = await subscribed(stage, feed, nursery)
        play(stage, feed, "rename", field=field, into=into, seconds=2)
        await stage.trade(5)
        values = contract_values(stage, feed)
        await stage.close()
        old, new = f'"{field}":', f'"{into}":'
        assert sum(new in text for text in client.texts) > 10
        assert not [text for text in client.texts if new in text and old in text]
        seen = read_texts(feed, [text.replace(new, old) for text in client.texts], values)
        assert not difference(seen, sent(feed, stage.truth(everything=True)))
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("feed", FEED_NAMES)
async def test_a_mute_symbol_trades_unheard_and_is_heard_again(
    feed: str, tmp_path: Path, autojump_clock: object
) -> None:
    async with simulator(settings_of(feed), tmp_path) as stage, trio.open_nursery() as nursery:
        client, names = await subscribed(stage, feed, nursery)
        play(stage, feed, "mute", symbol=names[0], seconds=2, at_s=1)
        await stage.trade(6)
        (played,) = stage.exchange.faults.played
        values = contract_values(stage, feed)
        await stage.close()
        truth = stage.truth(everything=True)
        nursery.cancel_scope.cancel()
    mute = truth.filter(pl.col("exchange_ns").is_between(played.at_ns, played.until_ns - TICK_NS))
    by_name = mute.group_by("venue_symbol").agg(pl.col("delivered").any(), pl.len())
    heard = {name: delivered for name, delivered, _ in by_name.iter_rows()}
    assert heard == {name: name != names[0] for name in heard}
    after = truth.filter(pl.col("exchange_ns") > played.until_ns + TICK_NS)
    assert after.filter(pl.col("venue_symbol") == names[0])["delivered"].all()
    assert not difference(read_texts(feed, client.texts, values), sent(feed, truth))
    line = json.loads((tmp_path / LOG_FILE).read_text())
    assert (line["symbols"], line["rows"]) == ([names[0]], int(truth["withheld"].sum()))


@pytest.mark.parametrize("feed", FEED_NAMES)
async def test_repeated_rows_come_twice(feed: str, tmp_path: Path, autojump_clock: object) -> None:
    seen, truth, _, _ = await outcome(feed, "repeat", tmp_path, rows=9, at_s=1)
    assert truth.filter(~pl.col("history"))["delivered"].all()
    extra = Counter(seen) - Counter(sent(feed, truth))
    assert sum(extra.values()) == 9
    assert not Counter(sent(feed, truth)) - Counter(seen)


@pytest.mark.parametrize("feed", ["binance_spot", "bybit_futures", "gate_futures", "okx_futures"])
async def test_late_rows_come_behind_younger_ones(
    feed: str, tmp_path: Path, autojump_clock: object
) -> None:
    seen, truth, symbol, _ = await outcome(feed, "late", tmp_path, rows=3, at_s=1, seconds=1.5)
    assert truth.filter(~pl.col("history"))["delivered"].all()
    assert not difference(seen, sent(feed, truth))
    times = [one.exchange_ns for one in seen if one.symbol == symbol]
    assert times != sorted(times)


@pytest.mark.parametrize("how", ["fin", "reset", "mid_frame"])
@pytest.mark.parametrize("feed", ["binance_futures", "phemex_futures"])
async def test_a_cut_connection_got_what_the_truth_says(
    feed: str, how: Any, tmp_path: Path, autojump_clock: object
) -> None:
    seen, truth, _, is_closed = await outcome(feed, "cut", tmp_path, how=how, at_s=2, named=False)
    assert is_closed
    assert seen
    assert not difference(seen, sent(feed, truth))


async def test_symbols_go_on_trading_when_nobody_listens(
    tmp_path: Path, autojump_clock: object
) -> None:
    settings = settings_of("okx_spot", goes_on=True)
    async with simulator(settings, tmp_path) as stage, trio.open_nursery() as nursery:
        await subscribed(stage, "okx_spot", nursery)
        play(stage, "okx_spot", "cut", at_s=1)
        await stage.trade(4)
        await stage.close()
        truth = stage.truth(everything=True)
        nursery.cancel_scope.cancel()
    unsent = truth.filter(~pl.col("delivered") & ~pl.col("withheld"))
    assert len(unsent) > 300


@pytest.mark.parametrize("kind", ["stall", "half_open"])
@pytest.mark.parametrize("feed", ["bybit_spot", "gate_spot"])
async def test_a_silent_connection_loses_rows_and_goes_on(
    feed: str, kind: Any, tmp_path: Path, autojump_clock: object
) -> None:
    async with simulator(settings_of(feed), tmp_path) as stage, trio.open_nursery() as nursery:
        client, _ = await subscribed(stage, feed, nursery)
        play(stage, feed, kind, at_s=1, seconds=2)
        nursery.start_soon(stage.trade, 6)
        await trio.sleep(1.5)
        texts = len(client.texts)
        with trio.move_on_after(1) as scope:
            await client.socket.ping()
        assert scope.cancelled_caught  # no byte comes, not even a pong
        assert len(client.texts) == texts
        await trio.sleep(5)
        assert not client.closed.is_set()
        assert len(client.texts) > texts
        values = contract_values(stage, feed)
        await stage.close()
        truth = stage.truth(everything=True)
        nursery.cancel_scope.cancel()
    unsent = truth.filter(~pl.col("delivered") & ~pl.col("history"))
    assert 200 < len(unsent) < 700
    assert not difference(read_texts(feed, client.texts, values), sent(feed, truth))


@pytest.mark.parametrize("feed", FEED_NAMES)
async def test_subscriptions_are_refused_for_a_while(feed: str, autojump_clock: object) -> None:
    read = FEEDS_BY_NAME[feed].read_reply
    async with simulator(settings_of(feed)) as stage, trio.open_nursery() as nursery:
        nursery.start_soon(stage.exchange.faults.run)
        play(stage, feed, "refuse", seconds=5)
        await trio.sleep(0.1)
        client = await stage.connect(feed)
        await client.subscribe(stage.tradable(feed)[:2])
        await trio.sleep(1)
        kinds = {read(msgspec.json.decode(text)).kind for text in client.texts}
        assert kinds & {ReplyKind.REFUSED, ReplyKind.BUSY}
        assert ReplyKind.ACCEPTED not in kinds
        assert not stage.exchange.venues[feed].market.subscriptions()
        await trio.sleep(5)
        await client.subscribe(stage.tradable(feed)[:2])
        await trio.sleep(1)
        assert stage.exchange.venues[feed].market.subscriptions() == 2
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("feed", NOTICED)
async def test_a_planned_end_is_announced_in_the_venue_s_words(
    feed: str, autojump_clock: object
) -> None:
    async with simulator(settings_of(feed)) as stage, trio.open_nursery() as nursery:
        client, _ = await subscribed(stage, feed, nursery)
        play(stage, feed, "close", seconds=5)
        await trio.sleep(1)
        read = FEEDS_BY_NAME[feed].read_reply
        kinds = [read(msgspec.json.decode(text)).kind for text in client.texts if "arg" not in text]
        assert ReplyKind.PLANNED_END in kinds
        assert not client.closed.is_set()
        await trio.sleep(5)
        assert client.closed.is_set()
        nursery.cancel_scope.cancel()


async def test_kucoin_tokens_expire_and_their_connections_end(autojump_clock: object) -> None:
    feed = "kucoin_spot"
    async with simulator(settings_of(feed)) as stage, trio.open_nursery() as nursery:
        client, _ = await subscribed(stage, feed, nursery)
        old = stage.token(feed)
        play(stage, feed, "expire")
        await trio.sleep(1)
        assert client.closed.is_set()
        assert "token is expired" in client.texts[-1]
        late = await stage.connect(feed, path=f"/?token={old}&connectId=c2")
        await trio.sleep(1)
        assert late.closed.is_set()
        assert (await subscribed(stage, feed, nursery))[0].closed.is_set() is False
        nursery.cancel_scope.cancel()


async def test_an_outage_shuts_sockets_and_rest(autojump_clock: object) -> None:
    feed = "gate_spot"
    async with simulator(settings_of(feed)) as stage, trio.open_nursery() as nursery:
        client, _ = await subscribed(stage, feed, nursery)
        play(stage, feed, "outage", seconds=3)
        await trio.sleep(1)
        assert client.closed.is_set()
        assert await RawClient(stage, nursery).upgrade("/gate_spot/ws/v4/") == ""
        request = Request("GET", "/api/v4/spot/currency_pairs", {}, {})
        with pytest.raises(trio.BrokenResourceError):
            await stage.exchange.answer(feed, request)
        await trio.sleep(3)
        assert (await stage.exchange.answer(feed, request)).status == 200
        assert not (await stage.connect(feed)).closed.is_set()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("status", [403, 418, 429, 503])
async def test_rest_refuses_and_says_when_to_come_back(status: int, autojump_clock: object) -> None:
    feed = "binance_spot"
    request = Request("GET", "/api/v3/exchangeInfo", {}, {})
    async with simulator(settings_of(feed)) as stage, trio.open_nursery() as nursery:
        nursery.start_soon(stage.exchange.faults.run)
        play(stage, feed, "rest", status=status, retry_after_s=7, seconds=4)
        await trio.sleep(1)
        answer: Answer = await stage.exchange.answer(feed, request)
        assert (answer.status, dict(answer.headers)["Retry-After"]) == (status, "7")
        await trio.sleep(4)
        assert (await stage.exchange.answer(feed, request)).status == 200
        play(stage, feed, "rest", delay_s=9, seconds=4)
        await trio.sleep(1)
        begun_s = trio.current_time()
        assert (await stage.exchange.answer(feed, request)).status == 200
        assert trio.current_time() - begun_s == pytest.approx(9)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("feed", FEED_NAMES)
async def test_a_new_instrument_is_listed_and_then_trades(
    feed: str, tmp_path: Path, autojump_clock: object
) -> None:
    settings = settings_of(feed, newborns=2)
    spec = FEEDS_BY_NAME[feed]
    request = Request("GET", spec.instruments.path, dict(spec.instruments.params), {})

    async def status(stage: Stage) -> str:
        listed = spec.instruments.read((await stage.exchange.answer(feed, request)).body).listed
        return next((one.status for one in listed if one.base == "NEW001"), "unlisted")

    async with simulator(settings, tmp_path) as stage, trio.open_nursery() as nursery:
        await subscribed(stage, feed, nursery)
        play(stage, feed, "launch", seconds=10)
        before = await status(stage) if stage.exchange.faults.played else "unlisted"
        await trio.sleep(1)
        announced = await status(stage)
        market = stage.exchange.venues[feed].market
        new = market.instruments[-2]
        early = await stage.connect(feed)
        await early.subscribe([new.venue_symbol])
        nursery.start_soon(stage.trade, 14)
        await trio.sleep(12)
        assert (before, await status(stage)) == ("unlisted", "trading")
        assert announced != "trading"
        values = contract_values(stage, feed)
        scale = values.get(new.venue_symbol, next(iter(values.values())))
        seen = read_texts(feed, early.texts, {new.venue_symbol: scale})
        await trio.sleep(4)
        await stage.close()
        truth = stage.truth(everything=True).filter(pl.col("symbol") == "NEW001USDT")
        nursery.cancel_scope.cancel()
    assert len(truth) > 10
    if feed.split("_")[0] in ("binance", "okx", "gate"):  # they take it before it trades
        assert announced in ("prelaunch", "halted")
        assert seen[0].exchange_ns == truth["exchange_ns"][0]
        assert truth["sequence_number"][0] == 1000
    else:
        assert not seen


async def test_a_list_may_name_an_instrument_after_its_first_trade(
    tmp_path: Path, autojump_clock: object
) -> None:
    feed = "binance_spot"
    settings = settings_of(feed, newborns=1)
    async with simulator(settings, tmp_path) as stage, trio.open_nursery() as nursery:
        await subscribed(stage, feed, nursery)
        play(stage, feed, "launch", seconds=1, listed_s=4)
        nursery.start_soon(stage.trade, 8)
        await trio.sleep(3)
        market = stage.exchange.venues[feed].market
        assert "NEW001USDT" not in market.by_name
        assert market.tape.recent(len(market.instruments) - 1, 5)
        await trio.sleep(2)
        document = stage.get(feed, "/api/v3/historicalTrades", symbol="NEW001USDT", fromId=0)
        assert document[0]["id"] == 1000
        nursery.cancel_scope.cancel()


async def test_a_delisted_instrument_trades_no_more(tmp_path: Path, autojump_clock: object) -> None:
    feed = "okx_futures"
    async with simulator(settings_of(feed), tmp_path) as stage, trio.open_nursery() as nursery:
        _, names = await subscribed(stage, feed, nursery)
        play(stage, feed, "delist", symbol=names[1], at_s=1, seconds=2)
        await stage.trade(6)
        (played,) = stage.exchange.faults.played
        rows = stage.get(feed, "/api/v5/public/instruments", instType="SWAP")["data"]
        assert names[1] not in [row["instId"] for row in rows]
        await stage.close()
        truth = stage.truth().filter(pl.col("venue_symbol") == names[1])
        nursery.cancel_scope.cancel()
    assert truth["exchange_ns"].max() <= played.at_ns + TICK_NS


async def test_phemex_may_serve_only_the_first_symbol_of_a_request(
    autojump_clock: object,
) -> None:
    feed = "phemex_futures"
    settings = settings_of(feed, phemex_first_only=True)
    async with simulator(settings) as stage, trio.open_nursery() as nursery:
        client, names = await subscribed(stage, feed, nursery)
        await stage.trade(2)
        texts = [text for text in client.texts if '"trades_p"' in text]
        assert {name for name in names if any(f'"{name}"' in text for text in texts)} == {names[0]}
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[{}]", "feed"),
        ('[{"feed": "okx_spot", "kind": "explode"}]', "explode"),
        ('[{"feed": "okx_spot", "kind": "cut", "hwo": "fin"}]', "hwo"),
        ('[{"feed": "okx_spot", "kind": "late", "symbol": "A", "seconds": 2.5}]', "below 2"),
        ('[{"feed": "okx_spot", "kind": "withhold"}]', "symbol"),
        ('[{"feed": "okx_spot", "kind": "thin", "share": 1.5}]', "share"),
        ('[{"feed": "okx_spot", "kind": "rename", "field": "px", "into": "price"}]', "length"),
        ('{"feed": "okx_spot", "kind": "cut"}\nnonsense', "plan of faults"),
    ],
)
def test_a_wrong_plan_is_refused(text: str, what: str) -> None:
    with pytest.raises(UsageError, match=what):
        read_plan(text.encode())


def test_a_plan_may_be_lines_and_is_in_the_order_of_time() -> None:
    lines = b'{"at_s": 2, "feed": "a", "kind": "cut"}\n{"at_s": 1, "feed": "b", "kind": "cut"}\n'
    assert [fault.feed for fault in read_plan(lines)] == ["b", "a"]


async def test_the_control_side_takes_a_plan_and_tells_of_it(autojump_clock: object) -> None:
    feed = "okx_spot"
    async with simulator(settings_of(feed)) as stage, trio.open_nursery() as nursery:
        client, _ = await subscribed(stage, feed, nursery)
        answer = stage.exchange.answer

        async def ask(method: str, body: bytes = b"") -> tuple[int, Any]:
            got = await answer("control", Request(method, "/faults", {}, {}, body))
            return got.status, json.loads(got.body)

        assert await ask("POST", b'[{"feed": "okx_spot", "kind": "cut"}]') == (200, {"taken": 1})
        assert (await ask("POST", b'[{"feed": "bybit_spot", "kind": "cut"}]'))[0] == 400
        assert (await ask("POST", b"nonsense"))[0] == 400
        await trio.sleep(1)
        _, (told,) = await ask("GET")
        assert (told["fault"]["kind"], told["connections"]) == ("cut", 1)
        assert told["until_ns"] >= told["at_ns"] > 0
        assert client.closed.is_set()
        nursery.cancel_scope.cancel()


DEPTHS = {  # FEEDS.md, section 9: rows of the latest list
    "binance_spot": 1000, "binance_futures": 1000, "bybit_spot": 60, "bybit_futures": 1000,
    "okx_spot": 500, "okx_futures": 500, "kucoin_spot": 100, "kucoin_futures": 100,
    "gate_spot": 1000, "gate_futures": 1000, "phemex_spot": 1000, "phemex_futures": 1000,
}  # fmt: skip


@pytest.mark.parametrize("feed", FEED_NAMES)
async def test_a_list_of_latest_trades_is_as_long_as_the_venue_s(
    feed: str, autojump_clock: object
) -> None:
    spec = FEEDS_BY_NAME[feed]
    page = spec.recent
    settings = settings_of(feed, symbols=1, rate_per_s=1500.0)
    async with simulator(settings) as stage, trio.open_nursery() as nursery:
        _, names = await subscribed(stage, feed, nursery)
        await stage.trade(5)
        query = {page.symbol_param: names[0], **page.params}
        query |= {name: "100000" for name in query if name == "limit"}
        answer = await stage.exchange.answer(feed, Request("GET", page.path, query, {}))
        rows = page.read(answer.body, names[0]).rows
        most = DEPTHS[feed]
        # Rows of one instant are all in a snapshot or none.
        assert most - 10 < rows <= most
        nursery.cancel_scope.cancel()


async def test_the_rate_of_trading_is_set_from_outside(autojump_clock: object) -> None:
    feed = "okx_spot"
    async with simulator(settings_of(feed)) as stage, trio.open_nursery() as nursery:
        client, _ = await subscribed(stage, feed, nursery)

        async def rate(text: bytes) -> int:
            request = Request("POST", "/rate", {}, {}, text)
            return (await stage.exchange.answer("control", request)).status

        async def came() -> int:
            before = len(client.texts)
            await trio.sleep(2)
            return len(client.texts) - before

        nursery.start_soon(stage.trade, 60.0)
        slow = await came()
        assert slow > 0
        assert await rate(b"0") == 200
        await trio.sleep(1)
        assert await came() == 0
        assert await rate(b"20000") == 200
        assert await came() > slow
        assert await rate(b"fast") == 400
        nursery.cancel_scope.cancel()


async def test_aggregates_tell_of_what_the_stream_keeps_back(
    tmp_path: Path, autojump_clock: object
) -> None:
    """And deliver nothing: the truth says of each trade whether ``@trade`` brought it."""
    feed = "binance_futures"
    async with simulator(settings_of(feed), tmp_path) as stage, trio.open_nursery() as nursery:
        client, (name, *_) = await subscribed(stage, feed, nursery)
        witness = await stage.connect(feed, path="/market/ws")
        ask = {"method": "SUBSCRIBE", "params": [f"{name.lower()}@aggTrade"], "id": 1}
        await witness.say(ask)
        await trio.sleep(0.1)
        play(stage, feed, "withhold", symbol=name, rows=12)
        await stage.trade(6.0)
        await stage.close()
        truth = stage.truth(everything=True)
        nursery.cancel_scope.cancel()
    told = [json.loads(text) for text in witness.texts if '"aggTrade"' in text]
    mine = truth.filter(pl.col("venue_symbol") == name)
    firsts = [one["f"] for one in told]
    assert firsts == [one["l"] for one in told]
    assert firsts == list(range(firsts[0], firsts[-1] + 1))
    assert set(firsts) <= {int(one) for one in mine["trade_id"]}
    withheld = mine.filter("withheld")
    assert len(withheld) > 10
    assert not withheld["delivered"].any()
    assert {int(one) for one in withheld["trade_id"]} <= set(firsts)
    got = {json.loads(text)["t"] for text in client.texts if '"e":"trade"' in text}
    assert got.isdisjoint(int(one) for one in withheld["trade_id"])

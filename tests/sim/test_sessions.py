"""Each venue's session: what it acknowledges, refuses and ends, by FEEDS.md. No sockets here."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch.sim.exchange import Exchange
from pumpwatch.sim.settings import FEED_NAMES, SimSettings
from pumpwatch.sim.venue import (
    Action,
    Answer,
    Budget,
    End,
    Refuse,
    Send,
    Session,
    Subscribe,
    Unsubscribe,
    Upgrade,
)
from tests.sim.driving import SECOND_NS, StandingClock, ask, open_session, subscriptions, tradable

SETTINGS = SimSettings(symbols=40)
STANDING = Exchange(SETTINGS, StandingClock())  # for laws: it is slow to make


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@pytest.fixture
def exchange(clock: StandingClock) -> Exchange:
    return Exchange(SETTINGS, clock)


def say(session: Session, request: Any, now_s: float = 1.0) -> list[Action]:
    text = request if isinstance(request, str) else json.dumps(request, ensure_ascii=False)
    return session.received(text, now_s)


def replies(actions: list[Action]) -> list[Any]:
    return [json.loads(action.text) for action in actions if isinstance(action, Send)]


def subscribed(actions: list[Action]) -> list[str]:
    return [one.instrument.venue_symbol for one in actions if isinstance(one, Subscribe)]


def unsubscribed(actions: list[Action]) -> list[str]:
    return [one.instrument.venue_symbol for one in actions if isinstance(one, Unsubscribe)]


def refused(actions: list[Action]) -> bool:
    return any(isinstance(action, Refuse) for action in actions)


def ended(actions: list[Action]) -> bool:
    return any(isinstance(action, End) for action in actions)


def opened(exchange: Exchange, feed: str) -> Session:
    """A session that is ready for subscriptions."""
    query = {}
    if feed.startswith("kucoin"):
        document = ask(exchange, feed, "/api/v1/bullet-public", 0.0, "POST")[1]
        query = {"token": document["data"]["token"], "connectId": "c1"}
    return open_session(exchange, feed, **query)


# --- all ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("feed", FEED_NAMES)
def test_a_client_gets_what_it_asks_for(
    feed: str, exchange: Exchange, clock: StandingClock
) -> None:
    session = opened(exchange, feed)
    names = tradable(exchange, feed)[:15]
    got = []
    for request in subscriptions(feed, names, clock.ns // SECOND_NS):
        actions = say(session, request)
        assert isinstance(actions[0], Send)  # the acknowledgement comes before the trades
        assert not refused(actions)
        got += subscribed(actions)
        assert not subscribed(say(session, request)), "subscribed twice"
    assert got == names


@pytest.mark.parametrize("feed", FEED_NAMES)
def test_an_unsubscribed_symbol_can_come_back(
    feed: str, exchange: Exchange, clock: StandingClock
) -> None:
    session = opened(exchange, feed)
    name = tradable(exchange, feed)[3]
    (request,) = subscriptions(feed, [name], clock.ns // SECOND_NS)
    assert subscribed(say(session, request)) == [name]
    text = json.dumps(request, ensure_ascii=False)
    other = text.replace("subscribe", "unsubscribe").replace("SUBSCRIBE", "UNSUBSCRIBE")
    actions = say(session, other)
    assert isinstance(actions[0], Send)
    assert unsubscribed(actions) == [name]
    assert not unsubscribed(say(session, other))
    assert subscribed(say(session, request)) == [name]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
words = st.sampled_from([
    "op", "args", "method", "params", "id", "req_id", "type", "topic", "channel", "event", "time",
    "payload", "response",
])  # fmt: skip
meant = st.sampled_from([
    "subscribe", "unsubscribe", "SUBSCRIBE", "ping", "server.ping", "trade.subscribe",
    "spot.trades", "futures.trades", "spot.ping", 1_790_000_000, ["BTCUSDT"], ["btcusdt@trade"],
    [{"channel": "trades-all", "instId": "BTC-USDT"}], [{"channel": 1, "instId": None}],
    "/market/match:BTC-USDT", ["publicTrade.BTCUSDT"], [["BTCUSDT"]],
])  # fmt: skip
requests = st.dictionaries(words, meant | json_values, max_size=8).map(json.dumps)


@pytest.mark.parametrize("feed", FEED_NAMES)
@given(texts=st.lists(requests | json_values.map(json.dumps) | st.text(max_size=30), max_size=5))
def test_nonsense_is_answered_and_never_raises(feed: str, texts: list[str]) -> None:
    STANDING.venues[feed].budgets.clear()
    session = opened(STANDING, feed)
    for number, text in enumerate(texts):
        for action in session.received(text, 10.0 * number):
            assert isinstance(action, Action)


@pytest.mark.parametrize("feed", FEED_NAMES)
def test_deeply_nested_text_is_no_request(feed: str, exchange: Exchange) -> None:
    assert replies(say(opened(exchange, feed), "[" * 200_000))


def test_a_budget_is_for_any_span_of_its_length() -> None:
    budget = Budget(3, 1.0)
    assert [budget.take(at) for at in (0.0, 0.5, 0.9, 0.95)] == [True, True, True, False]
    assert budget.take(1.96)
    assert not Budget(100, 1.0).take(0.0, 101)


# --- Binance --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("feed", "most"), [("binance_spot", 5), ("binance_futures", 10)])
def test_binance_ends_a_connection_with_too_many_frames_a_second(
    feed: str, most: int, exchange: Exchange
) -> None:
    session = open_session(exchange, feed)
    for number in range(most):
        assert not session.frame_came(0x1, number / 100)
    assert ended(session.frame_came(0xA, 0.9))  # a pong counts too
    session = open_session(exchange, feed)
    assert not any(session.frame_came(0x1, number * 1.01 / most) for number in range(50))


def test_binance_errors(exchange: Exchange) -> None:
    session = open_session(exchange, "binance_spot")
    (answer,) = replies(say(session, "{not json"))
    assert answer["error"]["code"] == 3
    (answer,) = replies(say(session, {"method": "SUBSCRIBE", "params": "btcusdt@trade", "id": 7}))
    assert answer["error"]["code"] == 2
    assert answer["id"] == 7
    assert answer["error"]["msg"].startswith("Invalid request: ")


def test_binance_accepts_unknown_symbols_and_upper_case_and_never_sends_them(
    exchange: Exchange,
) -> None:
    session = open_session(exchange, "binance_spot")
    names = ["nosuch@trade", "BTCUSDT@trade", "btcusdt@aggTrade", "lunausdt@trade"]
    actions = say(session, {"method": "SUBSCRIBE", "params": names, "id": 1})
    assert replies(actions) == [{"result": None, "id": 1}]
    assert not subscribed(actions)


def test_binance_counts_streams(exchange: Exchange) -> None:
    session = open_session(exchange, "binance_spot")
    names = [f"c{number}usdt@trade" for number in range(1024)]
    assert not ended(say(session, {"method": "SUBSCRIBE", "params": names, "id": 1}))
    assert not ended(say(session, {"method": "SUBSCRIBE", "params": names[:9], "id": 2}))
    assert ended(say(session, {"method": "SUBSCRIBE", "params": ["x@trade"], "id": 3}))


@pytest.mark.parametrize("path", ["/market/ws", "/ws", "/stream", "/private/ws"])
def test_binance_futures_are_silent_on_the_wrong_route(path: str, exchange: Exchange) -> None:
    session = open_session(exchange, "binance_futures", path)
    request = {"method": "SUBSCRIBE", "params": ["btcusdt@trade"], "id": 1}
    actions = say(session, request)
    assert replies(actions) == [{"result": None, "id": 1}]
    assert not subscribed(actions)
    session = open_session(exchange, "binance_futures", "/public/ws")
    assert subscribed(say(session, request)) == ["BTCUSDT"]


def test_binance_futures_have_aggregates_on_the_other_route(exchange: Exchange) -> None:
    request = {"method": "SUBSCRIBE", "params": ["btcusdt@aggTrade"], "id": 1}
    session = open_session(exchange, "binance_futures", "/market/ws")
    assert subscribed(say(session, request)) == ["BTCUSDT"]
    session = open_session(exchange, "binance_futures", "/public/ws")
    assert subscribed(say(session, request)) == []


def test_binance_streams_may_stand_in_the_url(exchange: Exchange) -> None:
    session = open_session(
        exchange, "binance_spot", "/stream", streams="btcusdt@trade/ethusdt@trade"
    )
    assert session.dialect == "wrapped"
    assert subscribed(session.opened(0.0)) == ["BTCUSDT", "ETHUSDT"]
    session = open_session(exchange, "binance_spot", "/ws/solusdt@trade")
    assert session.dialect == "raw"
    assert subscribed(session.opened(0.0)) == ["SOLUSDT"]


def test_binance_knows_no_other_paths(exchange: Exchange) -> None:
    venue = exchange.venues["binance_spot"]
    answer = venue.open_session(Upgrade("/public/ws", {}, {}), 0.0)
    assert isinstance(answer, Answer)
    assert answer.status == 404


# --- Bybit ----------------------------------------------------------------------------------------


def bybit_request(names: list[str], **more: str) -> dict[str, Any]:
    return {"op": "subscribe", "args": [f"publicTrade.{name}" for name in names], **more}


def test_bybit_spot_takes_ten_args_and_fails_a_request_as_a_whole(exchange: Exchange) -> None:
    session = open_session(exchange, "bybit_spot")
    names = tradable(exchange, "bybit_spot")
    actions = say(session, bybit_request(names[:11], req_id="a"))
    assert refused(actions)
    assert not subscribed(actions)
    (answer,) = replies(actions)
    assert (answer["success"], answer["ret_msg"], answer["req_id"]) == (False, "args size >10", "a")
    assert "\\u003e10" in next(one.text for one in actions if isinstance(one, Send))
    assert subscribed(say(session, bybit_request(names[:10]))) == names[:10]


def test_bybit_linear_takes_more_than_ten_args(exchange: Exchange) -> None:
    session = open_session(exchange, "bybit_futures")
    names = tradable(exchange, "bybit_futures")
    assert subscribed(say(session, bybit_request(names))) == names


@pytest.mark.parametrize("feed", ["bybit_spot", "bybit_futures"])
def test_bybit_refuses_all_args_for_one_unknown(feed: str, exchange: Exchange) -> None:
    session = open_session(exchange, feed)
    actions = say(session, bybit_request(["BTCUSDT", "NOSUCHUSDT"], req_id="b"))
    assert not subscribed(actions)
    (answer,) = replies(actions)
    assert not answer["success"]
    assert "publicTrade.NOSUCHUSDT" in answer["ret_msg"]


def test_bybit_args_of_a_connection_have_at_most_21000_characters(clock: StandingClock) -> None:
    exchange = Exchange(SimSettings(symbols=1200, feeds=("bybit_futures",)), clock)
    names = tradable(exchange, "bybit_futures")
    session = open_session(exchange, "bybit_futures")
    fits, total = 0, 0
    while total + len("publicTrade." + names[fits]) <= 21_000:
        total += len("publicTrade." + names[fits])
        fits += 1
    half = fits // 2
    assert 850 < fits < 1020
    assert len(subscribed(say(session, bybit_request(names[:half])))) == half
    assert refused(say(session, bybit_request(names[half : fits + 1])))
    assert len(subscribed(say(session, bybit_request(names[half:fits])))) == fits - half
    assert not refused(say(session, bybit_request(names[:half]))), "repeats take no room"


def test_bybit_answers_differ_from_spot_to_linear(exchange: Exchange) -> None:
    spot, linear = (open_session(exchange, feed) for feed in ("bybit_spot", "bybit_futures"))
    (answer,) = replies(say(spot, bybit_request(["BTCUSDT"])))
    assert (answer["ret_msg"], answer["op"]) == ("subscribe", "subscribe")
    assert "req_id" not in answer
    (answer,) = replies(say(linear, bybit_request(["BTCUSDT"])))
    assert (answer["ret_msg"], answer["req_id"]) == ("", "")
    (answer,) = replies(say(linear, {"op": "ping", "req_id": "x"}))
    assert (answer["ret_msg"], answer["op"], answer["req_id"]) == ("pong", "ping", "x")


# --- OKX ------------------------------------------------------------------------------------------


def okx_request(names: list[str], **more: str) -> dict[str, Any]:
    args = [{"channel": "trades-all", "instId": name} for name in names]
    return {"op": "subscribe", "args": args, **more}


def test_okx_acknowledges_each_arg_and_refuses_each_by_itself(exchange: Exchange) -> None:
    session = open_session(exchange, "okx_spot")
    names = ["BTC-USDT", "NOSUCH-USDT", "ETH-USDT-SWAP"]
    actions = say(session, okx_request(names, id="9"))
    assert subscribed(actions) == ["BTC-USDT", "ETH-USDT-SWAP"]  # one socket for both markets
    first, error, last = replies(actions)
    assert first["event"] == last["event"] == "subscribe"
    assert first["arg"] == {"channel": "trades-all", "instId": "BTC-USDT"}
    assert first["id"] == last["id"] == "9"
    assert (error["event"], error["code"]) == ("error", "60018")
    assert "NOSUCH-USDT" in error["msg"]
    assert "arg" not in error


def test_okx_trades_all_is_only_on_business(exchange: Exchange) -> None:
    session = open_session(exchange, "okx_spot", "/ws/v5/public")
    actions = say(session, okx_request(["BTC-USDT"]))
    assert [answer["code"] for answer in replies(actions)] == ["60018"]
    assert not subscribed(actions)


def test_okx_ping_is_text(exchange: Exchange) -> None:
    session = open_session(exchange, "okx_spot")
    assert say(session, "ping") == [Send("pong")]
    (answer,) = replies(say(session, {"op": "ping"}))
    assert answer["code"] == "60012"


def test_okx_takes_480_requests_an_hour(exchange: Exchange) -> None:
    session = open_session(exchange, "okx_spot")
    request = okx_request(["BTC-USDT"])
    assert not any(refused(say(session, request, 7.0 * at)) for at in range(480))
    assert not refused(say(session, "ping", 3365.0))  # pings do not count
    actions = say(session, request, 3370.0)
    assert [answer["code"] for answer in replies(actions)] == ["60014"]
    assert not refused(say(session, request, 3370.0 + 3600.0))


def test_okx_takes_64_kib_of_request(clock: StandingClock) -> None:
    exchange = Exchange(SimSettings(symbols=1500, feeds=("okx_spot",)), clock)
    session = open_session(exchange, "okx_spot")
    names = tradable(exchange, "okx_spot")
    assert len(json.dumps(okx_request(names))) > 65_536
    actions = say(session, okx_request(names))
    assert refused(actions)
    assert not subscribed(actions)
    assert subscribed(say(session, okx_request(names[:900]))) == names[:900]


def test_okx_connects_three_times_a_second_for_both_feeds(exchange: Exchange) -> None:
    upgrade = Upgrade("/ws/v5/business", {}, {})
    spot, futures = exchange.venues["okx_spot"], exchange.venues["okx_futures"]
    found = [venue.open_session(upgrade, 0.1) for venue in (spot, futures, spot, futures)]
    assert [isinstance(one, Session) for one in found] == [True, True, True, False]
    assert isinstance(spot.open_session(upgrade, 1.2), Session)


# --- KuCoin ---------------------------------------------------------------------------------------


def kucoin_request(names: list[str], **more: Any) -> dict[str, Any]:
    return {"id": "5", "type": "subscribe", "topic": "/market/match:" + ",".join(names),
            "response": True, **more}  # fmt: skip


def test_kucoin_welcomes_with_the_connect_id(exchange: Exchange) -> None:
    session = opened(exchange, "kucoin_spot")
    assert replies(session.opened(0.0)) == [{"id": "c1", "type": "welcome"}]


@pytest.mark.parametrize("feed", ["kucoin_spot", "kucoin_futures"])
def test_kucoin_tokens_are_for_one_connection_and_a_day(feed: str, exchange: Exchange) -> None:
    def token(now_s: float) -> str:
        return str(ask(exchange, feed, "/api/v1/bullet-public", now_s, "POST")[1]["data"]["token"])

    def connect(text: str, now_s: float) -> list[Action]:
        venue = exchange.venues[feed]
        session = venue.open_session(Upgrade("/", {"token": text, "connectId": "1"}, {}), now_s)
        assert isinstance(session, Session)
        return session.opened(now_s)

    first = token(0.0)
    assert replies(connect(first, 1.0))[0]["type"] == "welcome"
    for actions in (connect(first, 2.0), connect("made up", 3.0), connect("", 4.0)):
        (answer,) = replies(actions)
        assert (answer["type"], answer["code"]) == ("error", 401)
        assert answer["data"] == "token is expired"
        assert ended(actions)
    assert not ended(connect(token(100.0), 100.0 + 86_399.0))
    assert ended(connect(token(90_000.0), 90_000.0 + 86_401.0))


def test_kucoin_takes_a_hundred_symbols_a_topic(clock: StandingClock) -> None:
    exchange = Exchange(SimSettings(symbols=450, feeds=("kucoin_spot",)), clock)
    names = tradable(exchange, "kucoin_spot")
    session = opened(exchange, "kucoin_spot")
    actions = say(session, kucoin_request(names[:100]))
    assert replies(actions) == [{"id": "5", "type": "ack"}]
    assert len(subscribed(actions)) == 100
    actions = say(session, kucoin_request(names[100:201]))
    assert ended(actions)
    assert not subscribed(actions)
    (answer,) = replies(actions)
    assert answer["code"] == 509
    assert answer["data"] == "exceed max subscription count limitation of 100 per time"


def test_kucoin_spot_has_400_symbols_a_connection(clock: StandingClock) -> None:
    exchange = Exchange(SimSettings(symbols=450, feeds=("kucoin_spot",)), clock)
    names = tradable(exchange, "kucoin_spot")
    session = opened(exchange, "kucoin_spot")
    for at in range(0, 400, 100):
        assert not refused(say(session, kucoin_request(names[at : at + 100])))
    actions = say(session, kucoin_request(names[400:401]))
    assert replies(actions)[0]["code"] == 509
    assert not subscribed(actions)


def test_kucoin_refuses_a_topic_for_one_unknown_symbol(exchange: Exchange) -> None:
    session = opened(exchange, "kucoin_spot")
    actions = say(session, kucoin_request(["BTC-USDT", "NOSUCH-USDT"]))
    (answer,) = replies(actions)
    assert (answer["type"], answer["code"], answer["id"]) == ("error", 404, "5")
    assert answer["data"] == "topic /market/match:NOSUCH-USDT is not found"
    assert not subscribed(actions)
    wrong = kucoin_request(["BTC-USDT"], topic="/contractMarket/execution:BTC-USDT")
    assert replies(say(session, wrong))[0]["code"] == 404


def test_kucoin_takes_100_messages_in_ten_seconds(exchange: Exchange) -> None:
    session = opened(exchange, "kucoin_spot")
    ping = {"id": "1", "type": "ping"}
    for at in range(100):
        assert replies(say(session, ping, at / 20)) == [{"id": "1", "type": "pong"}]
    actions = say(session, ping, 9.9)
    assert replies(actions)[0]["code"] == 509
    assert replies(actions)[0]["data"] == "exceed max permits per 10 seconds"
    assert ended(actions)


def test_kucoin_connects_30_times_a_minute(exchange: Exchange) -> None:
    venue = exchange.venues["kucoin_spot"]
    found = [venue.open_session(Upgrade("/", {}, {}), at / 10) for at in range(31)]
    assert all(isinstance(one, Session) for one in found[:30])
    assert isinstance(found[30], Answer)
    assert found[30].status == 429


# --- Gate -----------------------------------------------------------------------------------------


def gate_request(clock: StandingClock, names: Any, **more: Any) -> dict[str, Any]:
    return {"time": clock.ns // SECOND_NS, "id": 3, "channel": "spot.trades", "event": "subscribe",
            "payload": names, **more}  # fmt: skip


def test_gate_refuses_a_payload_as_a_whole(exchange: Exchange, clock: StandingClock) -> None:
    session = open_session(exchange, "gate_spot")
    actions = say(session, gate_request(clock, ["BTC_USDT", "NOSUCH_USDT", "ETH_USDT"]))
    assert not subscribed(actions)
    (answer,) = replies(actions)
    assert answer["error"] == {"code": 2, "message": "unknown currency pair NOSUCH_USDT"}
    assert answer["result"] == {"status": "fail"}
    assert (answer["id"], answer["event"], answer["channel"]) == (3, "subscribe", "spot.trades")
    actions = say(session, gate_request(clock, ["BTC_USDT", "ETH_USDT"]))
    assert subscribed(actions) == ["BTC_USDT", "ETH_USDT"]
    (answer,) = replies(actions)
    assert answer["result"] == {"status": "success"}
    assert answer["payload"] == ["BTC_USDT", "ETH_USDT"]
    assert "error" not in answer or answer["error"] is None


@pytest.mark.parametrize("off_s", [-61, 61])
def test_gate_wants_the_time_within_60_s(
    off_s: int, exchange: Exchange, clock: StandingClock
) -> None:
    session = open_session(exchange, "gate_spot")
    now_s = clock.ns // SECOND_NS
    actions = say(session, gate_request(clock, ["BTC_USDT"], time=now_s + off_s))
    assert not subscribed(actions)
    assert replies(actions)[0]["error"]["code"] == 2
    nearer = off_s - (1 if off_s > 0 else -1)
    assert subscribed(say(session, gate_request(clock, ["BTC_USDT"], time=now_s + nearer)))


def test_gate_error_codes(exchange: Exchange, clock: StandingClock) -> None:
    session = open_session(exchange, "gate_spot")
    for payload in ([], "BTC_USDT", None, [1]):
        assert replies(say(session, gate_request(clock, payload)))[0]["error"]["code"] == 1
    wrong = gate_request(clock, ["BTC_USDT"], channel="futures.trades")
    assert replies(say(session, wrong))[0]["error"]["code"] == 2
    wrong = gate_request(clock, ["BTC_USDT"], event="sub")
    assert replies(say(session, wrong))[0]["error"]["code"] == 2


def test_gate_lists_a_contract_before_it_trades(exchange: Exchange, clock: StandingClock) -> None:
    """A pre-launch contract can be subscribed (it sends nothing yet); a delisted one cannot."""
    session = open_session(exchange, "gate_futures")
    request = gate_request(clock, ["NEWC_USDT"], channel="futures.trades")
    assert not refused(say(session, request))
    request = gate_request(clock, ["LUNA_USDT"], channel="futures.trades")
    (answer,) = replies(say(session, request))
    assert answer["error"]["message"] == "unknown contract LUNA_USDT"


@pytest.mark.parametrize("feed", ["gate_spot", "gate_futures"])
def test_gate_ping_is_a_channel(feed: str, exchange: Exchange, clock: StandingClock) -> None:
    kind = feed.split("_")[1]
    session = open_session(exchange, feed)
    (answer,) = replies(say(session, {"time": clock.ns // SECOND_NS, "channel": f"{kind}.ping"}))
    assert answer["channel"] == f"{kind}.pong"
    assert answer["event"] == ""


# --- Phemex ---------------------------------------------------------------------------------------


def phemex_request(names: list[str], method: str = "trade.subscribe") -> dict[str, Any]:
    return {"id": 4, "method": method, "params": names}


def test_phemex_has_20_subscriptions_a_connection(exchange: Exchange) -> None:
    session = open_session(exchange, "phemex_spot")
    names = tradable(exchange, "phemex_spot")
    actions = say(session, phemex_request(names[:20]))
    assert replies(actions) == [{"error": None, "id": 4, "result": {"status": "success"}}]
    assert len(subscribed(actions)) == 20
    actions = say(session, phemex_request(names[20:21]))
    assert replies(actions)[0]["error"]["code"] == 6001
    assert not subscribed(actions)
    assert unsubscribed(say(session, phemex_request(names[:1], "trade.unsubscribe"))) == names[:1]
    assert subscribed(say(session, phemex_request(names[20:21]))) == names[20:21]


def test_phemex_counts_both_markets_together(exchange: Exchange) -> None:
    session = open_session(exchange, "phemex_spot")
    spot, perpetual = tradable(exchange, "phemex_spot"), tradable(exchange, "phemex_futures")
    assert not refused(say(session, phemex_request(spot[:15])))
    actions = say(session, phemex_request(perpetual[:6], "trade_p.subscribe"))
    assert refused(actions)
    actions = say(session, phemex_request(perpetual[:5], "trade_p.subscribe"), 2.5)
    assert subscribed(actions) == perpetual[:5]


@pytest.mark.parametrize(
    ("names", "method"),
    [
        (["BTCUSDT"], "trade.subscribe"),
        (["sBTCUSDT"], "trade_p.subscribe"),
        (["sNOSUCHUSDT"], "trade.subscribe"),
        (["sBTCUSDT", "sNOSUCHUSDT"], "trade.subscribe"),
        (["sBTCUSDT"], "orderbook.subscribe"),
    ],
)
def test_phemex_refuses_the_wrong_method_or_symbol(
    names: list[str], method: str, exchange: Exchange
) -> None:
    session = open_session(exchange, "phemex_spot")
    actions = say(session, phemex_request(names, method))
    assert replies(actions) == [
        {"error": {"code": 6001, "message": "invalid argument"}, "id": 4, "result": None}
    ]
    assert not subscribed(actions)


def test_phemex_tells_the_coin_ol_from_the_perpetual_of_sol(exchange: Exchange) -> None:
    session = open_session(exchange, "phemex_spot")
    (spot,) = [one for one in say(session, phemex_request(["sOLUSDT"]))
               if isinstance(one, Subscribe)]  # fmt: skip
    (perpetual,) = [one for one in say(session, phemex_request(["SOLUSDT"], "trade_p.subscribe"))
                    if isinstance(one, Subscribe)]  # fmt: skip
    assert (spot.instrument.base, perpetual.instrument.base) == ("OL", "SOL")


def test_phemex_takes_20_requests_a_second(exchange: Exchange) -> None:
    session = open_session(exchange, "phemex_spot")
    ping = {"id": 0, "method": "server.ping", "params": []}
    for at in range(20):
        answers = replies(say(session, ping, at / 21))
        assert answers == [{"error": None, "id": 0, "result": "pong"}]
    assert ended(say(session, ping, 0.99))


def test_phemex_connections_are_counted_where_a_run_asks_for_it(clock: StandingClock) -> None:
    exchange = Exchange(SimSettings(phemex_connections_max=5), clock)
    venue = exchange.venues["phemex_spot"]
    venue.open_connections = lambda: 4
    assert isinstance(venue.open_session(Upgrade("/", {}, {}), 0.0), Session)
    venue.open_connections = lambda: 5
    assert isinstance(venue.open_session(Upgrade("/", {}, {}), 0.0), Answer)

"""KuCoin: its tokens, what it says, what it lists, what we ask of it."""

from __future__ import annotations

import json
import random
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given

from pumpwatch.config import FeedConfig
from pumpwatch.errors import VenueError
from pumpwatch.venues.kucoin import (
    FUTURES,
    KEEPALIVE,
    SPOT,
    read_contract_list,
    read_reply,
    read_spot_list,
    read_token,
)
from pumpwatch.venues.spec import (
    NOTICE,
    FeedSpec,
    Listed,
    Params,
    Reply,
    ReplyKind,
    Target,
    TradeIds,
    connection_target,
)
from tests.venues.feed_checks import (
    body,
    check_below,
    check_scales,
    json_values,
    longest_symbols,
    ping,
    replies,
    request,
    rest_sample,
)

BOTH = pytest.mark.parametrize("spec", [SPOT, FUTURES], ids=lambda spec: spec.name)
SEED = 20261107


def test_recorded_spot_replies() -> None:
    assert replies(SPOT) == [
        Reply(ReplyKind.WELCOME, "NSkIrWGB1s"),
        Reply(ReplyKind.ACCEPTED, "1"),
        Reply(ReplyKind.PONG, "1545910590801"),
        Reply(ReplyKind.FAULT, text="401 token is expired"),
        Reply(
            ReplyKind.REFUSED, "1551623050668", ("BSV-BTC",),
            "404 topic /market/level2:BSV-BTC is not found",
        ),
        Reply(ReplyKind.BUSY, "XMFzvWJeHw", text="509 exceed max permits per 10 seconds"),
    ]  # fmt: skip


def test_recorded_futures_replies() -> None:
    assert replies(FUTURES) == [
        Reply(ReplyKind.WELCOME, "hQvf8jkno"),
        Reply(ReplyKind.ACCEPTED, "1"),
        Reply(ReplyKind.PONG, "1545910590801"),
        Reply(ReplyKind.FAULT, text="401 token is expired"),
    ]


def error(code: int, said: str, request_id: str | None = "7") -> Reply:
    return read_reply({"id": request_id, "type": "error", "code": code, "data": said})


def test_a_topic_with_one_symbol_names_it() -> None:
    reply = error(404, "topic /contractMarket/execution:NEWUSDTM is not found")
    assert (reply.kind, reply.symbols) == (ReplyKind.REFUSED, ("NEWUSDTM",))


def test_a_topic_with_all_symbols_names_nobody() -> None:
    """Else the good ones would be given up with the bad one."""
    reply = error(404, "topic /market/match:BTC-USDT,NEW-USDT is not found")
    assert (reply.kind, reply.symbols) == (ReplyKind.REFUSED, ())


def test_too_many_symbols_do_not_become_fewer_by_waiting() -> None:
    said = "exceed max subscription count limitation of 100 per time"
    assert error(509, said) == Reply(ReplyKind.REFUSED, "7", text=f"509 {said}")


def test_a_busy_venue_is_asked_again() -> None:
    assert error(509, "service busy, please retry later").kind is ReplyKind.BUSY
    assert error(509, "exceed max permits per second", None).kind is ReplyKind.BUSY


def test_an_error_about_no_request_ends_the_connection() -> None:
    assert error(400, "illegal message", None).kind is ReplyKind.FAULT


def test_what_is_not_known_is_told_to_the_log() -> None:
    assert "notice" in read_reply({"type": "notice"}).text
    assert read_reply("hello").text == "'hello'"
    assert read_reply({"type": "message", "topic": "/market/ticker:all"}) == NOTICE


@given(json_values("id", "type", "code", "data", "welcome", "ack", "error", "pong"))
def test_no_message_breaks_the_reader(message: Any) -> None:
    assert isinstance(read_reply(message), Reply)


# --- the token ------------------------------------------------------------------------------------


def read_sample(market: str, seed: int = SEED) -> tuple[Target, dict[str, list[str]]]:
    answer = rest_sample(f"kucoin_bullet_public_{market}")
    target = read_token(answer, KEEPALIVE, random.Random(seed))
    assert json.loads(answer)["data"]["token"] in parse_qs(urlsplit(target.url).query)["token"]
    return target, parse_qs(urlsplit(target.url).query)


@pytest.mark.parametrize("market", ["spot", "futures"])
def test_recorded_tokens(market: str) -> None:
    target, query = read_sample(market)
    assert target.url.startswith(f"wss://ws-api-{market}.kucoin.com/?token=")
    assert set(query) == {"token", "connectId"}
    assert target.keepalive is not None
    assert (target.keepalive.interval_s, target.keepalive.silence_s) == (18.0, 28.0)
    assert target.keepalive.ping == KEEPALIVE.ping


def test_each_connection_has_an_id_of_its_own() -> None:
    ids = {read_sample("spot", seed)[1]["connectId"][0] for seed in (1, 2, 1)}
    assert len(ids) == 2


def token_answer(**fields: Any) -> bytes:
    server = {"endpoint": "wss://ws.example/endpoint", "pingInterval": 18000, "pingTimeout": 10000}
    return body({"code": "200000", "data": {
        "token": "SECRET", "instanceServers": [{**server, **fields}],
    }})  # fmt: skip


def test_the_answer_rules_the_keepalive() -> None:
    answer = token_answer(pingInterval=50_000, pingTimeout=4_500)
    keepalive = read_token(answer, KEEPALIVE, random.Random(SEED)).keepalive
    assert keepalive is not None
    assert (keepalive.interval_s, keepalive.silence_s) == (50.0, 54.5)


@pytest.mark.parametrize("answer", [
    b"<html>SECRET", body([]), body({"code": "200000"}), body({"code": "429000", "msg": "slow"}),
    body({"code": "200000", "data": {"token": "SECRET", "instanceServers": []}}),
    body({"code": "200000", "data": {"token": "", "instanceServers": []}}),
    body({"code": "200000", "data": {"token": 1, "instanceServers": ["SECRET"]}}),
    token_answer(endpoint="https://ws.example/"), token_answer(endpoint="wss://"),
    token_answer(endpoint="wss://[bad"), token_answer(endpoint=None),
    token_answer(pingInterval=0), token_answer(pingTimeout="10000"),
    token_answer(pingInterval=True),
])  # fmt: skip
def test_an_answer_without_a_way_is_an_error_and_keeps_the_secret(answer: bytes) -> None:
    with pytest.raises(VenueError, match="KuCoin") as caught:
        read_token(answer, KEEPALIVE, random.Random(SEED))
    assert caught.value.retry
    assert "SECRET" not in str(caught.value)


def test_a_refusal_is_told_as_it_came() -> None:
    with pytest.raises(VenueError, match="429000 too many requests"):
        read_token(
            body({"code": "429000", "msg": "too many requests"}), KEEPALIVE, random.Random(SEED)
        )


class Bullets:
    """A venue that hands out tokens."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, float]] = []

    async def get(
        self, source: FeedSpec, path: str, params: Params | None = None, weight: float = 1
    ) -> bytes:
        raise AssertionError(f"{path}: tokens are posted for")

    async def post(
        self, source: FeedSpec, path: str, params: Params | None = None, weight: float = 1
    ) -> bytes:
        self.asked.append((source.name, path, weight))
        return token_answer(endpoint=f"ws://127.0.0.1:{7000 + len(self.asked)}/")


@BOTH
async def test_each_connection_asks_for_its_own_token(spec: FeedSpec) -> None:
    rest, rng = Bullets(), random.Random(SEED)
    config = FeedConfig(websocket_url="wss://not.looked.at/")
    urls = [(await connection_target(spec, rest, config, rng)).url for _ in range(2)]
    assert [urlsplit(url).port for url in urls] == [7001, 7002]
    assert rest.asked == [(spec.name, "/api/v1/bullet-public", 10)] * 2


# --- instruments ----------------------------------------------------------------------------------


def test_recorded_spot_list() -> None:
    page = read_spot_list(rest_sample("kucoin_symbols"))
    assert [(one.venue_symbol, one.base, one.quote, one.status) for one in page.listed] == [
        ("ETH-USDT", "ETH", "USDT", "trading"), ("BTC-USDT", "BTC", "USDT", "trading"),
        ("LTX-USDT", "LTX", "USDT", "trading"),
    ]  # fmt: skip
    assert page.refused == []
    check_scales(SPOT, page.listed[1])


def test_recorded_contract_list() -> None:
    page = read_contract_list(rest_sample("kucoin_contracts_active"))
    assert page.listed[0] == Listed(
        venue_symbol="XBTUSDTM", base="BTC", quote="USDT", status="trading",
        contract_value="0.001", volume_quote=635_383_419.4265137, starts_s=1_585_555_200,
    )  # fmt: skip
    assert [(one.venue_symbol, one.base, one.contract_value) for one in page.listed] == [
        ("XBTUSDTM", "BTC", "0.001"), ("ETHUSDTM", "ETH", "0.01"), ("ZRXUSDTM", "ZRX", "10"),
    ]  # fmt: skip
    assert page.refused == []
    check_scales(FUTURES, page.listed[0])


def pair(name: str, **fields: Any) -> dict[str, Any]:
    base, quote = name.split("-")
    return {"symbol": name, "baseCurrency": base, "quoteCurrency": quote, "enableTrading": True,
            **fields}  # fmt: skip


def contract(name: str, **fields: Any) -> dict[str, Any]:
    return {"symbol": name, "type": "FFWCSX", "baseCurrency": "SOL", "quoteCurrency": "USDT",
            "settleCurrency": "USDT", "multiplier": 0.1, "isInverse": False, "status": "Open",
            **fields}  # fmt: skip


def good(*entries: Any) -> bytes:
    return body({"code": "200000", "data": list(entries)})


def test_pairs_that_do_not_trade_are_halted() -> None:
    page = read_spot_list(good(
        pair("NEW-USDT", enableTrading=False, tradingStartTime=1_740_474_000_000),
        pair("OLD-USDT", tradingStartTime=None),
    ))  # fmt: skip
    assert [(one.status, one.starts_s) for one in page.listed] == [
        ("halted", 1_740_474_000), ("trading", 0),
    ]  # fmt: skip


def test_only_linear_perpetuals_are_ours() -> None:
    page = read_contract_list(good(
        contract("SOLUSDTM"), contract("XBTMZ26", type="FFICSX"),
        contract("XBTUSDM", quoteCurrency="USD", settleCurrency="XBT", isInverse=True,
                 multiplier=-1.0),
        contract("ETHXBTM", settleCurrency="XBT"),
        contract("ETHUSDM", quoteCurrency="ETH", settleCurrency="ETH", isInverse=True),
        contract("XBTUSDCM", baseCurrency="XBT", quoteCurrency="USDC", settleCurrency="USDC"),
    ))  # fmt: skip
    assert [(one.venue_symbol, one.base, one.quote) for one in page.listed] == [
        ("SOLUSDTM", "SOL", "USDT"), ("XBTUSDCM", "BTC", "USDC"),
    ]  # fmt: skip
    assert page.refused == []
    check_scales(FUTURES, page.listed[0])


@pytest.mark.parametrize(("written", "value"), [
    ("0.1", "0.1"), ("1E-7", "0.0000001"), ("1000000.0", "1000000"), ("10", "10"),
    ("0.0000000000000000001234567", "0.0000000000000000001234567"),
])  # fmt: skip
def test_multipliers_keep_their_digits(written: str, value: str) -> None:
    answer = good(contract("SOLUSDTM", multiplier=-1)).replace(b"-1", written.encode())
    assert read_contract_list(answer).listed[0].contract_value == value


@pytest.mark.parametrize(("status", "ours"), [
    ("Open", "trading"), ("Init", "prelaunch"), ("Paused", "halted"),
    ("CancelOnly", "halted"), ("BeingSettled", "ended"), ("Settled", "ended"), ("Closed", "ended"),
])  # fmt: skip
def test_statuses(status: str, ours: str) -> None:
    assert read_contract_list(good(contract("SOLUSDTM", status=status))).listed[0].status == ours


def test_broken_entries_are_named_and_the_others_read() -> None:
    page = read_contract_list(good(
        contract("AUSDTM", multiplier=0), contract("BUSDTM", multiplier=None),
        contract("CUSDTM", multiplier=float("nan")), contract("DUSDTM", baseCurrency=""), None,
        contract("SOLUSDTM"),
    ))  # fmt: skip
    assert [one.venue_symbol for one in page.listed] == ["SOLUSDTM"]
    assert page.refused[:4] == [
        "AUSDTM: multiplier is 0", "BUSDTM: multiplier is None", "CUSDTM: multiplier is nan",
        "DUSDTM: baseCurrency is ''",
    ]  # fmt: skip
    assert len(page.refused) == 5
    page = read_spot_list(good(pair("A-USDT", enableTrading="true")))
    assert page.refused == ["A-USDT: enableTrading is 'true'"]


@pytest.mark.parametrize("read", [read_spot_list, read_contract_list])
@pytest.mark.parametrize("answer", [b"", body({"code": "400100", "msg": "no"}), body(1)])
def test_an_answer_without_a_list_is_an_error(read: Any, answer: bytes) -> None:
    with pytest.raises(VenueError, match=r"KuCoin's (symbol|contract) list"):
        read(answer)


# --- requests and limits --------------------------------------------------------------------------


@pytest.mark.parametrize(("spec", "topic"), [
    (SPOT, "/market/match:BTC-USDT,ETH-USDT"),
    (FUTURES, "/contractMarket/execution:BTC-USDT,ETH-USDT"),
])  # fmt: skip
def test_subscription(spec: FeedSpec, topic: str) -> None:
    assert request(spec, "BTC-USDT", "ETH-USDT", request_id=5) == {
        "id": "5", "type": "subscribe", "topic": topic, "privateChannel": False, "response": True,
    }  # fmt: skip
    assert spec.subscribe.awaits_welcome


@BOTH
def test_ping(spec: FeedSpec) -> None:
    assert ping(spec, 9) == {"id": "9", "type": "ping"}
    assert (spec.keepalive.interval_s, spec.keepalive.silence_s) == (18.0, 28.0)


@BOTH
def test_requests_stay_within_the_limits(spec: FeedSpec) -> None:
    assert spec.subscribe.symbols_per_request_max <= 100
    assert 10 / spec.pace.interval_s + 1 <= 100  # uplink messages in 10 s, pings among them
    symbols = longest_symbols(spec.subscribe.symbols_per_request_max)
    text = spec.subscribe.render(symbols, 1, 0)
    assert len(text.encode()) <= spec.subscribe.text_bytes_max


def test_spot_connections_hold_no_more_than_the_older_limit() -> None:
    assert SPOT.symbols_per_connection <= 300 < SPOT.subscriptions_max == 400
    assert FUTURES.subscriptions_max == 0


@BOTH
def test_budgets_stay_below_the_limits(spec: FeedSpec) -> None:
    check_below(spec.connects, 30, 60)
    check_below(spec.rest_allowance, 2000, 30)
    assert spec.connections_max == 800
    assert spec.life_s == 86_400


def test_the_feeds_share_their_budgets() -> None:
    assert SPOT.connects == FUTURES.connects
    assert SPOT.rest_allowance == FUTURES.rest_allowance
    assert SPOT.connects.key != SPOT.rest_allowance.key


def test_what_rest_reaches() -> None:
    assert SPOT.rest_url == "https://api.kucoin.com"
    assert FUTURES.rest_url == "https://api-futures.kucoin.com"
    assert (SPOT.recent.path, SPOT.recent.newest_first) == ("/api/v1/market/histories", False)
    assert (FUTURES.recent.path, FUTURES.recent.newest_first) == ("/api/v1/trade/history", True)
    assert SPOT.recent.rows_max == FUTURES.recent.rows_max == 100
    assert SPOT.instruments.path == "/api/v2/symbols"
    assert FUTURES.instruments.path == "/api/v1/contracts/active"


@pytest.mark.parametrize(("spec", "name"), [(SPOT, "kucoin_spot_histories"),
                                            (FUTURES, "kucoin_futures_trade_history")])  # fmt: skip
def test_the_order_of_rest_is_as_recorded(spec: FeedSpec, name: str) -> None:
    sequences = [int(row["sequence"]) for row in json.loads(rest_sample(name))["data"]]
    assert sequences == sorted(sequences, reverse=spec.recent.newest_first)
    assert len(set(sequences)) > 1


@BOTH
def test_what_the_ids_prove(spec: FeedSpec) -> None:
    assert spec.ids is TradeIds.OPAQUE
    assert spec.parser.feed == spec.name == f"{spec.exchange}_{spec.market_type}"

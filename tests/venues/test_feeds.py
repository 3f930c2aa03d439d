"""What holds for every feed: names, limits, requests, replies, lists, and the simulated venues."""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch.clock import SystemClock
from pumpwatch.config import FEED_NAMES, FeedConfig
from pumpwatch.errors import VenueError
from pumpwatch.sim.exchange import Exchange
from pumpwatch.sim.settings import SimSettings
from pumpwatch.sim.venue import Request, Send, Session, Upgrade, Venue
from pumpwatch.venues import FEEDS, FEEDS_BY_NAME
from pumpwatch.venues.spec import Allowance, FeedSpec, Listed, Reply, ReplyKind, RestPage, fill

EVERY_FEED = pytest.mark.parametrize("spec", FEEDS, ids=lambda spec: spec.name)
CJK = "币安人生"
CONNECT_S = itertools.count(0.0, 10.0)  # the simulated venues count connects too

# What the venues document (FEEDS.md): units in seconds.
REST_LIMITS = {
    "binance_spot": (6000, 60), "binance_futures": (2400, 60), "bybit": (600, 5), "okx": (100, 2),
    "kucoin": (2000, 30), "gate": (200, 10), "phemex": (100, 60),
}  # fmt: skip
CONNECT_LIMITS = {
    "binance": (300, 300), "bybit": (500, 300), "okx": (3, 1), "kucoin": (30, 60),
    "phemex": (200, 300),
}  # fmt: skip
MESSAGE_LIMITS = {
    "binance_spot": (5, 1), "binance_futures": (10, 1), "okx_spot": (480, 3600),
    "okx_futures": (480, 3600), "kucoin_spot": (100, 10), "kucoin_futures": (100, 10),
    "phemex_spot": (20, 1), "phemex_futures": (20, 1),
}  # fmt: skip
SYMBOLS_PER_REQUEST_LIMITS = {"bybit_spot": 10, "kucoin_spot": 100}
SUBSCRIPTION_LIMITS = {
    "binance_spot": 1024, "binance_futures": 1024, "kucoin_spot": 400, "phemex_spot": 20,
    "phemex_futures": 20,
}  # fmt: skip
CONNECTION_LIMITS = {"bybit": 1000, "kucoin": 800, "gate": 300, "phemex": 5}
TEXT_BYTES_LIMITS = {"binance": 4096, "bybit": 21_000, "okx": 65_536}

SYMBOLS = st.text(
    st.sampled_from("ABCUSDT0189-_" + CJK) | st.characters(categories=["Lo", "Lu"]),
    min_size=1, max_size=20,
)  # fmt: skip
WORDS = st.sampled_from(
    ("e", "s", "id", "op", "arg", "msg", "code", "type", "data", "error", "event", "result",
     "status", "channel", "payload", "success", "ret_msg", "instId", "message", "topic", "req_id",
     "subscribe", "pong", "ping", "notice", "upgrade", "welcome", "ack", "serverShutdown", "60018",
     "64008", "60014", "spot.trades", "futures.pong", "spot.system", "trades", 2, 3, 401, 509, None,
     False, True, "unknown currency pair A_USDT", "instId:A doesn't exist", "success", "BTC_USDT")
)  # fmt: skip
MESSAGES = st.recursive(
    WORDS | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(WORDS.filter(lambda word: isinstance(word, str)), inner, max_size=6)
    ),
    max_leaves=12,
)


def pages(spec: FeedSpec) -> list[RestPage]:
    return [page for page in (spec.recent, spec.history) if page is not None]


def weights(spec: FeedSpec) -> list[int]:
    asked = [spec.instruments.weight, *(page.weight for page in pages(spec))]
    asked += [spec.volumes.weight] if spec.volumes else []
    return asked + ([spec.token.weight] if spec.token else [])


# --- what the specs say ---------------------------------------------------------------------------


def test_every_feed_is_registered_once_in_the_order_of_the_settings() -> None:
    assert tuple(spec.name for spec in FEEDS) == FEED_NAMES
    assert list(FEEDS_BY_NAME.items()) == [(spec.name, spec) for spec in FEEDS]


@EVERY_FEED
def test_names_fit_together(spec: FeedSpec) -> None:
    assert spec.name == f"{spec.exchange}_{spec.market_type}" == spec.parser.feed


@EVERY_FEED
def test_addresses_are_what_the_settings_take(spec: FeedSpec) -> None:
    FeedConfig(websocket_url=spec.websocket_url, rest_url=spec.rest_url)
    assert spec.websocket_url.startswith("wss://")
    assert spec.rest_url.startswith("https://")
    asked = [spec.instruments.path, *(page.path for page in pages(spec))]
    asked += [spec.volumes.path] if spec.volumes else []
    assert all(path.startswith("/") for path in asked)


@EVERY_FEED
def test_our_limits_stay_below_the_venues(spec: FeedSpec) -> None:
    if spec.name in MESSAGE_LIMITS:
        messages, span_s = MESSAGE_LIMITS[spec.name]
        pace = spec.pace
        by_interval = span_s / pace.interval_s
        by_window = pace.requests_max * span_s / pace.window_s if pace.requests_max else by_interval
        assert min(by_interval, by_window) < 0.8 * messages  # pongs count too, at some
    asked_max = SYMBOLS_PER_REQUEST_LIMITS.get(spec.name, 1024)
    assert 1 <= spec.subscribe.symbols_per_request_max <= asked_max
    assert spec.subscribe.text_bytes_max < TEXT_BYTES_LIMITS.get(spec.exchange, 65_536)
    assert spec.subscriptions_max == SUBSCRIPTION_LIMITS.get(spec.name, 0)
    assert 1 <= spec.symbols_per_connection <= (spec.subscriptions_max or 1024)
    assert spec.connections_max == CONNECTION_LIMITS.get(spec.exchange, 0)
    assert spec.life_s <= 24 * 3600


@EVERY_FEED
def test_budgets_stay_below_the_venues_and_hold_the_heaviest_request(spec: FeedSpec) -> None:
    units, span_s = REST_LIMITS[spec.rest_allowance.key]
    assert spec.rest_allowance.per_s == span_s
    assert spec.rest_allowance.units <= 0.8 * units
    assert max(weights(spec)) <= spec.rest_allowance.burst <= spec.rest_allowance.units
    assert 1 <= spec.connects.burst <= spec.connects.units
    if spec.exchange in CONNECT_LIMITS:
        units, span_s = CONNECT_LIMITS[spec.exchange]
        assert spec.connects.per_s == span_s
        assert spec.connects.units <= 0.8 * units


def test_okx_counts_each_path_for_itself() -> None:
    for spec in (FEEDS_BY_NAME["okx_spot"], FEEDS_BY_NAME["okx_futures"]):
        allowance = spec.rest_allowance
        assert spec.volumes is not None
        assert spec.history is not None
        for weight in (spec.instruments.weight, spec.volumes.weight, spec.history.weight):
            assert allowance.units / weight <= 0.8 * 20  # in 2 s
        assert spec.recent.weight == 1


def test_who_shares_a_budget_shares_its_figures() -> None:
    known: dict[str, Allowance] = {}
    for spec in FEEDS:
        for allowance in (spec.rest_allowance, spec.connects):
            assert known.setdefault(allowance.key, allowance) == allowance
        assert spec.connects.key.startswith(spec.exchange)  # R11: both feeds of an exchange
        assert spec.connects.key != spec.rest_allowance.key
        assert spec.connect_interval_s == FEEDS_BY_NAME[f"{spec.exchange}_spot"].connect_interval_s


@EVERY_FEED
def test_pages_say_how_many_rows_they_ask_for(spec: FeedSpec) -> None:
    for page in pages(spec):
        if "limit" in page.params:
            assert page.params["limit"] == str(page.rows_max)
        assert page.symbol_param not in page.params
        assert not page.needs_api_key or spec.api_key_header
    assert not spec.recent.needs_api_key


def test_how_far_back_rest_reaches() -> None:
    assert {spec.name: spec.history.from_id_param or spec.history.from_s_param
            for spec in FEEDS if spec.history} == {
        "binance_spot": "fromId", "binance_futures": "fromId", "okx_spot": "after",
        "okx_futures": "after", "gate_spot": "from", "gate_futures": "from",
    }  # fmt: skip
    assert {spec.name: spec.recent.rows_max for spec in FEEDS} == {
        "binance_spot": 1000, "binance_futures": 1000, "bybit_spot": 60, "bybit_futures": 1000,
        "okx_spot": 500, "okx_futures": 500, "kucoin_spot": 100, "kucoin_futures": 100,
        "gate_spot": 1000, "gate_futures": 1000, "phemex_spot": 1000, "phemex_futures": 1000,
    }  # fmt: skip


@EVERY_FEED
def test_a_connection_is_dead_only_after_a_sign_of_life_is_missed(spec: FeedSpec) -> None:
    keepalive = spec.keepalive
    if keepalive.ping is None:
        assert keepalive.silence_s > {"binance_spot": 20, "binance_futures": 180}[spec.name]
        return
    assert keepalive.interval_s + 5 < keepalive.silence_s
    text = fill(keepalive.ping, 17, 1_790_000_000)
    assert not re.search(r"\{(id|time)\}", text)
    if spec.exchange == "okx":
        assert text == "ping"
    else:
        assert isinstance(json.loads(text), dict)


# --- requests -------------------------------------------------------------------------------------


def texts_in(document: Any) -> Iterator[str]:
    if isinstance(document, str):
        yield document
    elif isinstance(document, dict):
        yield from texts_in(list(document.values()))
    elif isinstance(document, list):
        for value in document:
            yield from texts_in(value)


@EVERY_FEED
@given(symbols=st.lists(SYMBOLS, min_size=1, max_size=10, unique=True))
def test_requests_are_json_that_names_each_symbol(spec: FeedSpec, symbols: list[str]) -> None:
    text = spec.subscribe.render(tuple(symbols), 4711, 1_790_000_000)
    document = json.loads(text)
    assert str(document["req_id" if spec.exchange == "bybit" else "id"]) == "4711"
    found = list(texts_in(document))
    for symbol in symbols:
        spelled = spec.subscribe.spell(symbol)
        assert any(spelled in one for one in found), found
    assert not re.search(r"\{(id|time|args|symbol)\}", text)


@EVERY_FEED
def test_a_full_request_of_usual_symbols_fits(spec: FeedSpec) -> None:
    usual = tuple(f"COIN{number}USDT" for number in range(spec.subscribe.symbols_per_request_max))
    text = spec.subscribe.render(usual, 10**6, 1_790_000_000)
    assert len(text.encode()) <= 1.2 * spec.subscribe.text_bytes_max  # the session shares them out
    longest = (CJK * 10,)  # 40 characters are what the settings take
    assert len(spec.subscribe.render(longest, 10**6, 1_790_000_000).encode()) < 512


# --- replies --------------------------------------------------------------------------------------


@EVERY_FEED
@given(message=MESSAGES)
def test_any_message_is_read_without_an_error(spec: FeedSpec, message: Any) -> None:
    reply = spec.read_reply(message)
    assert isinstance(reply, Reply)
    assert isinstance(reply.request_id, str)
    assert isinstance(reply.text, str)
    assert all(isinstance(symbol, str) and symbol for symbol in reply.symbols)


@pytest.mark.parametrize("is_escaped", [False, True])
@given(base=st.text(st.characters(categories=["Lo", "Lu", "Nd"]), min_size=1, max_size=12))
def test_a_refusal_names_symbols_of_any_script(is_escaped: bool, base: str) -> None:
    for name, symbol, refusal in (
        ("gate_spot", f"{base}_USDT", '{"id":7,"channel":"spot.trades","event":"subscribe",'
         '"payload":["BTC_USDT","%s"],"error":{"code":2,"message":"unknown currency pair %s"}}'),
        ("gate_futures", f"{base}_USDT",
         '{"id":7,"error":{"code":2,"message":"unknown contract %s"}}'),
        ("okx_spot", f"{base}-USDT", '{"id":"7","event":"error","code":"60018","msg":"Wrong URL or'
         ' channel:trades-all, instId:%s doesn\'t exist. Please use the correct URL"}'),
        ("bybit_spot", f"{base}USDT", '{"success":false,"op":"subscribe","req_id":"7",'
         '"ret_msg":"error:handler not found,topic:publicTrade.%s"}'),
        ("kucoin_spot", f"{base}-USDT", '{"id":"7","type":"error","code":404,'
         '"data":"topic /market/match:%s is not found"}'),
    ):  # fmt: skip
        spelled = json.dumps(symbol, ensure_ascii=is_escaped)[1:-1]
        reply = FEEDS_BY_NAME[name].read_reply(json.loads(refusal.replace("%s", spelled)))
        assert (reply.kind, reply.request_id, reply.symbols) == (ReplyKind.REFUSED, "7", (symbol,))


# --- lists ----------------------------------------------------------------------------------------


@EVERY_FEED
@given(document=MESSAGES)
def test_any_answer_is_a_list_or_a_venue_error(spec: FeedSpec, document: Any) -> None:
    try:
        page = spec.instruments.read(json.dumps(document).encode())
    except VenueError:
        return  # nothing else may come out
    assert not page.listed


# --- the simulated venues -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exchange() -> Exchange:
    made = Exchange(SimSettings(symbols=30, rest_limits=False), SystemClock())
    made.listen_at("127.0.0.1", 1)
    return made


def listed(spec: FeedSpec, venue: Venue) -> dict[str, Listed]:
    request = Request("GET", spec.instruments.path, dict(spec.instruments.params), {})
    answer = venue.answer(request, 0.0)
    assert answer.status == 200
    page = spec.instruments.read(answer.body)
    assert page.refused == []
    return {one.venue_symbol: one for one in page.listed}


def connect(spec: FeedSpec, venue: Venue) -> tuple[Session, list[Reply]]:
    url = f"{venue.websocket_base_url}{venue.websocket_path}"
    if spec.token:
        body = venue.answer(Request("POST", spec.token.path, {}, {}), 0.0).body
        url = spec.token.read(body, spec.keepalive, random.Random(1)).url
    else:
        assert urlsplit(url).path.endswith(urlsplit(spec.websocket_url).path)
    parts = urlsplit(url)
    headers = {key.lower(): value for key, value in spec.headers}
    path = parts.path.removeprefix(f"/{spec.name}")
    now_s = next(CONNECT_S)
    session = venue.open_session(Upgrade(path, dict(parse_qsl(parts.query)), headers), now_s)
    assert isinstance(session, Session)
    return session, read(spec, session.opened(now_s))


def read(spec: FeedSpec, actions: list[Any]) -> list[Reply]:
    texts = [action.text for action in actions if isinstance(action, Send)]
    return [spec.read_reply(text if text == "pong" else json.loads(text)) for text in texts]


def ask(spec: FeedSpec, session: Session, symbols: tuple[str, ...], number: int) -> list[Reply]:
    unix_s = SystemClock().wall_ns() // 10**9
    return read(spec, session.received(spec.subscribe.render(symbols, number, unix_s), 0.0))


@EVERY_FEED
def test_instruments_are_those_that_the_simulated_venue_trades(
    spec: FeedSpec, exchange: Exchange
) -> None:
    venue = exchange.venues[spec.name]
    found = listed(spec, venue)
    traded = [
        one for one in venue.market.instruments if one.status == "trading" and one.quote == "USDT"
    ]
    assert len(traded) >= 20
    for one in traded:
        kind = one.listed.get("contractType") or one.listed.get("type", "FFWCSX")
        if kind not in ("PERPETUAL", "FFWCSX", "LinearPerpetual"):
            assert one.venue_symbol not in found
            continue
        shown = found[one.venue_symbol]
        assert (shown.base, shown.quote, shown.status) == (one.base, one.quote, "trading")
        if "contracts" in one.listed:
            assert shown.contract_value == one.contract_value


@EVERY_FEED
def test_the_simulated_venue_takes_our_requests(spec: FeedSpec, exchange: Exchange) -> None:
    venue = exchange.venues[spec.name]
    session, greeting = connect(spec, venue)
    assert [reply.kind for reply in greeting] == (
        [ReplyKind.WELCOME] if spec.subscribe.awaits_welcome else []
    )
    room = min(spec.subscribe.symbols_per_request_max, 15)
    wanted = [one for one in listed(spec, venue).values() if one.status == "trading"][:15]
    for number in range(0, len(wanted), room):
        some = tuple(one.venue_symbol for one in wanted[number : number + room])
        replies = ask(spec, session, some, 100 + number)
        assert {(reply.kind, reply.request_id) for reply in replies} == {
            (ReplyKind.ACCEPTED, str(100 + number))
        }
        named = [symbol for reply in replies for symbol in reply.symbols]
        assert named in ([], list(some))
        assert len(replies) == (1 if spec.subscribe.is_atomic else len(some))
    assert session.subscribed.keys() == {one.venue_symbol for one in wanted}


@EVERY_FEED
def test_the_simulated_venue_answers_our_ping(spec: FeedSpec, exchange: Exchange) -> None:
    if spec.keepalive.ping is None:
        return
    session, _ = connect(spec, exchange.venues[spec.name])
    unix_s = SystemClock().wall_ns() // 10**9
    (reply,) = read(spec, session.received(fill(spec.keepalive.ping, 9, unix_s), 0.0))
    assert reply.kind is ReplyKind.PONG


@pytest.mark.parametrize("name", ["okx_spot", "okx_futures", "gate_spot", "gate_futures"])
def test_the_simulated_venue_names_a_symbol_that_it_does_not_know(
    name: str, exchange: Exchange
) -> None:
    spec = FEEDS_BY_NAME[name]
    unknown = {"okx": f"{CJK}X-USDT", "gate": f"{CJK}X_USDT"}[spec.exchange]
    session, _ = connect(spec, exchange.venues[name])
    known = next(
        one for one in listed(spec, exchange.venues[name]).values() if one.status == "trading"
    )
    replies = ask(spec, session, (known.venue_symbol, unknown), 8)
    refused = [reply for reply in replies if reply.kind is ReplyKind.REFUSED]
    assert [(reply.request_id, reply.symbols) for reply in refused] == [("8", (unknown,))]
    assert len(session.subscribed) == (0 if spec.subscribe.is_atomic else 1)


@EVERY_FEED
def test_pages_are_where_the_simulated_venue_has_them(spec: FeedSpec, exchange: Exchange) -> None:
    venue = exchange.venues[spec.name]
    known = next(one for one in listed(spec, venue).values() if one.status == "trading")
    for page in pages(spec):
        query = {**page.params, page.symbol_param: known.venue_symbol}
        headers = {spec.api_key_header.lower(): "key"} if page.needs_api_key else {}
        assert venue.answer(Request("GET", page.path, query, headers), 0.0).status == 200


@EVERY_FEED
def test_volumes_are_where_the_simulated_venue_has_them(spec: FeedSpec, exchange: Exchange) -> None:
    if spec.volumes is None:
        assert spec.name == "kucoin_futures"  # its list has them
        return
    venue = exchange.venues[spec.name]
    known = next(one for one in listed(spec, venue).values() if one.status == "trading")
    request = Request("GET", spec.volumes.path, dict(spec.volumes.params), {})
    rows = json.loads(venue.answer(request, 0.0).body)
    for key in spec.volumes.rows:
        rows = rows[key]
    row = next(row for row in rows if row[spec.volumes.symbol_key] == known.venue_symbol)
    assert float(row[spec.volumes.volume_key]) > 0
    assert not spec.volumes.price_key or float(row[spec.volumes.price_key]) > 0

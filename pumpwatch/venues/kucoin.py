"""KuCoin classic, spot and futures (FEEDS.md, section 6): each connection wants a token first."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlencode, urlsplit

import msgspec

from pumpwatch._fast import parse_kucoin
from pumpwatch.errors import VenueError
from pumpwatch.venues.listing import (
    Entry,
    approximate,
    decode,
    decode_exact,
    entries_at,
    plain,
    positive,
    read_entries,
    sample,
    status_among,
    text,
)
from pumpwatch.venues.rest_trades import (
    NANOSECONDS,
    Row,
    amount,
    object_of,
    plain_id,
    read_rows,
    side,
    time_ns,
    whole,
)
from pumpwatch.venues.spec import (
    NOTICE,
    Allowance,
    FeedSpec,
    Keepalive,
    Listed,
    ListPage,
    ListRequest,
    Pace,
    Reply,
    ReplyKind,
    RestPage,
    RestTrade,
    Status,
    Subscribe,
    Target,
    TokenRequest,
    TradeIds,
    TradePage,
    VolumeRequest,
    id_text,
)

SYMBOLS = "KuCoin's symbol list"
CONTRACTS = "KuCoin's contract list"
TRADES = "KuCoin's latest trades"
GOOD = "200000"
TOKEN_EXPIRED, TOPIC_NOT_FOUND, LIMIT_EXCEEDED = 401, 404, 509
NOT_FOUND = re.compile(r"topic /[^\s:]+:(\S+) is not found")
LATER = ("permits", "busy")  # the 509 that goes away by waiting, unlike "subscription count"
COINS: Mapping[str, str] = {"XBT": "BTC"}  # the venue's own name, on futures
STATUSES: Mapping[str, Status] = {
    "Init": "prelaunch", "Open": "trading", "Paused": "halted", "CancelOnly": "halted",
    "BeingSettled": "ended", "Settled": "ended", "Closed": "ended",
}  # fmt: skip


# --- replies --------------------------------------------------------------------------------------


def read_reply(message: Any) -> Reply:
    """The welcome, acks, pongs and errors."""
    if not isinstance(message, dict):
        return Reply(ReplyKind.NOTICE, text=sample(repr(message).encode()))
    request_id = id_text(message.get("id"))
    match message.get("type"):
        case "welcome":
            return Reply(ReplyKind.WELCOME, request_id)
        case "ack":
            return Reply(ReplyKind.ACCEPTED, request_id)
        case "pong":
            return Reply(ReplyKind.PONG, request_id)
        case "error":
            return _read_error(message.get("code"), str(message.get("data") or ""), request_id)
        case "message":  # another channel's
            return NOTICE
    return Reply(ReplyKind.NOTICE, request_id, text=sample(repr(message).encode()))


def _read_error(code: object, said: str, request_id: str) -> Reply:
    """A 509 may name the connection's id, not the request's; the venue closes after most of them.

    An error that names no request is about the connection: nothing on it can be relied on.
    """
    told = f"{code} {said}"
    if code == LIMIT_EXCEEDED and any(word in said for word in LATER):
        return Reply(ReplyKind.BUSY, request_id, text=told)
    if code == TOKEN_EXPIRED or not request_id:
        return Reply(ReplyKind.FAULT, request_id, text=told)
    found = NOT_FOUND.search(said) if code == TOPIC_NOT_FOUND else None
    # A whole comma list in the text is an echo of the topic: it does not say which is unknown.
    symbols = (found[1],) if found and "," not in found[1] else ()
    return Reply(ReplyKind.REFUSED, request_id, symbols, told)


# --- the token ------------------------------------------------------------------------------------

Milliseconds = Annotated[float, msgspec.Meta(gt=0)]


class _Server(msgspec.Struct, frozen=True):
    endpoint: str
    ping_interval_ms: Milliseconds = msgspec.field(name="pingInterval")
    ping_timeout_ms: Milliseconds = msgspec.field(name="pingTimeout")


class _Token(msgspec.Struct, frozen=True):
    token: Annotated[str, msgspec.Meta(min_length=1)]
    servers: Annotated[list[_Server], msgspec.Meta(min_length=1)] = msgspec.field(
        name="instanceServers"
    )


class _TokenAnswer(msgspec.Struct, frozen=True):
    code: str
    msg: str = ""
    data: _Token | None = None


def read_token(body: bytes, keepalive: Keepalive, rng: random.Random) -> Target:
    """Where one connection goes, and how it is kept alive.

    Raises VenueError; what it says never holds a token.
    """
    try:
        answer = msgspec.json.decode(body, type=_TokenAnswer)
    except (msgspec.DecodeError, RecursionError) as error:
        raise VenueError(f"KuCoin's token answer cannot be read: {error}") from None
    if answer.code != GOOD or answer.data is None:
        raise VenueError(f"KuCoin gives no token: {answer.code} {answer.msg}")
    server = answer.data.servers[0]
    if not _is_socket_url(server.endpoint):
        raise VenueError(f"KuCoin's token answer names no WebSocket: {server.endpoint!r}")
    query = urlencode({"token": answer.data.token, "connectId": f"{rng.getrandbits(64):016x}"})
    interval_s = server.ping_interval_ms / 1000
    told = msgspec.structs.replace(
        keepalive, interval_s=interval_s, silence_s=interval_s + server.ping_timeout_ms / 1000
    )
    return Target(url=f"{server.endpoint}?{query}", keepalive=told)


def _is_socket_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("ws", "wss") and bool(parts.hostname) and not parts.query


# --- instruments ----------------------------------------------------------------------------------


def read_spot_list(body: bytes) -> ListPage:
    """All pairs. Raises VenueError."""
    return read_entries(entries_at(decode(body, SYMBOLS), SYMBOLS, "data"), "symbol", _read_pair)


def read_contract_list(body: bytes) -> ListPage:
    """All contracts, of which linear perpetuals are kept. Raises VenueError."""
    document = decode_exact(body, CONTRACTS)  # the multiplier is a JSON number
    return read_entries(entries_at(document, CONTRACTS, "data"), "symbol", _read_contract)


def _read_pair(entry: Entry) -> Listed:
    is_trading = entry["enableTrading"]
    if not isinstance(is_trading, bool):
        raise ValueError(f"enableTrading is {is_trading!r}")  # noqa: TRY004 - one kind of error
    return Listed(
        venue_symbol=text(entry, "symbol"),
        base=text(entry, "baseCurrency"),
        quote=text(entry, "quoteCurrency"),
        status="trading" if is_trading else "halted",
        starts_s=int(approximate(entry, "tradingStartTime")) // 1000,
    )


def _read_contract(entry: Entry) -> Listed | None:
    """FFWCSX is the perpetual; quantities count contracts of ``multiplier`` base coins."""
    quote = text(entry, "quoteCurrency")
    if text(entry, "type") != "FFWCSX" or entry["isInverse"] is not False:
        return None
    if text(entry, "settleCurrency") != quote:
        return None
    base = text(entry, "baseCurrency")
    return Listed(
        venue_symbol=text(entry, "symbol"),
        base=COINS.get(base, base),
        quote=quote,
        status=status_among(entry, "status", STATUSES),
        contract_value=plain(positive(entry, "multiplier")),
        volume_quote=approximate(entry, "turnoverOf24h"),
        starts_s=int(approximate(entry, "firstOpenDate")) // 1000,
    )


# --- past trades ----------------------------------------------------------------------------------


def read_spot_trades(body: bytes, venue_symbol: str) -> TradePage:
    """Rows of /market/histories, which name no symbol and call the id ``sequence``.

    Raises VenueError.
    """
    rows = _trade_rows(body, venue_symbol)
    return read_rows(rows, lambda row: _read_trade(row, "sequence", "time"), newest_first=False)


def read_contract_trades(body: bytes, venue_symbol: str) -> TradePage:
    """Rows of /trade/history, which name no symbol. Raises VenueError."""
    rows = _trade_rows(body, venue_symbol)
    return read_rows(rows, lambda row: _read_trade(row, "tradeId", "ts"), newest_first=True)


def _trade_rows(body: bytes, venue_symbol: str) -> list[Row]:
    what = f"{TRADES} of {venue_symbol}"
    answer = object_of(body, what)
    if answer.get("code") != GOOD:
        raise VenueError(f"{what}: {sample(body)}")
    return entries_at(answer, what, "data")


def _read_trade(row: Row, id_key: str, time_key: str) -> RestTrade:
    return RestTrade(
        trade_id=plain_id(row, id_key),
        order_id=0,  # sequences count the events of the book
        sequence_number=whole(row, "sequence"),
        side=side(row, "side"),
        price=amount(row, "price"),
        quantity=amount(row, "size"),
        exchange_ns=time_ns(row, time_key, NANOSECONDS),
    )


# --- feeds ----------------------------------------------------------------------------------------


def _request(topic: str, kind: str) -> str:
    head = f'{{"id":"{{id}}","type":"{kind}","topic":"{topic}:{{args}}",'
    return head + '"privateChannel":false,"response":true}'


def _subscribe(topic: str, symbols_per_request_max: int) -> Subscribe:
    return Subscribe(
        text=_request(topic, "subscribe"), leave_text=_request(topic, "unsubscribe"),
        arg="{symbol}", symbols_per_request_max=symbols_per_request_max, awaits_welcome=True,
    )  # fmt: skip


# What the venue tells with each token; that replaces these two.
KEEPALIVE = Keepalive(ping='{"id":"{id}","type":"ping"}', interval_s=18.0, silence_s=28.0)
TOKEN = TokenRequest(path="/api/v1/bullet-public", weight=10, read=read_token)
PACE = Pace(interval_s=0.2)  # 50 messages in 10 s, pings among them; allowed: 100
LIFE_S = 86_400.0  # of a token, and so of its connection
SYMBOLS_PER_CONNECTION = 200
CONNECTIONS_MAX = 800
CONNECTS = Allowance(key="kucoin_connects", units=24, per_s=60, burst=12)  # allowed: 30
CONNECT_INTERVAL_S = 0.3
REST = Allowance(key="kucoin", units=1500, per_s=30, burst=500)  # the public pool has 2000

SPOT = FeedSpec(
    name="kucoin_spot",
    exchange="kucoin",
    market_type="spot",
    parser=parse_kucoin.SPOT,
    example=(
        b'{"topic":"/market/match:BTC-USDT","type":"message","subject":"trade.l3match",'
        b'"data":{"makerOrderId":"671b5007389355000701b1d3","price":"67523",'
        b'"sequence":"11067996711960577","side":"buy","size":"0.003","symbol":"BTC-USDT",'
        b'"takerOrderId":"671b50161777ff00074c168d","time":"1729843222921000000",'
        b'"tradeId":"11067996711960577","type":"match"}}'
    ),
    websocket_url="wss://ws-api-spot.kucoin.com/",
    token=TOKEN,
    subscribe=_subscribe("/market/match", 100),
    read_reply=read_reply,
    keepalive=KEEPALIVE,
    pace=PACE,
    life_s=LIFE_S,
    symbols_per_connection=SYMBOLS_PER_CONNECTION,
    subscriptions_max=400,
    connections_max=CONNECTIONS_MAX,
    connect_interval_s=CONNECT_INTERVAL_S,
    connects=CONNECTS,
    rest_url="https://api.kucoin.com",
    rest_allowance=REST,
    instruments=ListRequest(path="/api/v2/symbols", weight=4, read=read_spot_list),
    volumes=VolumeRequest(
        path="/api/v1/market/allTickers", weight=15, rows=("data", "ticker"), symbol_key="symbol",
        volume_key="volValue",
    ),
    recent=RestPage(
        path="/api/v1/market/histories", read=read_spot_trades, symbol_param="symbol",
        rows_max=100, newest_first=False, weight=3,
    ),
    ids=TradeIds.OPAQUE,  # they count the events of the book: a jump proves nothing
    time_step_ns=1,  # a whole millisecond on most pairs, not on all
    prelaunch_has_feed=False,
)  # fmt: skip

FUTURES = FeedSpec(
    name="kucoin_futures",
    exchange="kucoin",
    market_type="futures",
    parser=parse_kucoin.FUTURES,
    example=(
        b'{"topic":"/contractMarket/execution:XBTUSDTM","type":"message",'
        b'"subject":"match","sn":1942648200120,"data":{"symbol":"XBTUSDTM",'
        b'"sequence":1942648200120,"side":"buy","size":2,"price":"76468.6",'
        b'"takerOrderId":"484590665674690560","makerOrderId":"484590651955064832",'
        b'"tradeId":"1942648200120","ts":1788348620000000000}}'
    ),
    websocket_url="wss://ws-api-futures.kucoin.com/",
    token=TOKEN,
    # A list of symbols works here too, but is documented for spot only: shorter ones.
    subscribe=_subscribe("/contractMarket/execution", 50),
    read_reply=read_reply,
    keepalive=KEEPALIVE,
    pace=PACE,
    life_s=LIFE_S,
    symbols_per_connection=SYMBOLS_PER_CONNECTION,
    connections_max=CONNECTIONS_MAX,
    connect_interval_s=CONNECT_INTERVAL_S,
    connects=CONNECTS,
    rest_url="https://api-futures.kucoin.com",
    rest_allowance=REST,
    instruments=ListRequest(path="/api/v1/contracts/active", weight=3, read=read_contract_list),
    recent=RestPage(
        path="/api/v1/trade/history", read=read_contract_trades, symbol_param="symbol",
        rows_max=100, newest_first=True, weight=5,
    ),
    ids=TradeIds.OPAQUE,
    time_step_ns=1_000_000,
    prelaunch_has_feed=False,
)  # fmt: skip

"""Bybit v5, spot and linear perpetuals (FEEDS.md, section 4)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import msgspec

from pumpwatch._fast import parse_bybit
from pumpwatch.errors import VenueError
from pumpwatch.venues.listing import (
    Entry,
    approximate,
    decode,
    entries_at,
    read_entries,
    sample,
    status_among,
    text,
)
from pumpwatch.venues.rest_trades import (
    MILLISECONDS,
    Row,
    amount,
    check_symbol,
    flag,
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
    TradeIds,
    TradePage,
    VolumeRequest,
    id_text,
)

INSTRUMENTS = "Bybit's instrument list"
TRADES = "Bybit's recent trades"
TOPIC = re.compile(r"publicTrade\.([^\s,\[\]\"]+)")
TOO_FAST = "too many visits"  # REST says so with code 10006; sockets have no code of their own
STATUSES: Mapping[str, Status] = {
    "PreLaunch": "prelaunch", "Trading": "trading", "Settling": "halted", "Delivering": "halted",
    "Closed": "ended",
}  # fmt: skip


# --- replies --------------------------------------------------------------------------------------


def read_reply(message: Any) -> Reply:
    """Acks, refusals and pongs.

    A pong's ``op`` is "ping" on these sockets, "pong" on others. ``req_id`` is missing on spot and
    "" on linear where the request had none.
    """
    if not isinstance(message, dict):
        return Reply(ReplyKind.NOTICE, text=sample(repr(message).encode()))
    if "topic" in message:  # a push without rows
        return NOTICE
    operation, said = message.get("op"), str(message.get("ret_msg") or "")
    request_id = id_text(message.get("req_id"))
    if message.get("success") is False:
        return _read_refusal(request_id, said)
    if operation == "pong" or (operation == "ping" and said == "pong"):
        return Reply(ReplyKind.PONG, request_id)
    if operation == "subscribe" and message.get("success") is True:
        return Reply(ReplyKind.ACCEPTED, request_id)
    return Reply(ReplyKind.NOTICE, request_id, text=sample(repr(message).encode()))


def _read_refusal(request_id: str, said: str) -> Reply:
    """The whole request failed. One topic in the text is the culprit; several are a mere echo."""
    if TOO_FAST in said.lower():
        return Reply(ReplyKind.BUSY, request_id, text=said)
    named = TOPIC.findall(said)
    symbols = tuple(named) if len(named) == 1 else ()
    return Reply(ReplyKind.REFUSED, request_id, symbols, said)


# --- instruments ----------------------------------------------------------------------------------


def read_spot_list(body: bytes) -> ListPage:
    """Everything at once. Raises VenueError."""
    document = decode(body, INSTRUMENTS)
    return read_entries(entries_at(document, INSTRUMENTS, "result", "list"), "symbol", _read_spot)


def read_linear_list(body: bytes) -> ListPage:
    """One page. Raises VenueError."""
    document = decode(body, INSTRUMENTS)
    page = read_entries(
        entries_at(document, INSTRUMENTS, "result", "list"), "symbol", _read_perpetual
    )
    cursor = document["result"].get("nextPageCursor") or ""
    if not isinstance(cursor, str):
        raise VenueError(f"{INSTRUMENTS}: nextPageCursor is no text: {cursor!r}")
    # The cursor comes as it stands in a URL ("first%3D…"), and the REST client encodes it again.
    return msgspec.structs.replace(page, next_cursor=unquote(cursor))


def _read_spot(entry: Entry) -> Listed:
    return Listed(
        venue_symbol=text(entry, "symbol"),
        base=text(entry, "baseCoin"),
        quote=text(entry, "quoteCoin"),
        status=status_among(entry, "status", STATUSES),
    )


def _read_perpetual(entry: Entry) -> Listed | None:
    """Quantities are base coins; 1000PEPE is a base of its own."""
    is_perpetual = text(entry, "contractType") == "LinearPerpetual"
    if not is_perpetual or text(entry, "settleCoin") != text(entry, "quoteCoin"):
        return None
    return Listed(
        venue_symbol=text(entry, "symbol"),
        base=text(entry, "baseCoin"),
        quote=text(entry, "quoteCoin"),
        status=status_among(entry, "status", STATUSES),
        starts_s=int(approximate(entry, "launchTime")) // 1000,
    )


# --- past trades ----------------------------------------------------------------------------------


def read_trades(body: bytes, venue_symbol: str) -> TradePage:
    """Rows of /v5/market/recent-trade. Raises VenueError."""
    answer = object_of(body, TRADES)
    if answer.get("retCode") != 0:
        raise VenueError(f"{TRADES} of {venue_symbol}: {sample(body)}")

    def read_one(row: Row) -> RestTrade:
        check_symbol(row, "symbol", venue_symbol)
        return _read_trade(row)

    return read_rows(entries_at(answer, TRADES, "result", "list"), read_one, newest_first=True)


def _read_trade(row: Row) -> RestTrade:
    return RestTrade(
        trade_id=plain_id(row, "execId"),
        order_id=0,
        sequence_number=whole(row, "seq") if "seq" in row else 0,  # since 2025
        side=side(row, "side"),
        price=amount(row, "price"),
        quantity=amount(row, "size"),
        exchange_ns=time_ns(row, "time", MILLISECONDS),
        kind="block" if flag(row, "isBlockTrade") else "rpi" if flag(row, "isRPITrade") else "",
    )


# --- feeds ----------------------------------------------------------------------------------------

REST_URL = "https://api.bybit.com"
LIST_PATH = "/v5/market/instruments-info"
REQUEST = '{"req_id":"{id}","op":"subscribe","args":[{args}]}'
LEAVE = '{"req_id":"{id}","op":"unsubscribe","args":[{args}]}'
ARG = '"publicTrade.{symbol}"'
# The venue cuts after ten minutes; a pong must have come long before.
KEEPALIVE = Keepalive(ping='{"req_id":"{id}","op":"ping"}', interval_s=20.0, silence_s=40.0)
PACE = Pace(interval_s=0.1)  # no limit is documented
SYMBOLS_PER_CONNECTION = 200  # all args of a connection: at most 21 000 characters
CONNECTIONS_MAX = 1000  # per IP and market type
CONNECTS = Allowance(key="bybit_connects", units=300, per_s=300, burst=40)  # allowed: 500
CONNECT_INTERVAL_S = 0.1
REST = Allowance(key="bybit", units=300, per_s=5, burst=100)  # allowed: 600
BAN_S = 600.0  # 403


def _tickers(category: str) -> VolumeRequest:
    return VolumeRequest(
        path="/v5/market/tickers", params={"category": category}, rows=("result", "list"),
        symbol_key="symbol", volume_key="turnover24h",
    )  # fmt: skip


def _recent(category: str, rows_max: int) -> RestPage:
    """There is no paging and no other history: what this list does not reach is lost."""
    return RestPage(
        path="/v5/market/recent-trade", read=read_trades, symbol_param="symbol",
        params={"category": category, "limit": str(rows_max)}, rows_max=rows_max, newest_first=True,
    )  # fmt: skip


SPOT = FeedSpec(
    name="bybit_spot",
    exchange="bybit",
    market_type="spot",
    parser=parse_bybit.SPOT,
    example=(
        b'{"topic":"publicTrade.BTCUSDT","ts":1788335009483,"type":"snapshot",'
        b'"data":[{"i":"2290000001202469355","T":1788335009482,"p":"77606.8",'
        b'"v":"0.000712","S":"Buy","seq":113508069853,"s":"BTCUSDT","BT":false,'
        b'"RPI":false}]}'
    ),
    websocket_url="wss://stream.bybit.com/v5/public/spot",
    subscribe=Subscribe(text=REQUEST, leave_text=LEAVE, arg=ARG, symbols_per_request_max=10),
    read_reply=read_reply,
    keepalive=KEEPALIVE,
    pace=PACE,
    symbols_per_connection=SYMBOLS_PER_CONNECTION,
    connections_max=CONNECTIONS_MAX,
    connect_interval_s=CONNECT_INTERVAL_S,
    connects=CONNECTS,
    rest_url=REST_URL,
    rest_allowance=REST,
    ban_s=BAN_S,
    instruments=ListRequest(path=LIST_PATH, params={"category": "spot"}, read=read_spot_list),
    volumes=_tickers("spot"),
    recent=_recent("spot", rows_max=60),
    ids=TradeIds.OPAQUE,
    time_step_ns=1_000_000,
    prelaunch_has_feed=False,
)

FUTURES = FeedSpec(
    name="bybit_futures",
    exchange="bybit",
    market_type="futures",
    parser=parse_bybit.FUTURES,
    example=(
        b'{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":1774021164130,'
        b'"data":[{"T":1774021164129,"s":"BTCUSDT","S":"Buy","v":"0.020","p":"69916.90",'
        b'"L":"ZeroMinusTick","i":"f60eae3c-d812-5c0b-ad26-8010c31c53aa","BT":false,'
        b'"RPI":false,"seq":549792208812}]}'
    ),
    websocket_url="wss://stream.bybit.com/v5/public/linear",
    # Any number is allowed here; less is asked again when one symbol fails a whole request.
    subscribe=Subscribe(
        text=REQUEST, leave_text=LEAVE, arg=ARG, symbols_per_request_max=100
    ),
    read_reply=read_reply,
    keepalive=KEEPALIVE,
    pace=PACE,
    symbols_per_connection=SYMBOLS_PER_CONNECTION,
    connections_max=CONNECTIONS_MAX,
    connect_interval_s=CONNECT_INTERVAL_S,
    connects=CONNECTS,
    rest_url=REST_URL,
    rest_allowance=REST,
    ban_s=BAN_S,
    instruments=ListRequest(
        path=LIST_PATH, params={"category": "linear", "limit": "1000"}, cursor_param="cursor",
        read=read_linear_list,
    ),
    volumes=_tickers("linear"),
    recent=_recent("linear", rows_max=1000),
    ids=TradeIds.OPAQUE,
    time_step_ns=1_000_000,
    prelaunch_has_feed=False,
)  # fmt: skip

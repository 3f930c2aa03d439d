"""OKX v5 spot and USDT swaps: ``trades-all``, a message per fill."""

from __future__ import annotations

import re
from typing import Any

from pumpwatch._fast import parse_okx
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
    MILLISECONDS,
    Row,
    amount,
    check_symbol,
    read_rows,
    side,
    time_ns,
    whole,
)
from pumpwatch.venues.spec import (
    PONG,
    Allowance,
    FeedSpec,
    Keepalive,
    Listed,
    ListPage,
    ListRequest,
    OnSubscribing,
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

BUSY_CODES = frozenset({"50011", "60014", "64007"})  # too frequent, twice; internal, try again
CLOSING_CODE, CLOSES_WITHIN_S = "64008", 60.0  # a service upgrade
UNKNOWN_SYMBOL = re.compile(r"instId:\s*(\S+?)\s+doesn't exist")

STATUS: dict[str, Status] = {
    "live": "trading",
    "preopen": "prelaunch",
    "suspend": "halted",
    "expired": "ended",
}


def read_reply(message: Any) -> Reply:
    """Each arg is answered on its own; an error has the symbol in its text at best."""
    if message == "pong":  # the text, no JSON
        return PONG
    if not isinstance(message, dict):
        return _notice(message)
    request_id = id_text(message.get("id"))
    told = f"{message.get('code')} {message.get('msg')}"
    match message:
        case {"event": "subscribe", "arg": {"instId": str(symbol)}}:
            return Reply(ReplyKind.ACCEPTED, request_id, (symbol,))
        case {"event": "error", "code": code} if code in BUSY_CODES:
            return Reply(ReplyKind.BUSY, request_id, text=told)
        case {"event": "error"}:
            named = UNKNOWN_SYMBOL.search(told)
            return Reply(ReplyKind.REFUSED, request_id, named.groups() if named else (), told)
        case {"event": "notice", "code": code} if code == CLOSING_CODE:
            return Reply(ReplyKind.PLANNED_END, text=told, within_s=CLOSES_WITHIN_S)
    return _notice(message)


def _notice(message: Any) -> Reply:
    return Reply(ReplyKind.NOTICE, text=sample(repr(message).encode()))


# --- instruments ----------------------------------------------------------------------------------


def _entries(body: bytes, what: str) -> list[Any]:
    return _data(decode(body, what), body, what)


def _data(document: Any, body: bytes, what: str) -> list[Any]:
    """OKX may answer 200 with an error and an empty list: that is no list."""
    if not isinstance(document, dict) or document.get("code") != "0":
        raise VenueError(f"{what}: {sample(body)}")
    return entries_at(document, what, "data")


def read_spot_list(body: bytes) -> ListPage:
    """All pairs of /api/v5/public/instruments?instType=SPOT. Raises VenueError."""
    return read_entries(_entries(body, "okx_spot instruments"), "instId", _read_pair)


def _read_pair(entry: Entry) -> Listed | None:
    if entry["state"] == "test":
        return None
    return Listed(
        venue_symbol=text(entry, "instId"),
        base=text(entry, "baseCcy"),
        quote=text(entry, "quoteCcy"),
        status=status_among(entry, "state", STATUS),
        starts_s=_starts_s(entry),
    )


def read_futures_list(body: bytes) -> ListPage:
    """The linear swaps of /api/v5/public/instruments?instType=SWAP. Raises VenueError."""
    return read_entries(_entries(body, "okx_futures instruments"), "instId", _read_swap)


def _read_swap(entry: Entry) -> Listed | None:
    if entry["state"] == "test" or entry["ctType"] != "linear":
        return None
    base, quote, _ = text(entry, "instId").split("-")
    if entry["settleCcy"] != quote:
        return None
    if entry["ctValCcy"] != base:  # then a contract is not so many of the base coin
        raise ValueError(f"ctValCcy is {entry['ctValCcy']!r}")
    return Listed(
        venue_symbol=text(entry, "instId"),
        base=base,
        quote=quote,
        status=status_among(entry, "state", STATUS),
        contract_value=plain(positive(entry, "ctVal") * positive(entry, "ctMult")),
        starts_s=_starts_s(entry),
    )


def _starts_s(entry: Entry) -> int:
    return int(approximate(entry, "listTime") / 1000)


# --- past trades ----------------------------------------------------------------------------------


def read_trades(body: bytes, venue_symbol: str) -> TradePage:
    """Single fills of /market/trades and /market/history-trades. Raises VenueError."""

    def read_one(row: Row) -> RestTrade:
        check_symbol(row, "instId", venue_symbol)
        return _read_trade(row)

    what = f"OKX's trades of {venue_symbol}"
    return read_rows(_data(decode_exact(body, what), body, what), read_one, newest_first=True)


def _read_trade(row: Row) -> RestTrade:
    number = whole(row, "tradeId")
    return RestTrade(
        trade_id=str(number),
        order_id=number,
        sequence_number=number,
        side=side(row, "side"),
        price=amount(row, "px"),
        quantity=amount(row, "sz"),
        exchange_ns=time_ns(row, "ts", MILLISECONDS),
    )


# --- the feeds ------------------------------------------------------------------------------------

URL = "wss://ws.okx.com:8443/ws/v5/business"  # trades-all is on no other
SUBSCRIBE = Subscribe(
    text='{"id":"{id}","op":"subscribe","args":[{args}]}',
    leave_text='{"id":"{id}","op":"unsubscribe","args":[{args}]}',
    arg='{"channel":"trades-all","instId":"{symbol}"}',
    symbols_per_request_max=100,
    text_bytes_max=32_768,  # of 64 KB
    is_atomic=False,
)
KEEPALIVE = Keepalive(ping="ping", interval_s=20, silence_s=45)  # cut after 30 s without a message
PACE = Pace(interval_s=0.25, requests_max=240, window_s=3600)  # of 480 an hour
CONNECTS = Allowance(key="okx_connects", units=2, per_s=1, burst=1)  # of 3 a second
CONNECT_INTERVAL_S = 0.5

# The venue counts each path for itself, in 2 s: 100 of the latest trades, 20 of all others. Ours
# is one count for all in which the others weigh five times as much.
REST_URL = "https://www.okx.com"
REST = Allowance(key="okx", units=70, per_s=2, burst=20)
RARE_WEIGHT = 5

RECENT = RestPage(
    path="/api/v5/market/trades",
    read=read_trades,
    symbol_param="instId",
    params={"limit": "500"},
    rows_max=500,
    newest_first=True,
)
HISTORY = RestPage(
    path="/api/v5/market/history-trades",
    read=read_trades,
    symbol_param="instId",
    params={"type": "1", "limit": "100"},  # type 1: ``after`` is a trade id
    rows_max=100,
    newest_first=True,
    weight=RARE_WEIGHT,
    from_id_param="after",
)
TIME_STEP_NS = 1_000_000

SPOT = FeedSpec(
    name="okx_spot",
    exchange="okx",
    market_type="spot",
    parser=parse_okx.SPOT,
    example=(
        b'{"arg":{"channel":"trades-all","instId":"BSV-USDT"},'
        b'"data":[{"instId":"BSV-USDT","tradeId":"84834539","px":"42.52","sz":"3.75",'
        b'"side":"buy","ts":"1697760012017"}]}'
    ),
    websocket_url=URL,
    subscribe=SUBSCRIBE,
    read_reply=read_reply,
    keepalive=KEEPALIVE,
    pace=PACE,
    symbols_per_connection=150,
    connect_interval_s=CONNECT_INTERVAL_S,
    connects=CONNECTS,
    rest_url=REST_URL,
    rest_allowance=REST,
    instruments=ListRequest(
        path="/api/v5/public/instruments",
        params={"instType": "SPOT"},
        weight=RARE_WEIGHT,
        read=read_spot_list,
    ),
    volumes=VolumeRequest(
        path="/api/v5/market/tickers",
        params={"instType": "SPOT"},
        weight=RARE_WEIGHT,
        rows=("data",),
        symbol_key="instId",
        volume_key="volCcy24h",
    ),
    recent=RECENT,
    history=HISTORY,
    ids=TradeIds.CONTIGUOUS,
    on_subscribing=OnSubscribing.LATEST_TRADE,
    time_step_ns=TIME_STEP_NS,
)

FUTURES = FeedSpec(
    name="okx_futures",
    exchange="okx",
    market_type="futures",
    parser=parse_okx.FUTURES,
    example=(
        b'{"arg":{"channel":"trades-all","instId":"FITFI-USDT-SWAP"},'
        b'"data":[{"instId":"FITFI-USDT-SWAP","tradeId":"38380467","px":"0.007173",'
        b'"sz":"44","side":"buy","ts":"1701388800105"}]}'
    ),
    websocket_url=URL,
    subscribe=SUBSCRIBE,
    read_reply=read_reply,
    keepalive=KEEPALIVE,
    pace=PACE,
    symbols_per_connection=150,
    connect_interval_s=CONNECT_INTERVAL_S,
    connects=CONNECTS,
    rest_url=REST_URL,
    rest_allowance=REST,
    instruments=ListRequest(
        path="/api/v5/public/instruments",
        params={"instType": "SWAP"},
        weight=RARE_WEIGHT,
        read=read_futures_list,
    ),
    volumes=VolumeRequest(
        path="/api/v5/market/tickers",
        params={"instType": "SWAP"},
        weight=RARE_WEIGHT,
        rows=("data",),
        symbol_key="instId",
        volume_key="volCcy24h",  # of swaps: in base coins
        price_key="last",
    ),
    recent=RECENT,
    history=HISTORY,
    ids=TradeIds.CONTIGUOUS,
    on_subscribing=OnSubscribing.LATEST_TRADE,
    time_step_ns=TIME_STEP_NS,
)

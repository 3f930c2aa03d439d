"""Binance spot and USD-M futures: ``@trade``, a message per trade (docs of 2026-07)."""

from __future__ import annotations

from typing import Any

import msgspec

from pumpwatch._fast import parse_binance
from pumpwatch.venues import archives
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
    MICROSECONDS,
    MILLISECONDS,
    Row,
    amount,
    flag,
    read_rows,
    rows_of,
    time_ns,
    whole,
)
from pumpwatch.venues.spec import (
    Allowance,
    FeedSpec,
    IdsTold,
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
    WitnessStream,
    id_text,
)

ROWS_MAX = 1000  # of every list of trades
STREAMS_MAX = 1024  # on one connection
LIFE_S = 23.5 * 3600  # the venue ends every connection after 24 h
TIME_STEP_NS = 1_000_000

SPOT_STATUS: dict[str, Status] = {
    "TRADING": "trading",
    "HALT": "halted",
    "CANCEL_ONLY": "halted",
    "BREAK": "halted",  # ended for good, or not begun: the list does not tell which
}
FUTURES_STATUS: dict[str, Status] = {
    "PENDING_TRADING": "prelaunch",
    "TRADING": "trading",
    "TRADING_HALT": "halted",
    "TRADING_CANCEL_ONLY": "halted",
    "BREAK": "halted",
    "PRE_DELIVERING": "ended",
    "DELIVERING": "ended",
    "DELIVERED": "ended",
    "PRE_SETTLE": "ended",
    "SETTLING": "ended",
    "CLOSE": "ended",
}


def read_reply(message: Any) -> Reply:
    """An ack names its request and no symbol; an unknown stream is acked too, and stays silent."""
    if not isinstance(message, dict):
        return _notice(message)
    data = message.get("data")
    event = data if isinstance(data, dict) else message
    if event.get("e") == "serverShutdown":
        return Reply(ReplyKind.PLANNED_END, text="serverShutdown")
    request_id = id_text(message.get("id"))
    error = message if "code" in message else message.get("error")
    if isinstance(error, dict):
        told = f"{error.get('code')} {error.get('msg')}"
        return Reply(ReplyKind.REFUSED, request_id, text=told)
    if request_id and message.get("result", message) is None:
        return Reply(ReplyKind.ACCEPTED, request_id)
    return _notice(message)


def _notice(message: Any) -> Reply:
    return Reply(ReplyKind.NOTICE, text=sample(repr(message).encode()))


# --- instruments ----------------------------------------------------------------------------------


def read_spot_list(body: bytes) -> ListPage:
    """All pairs of /api/v3/exchangeInfo. Raises VenueError."""
    what = "binance_spot exchangeInfo"
    return read_entries(entries_at(decode(body, what), what, "symbols"), "symbol", _read_pair)


def _read_pair(entry: Entry) -> Listed:
    return Listed(
        venue_symbol=text(entry, "symbol"),
        base=text(entry, "baseAsset"),
        quote=text(entry, "quoteAsset"),
        status=status_among(entry, "status", SPOT_STATUS),
    )


def read_futures_list(body: bytes) -> ListPage:
    """The perpetuals of /fapi/v1/exchangeInfo, margined in their quote. Raises VenueError."""
    what = "binance_futures exchangeInfo"
    return read_entries(entries_at(decode(body, what), what, "symbols"), "symbol", _read_contract)


def _read_contract(entry: Entry) -> Listed | None:
    if entry["marginAsset"] != entry["quoteAsset"] or not _is_perpetual(entry):
        return None
    return Listed(
        venue_symbol=text(entry, "symbol"),
        base=text(entry, "baseAsset"),
        quote=text(entry, "quoteAsset"),
        status=status_among(entry, "status", FUTURES_STATUS),
        starts_s=int(approximate(entry, "onboardDate") / 1000),
    )


def _is_perpetual(entry: Entry) -> bool:
    """A contract that has not begun may have no type yet; dated ones show it in their name."""
    kind = entry["contractType"]
    if kind == "" and entry["status"] == "PENDING_TRADING":
        return "_" not in text(entry, "symbol")
    return bool(kind == "PERPETUAL")


# --- past trades ----------------------------------------------------------------------------------


def read_trades(body: bytes, _venue_symbol: str) -> TradePage:
    """Rows of /trades and /historicalTrades, which name no symbol. Raises VenueError."""
    return read_rows(rows_of(body, "Binance's trades"), _read_trade, newest_first=False)


def _read_trade(row: Row) -> RestTrade:
    number = whole(row, "id")
    if not isinstance(row["isBuyerMaker"], bool):
        raise ValueError(f"isBuyerMaker is {row['isBuyerMaker']!r}")  # noqa: TRY004 - one kind
    return RestTrade(
        trade_id=str(number),
        order_id=number,
        sequence_number=number,
        side="sell" if row["isBuyerMaker"] else "buy",  # the buyer is the maker: the taker sold
        price=amount(row, "price"),
        quantity=amount(row, "qty"),
        exchange_ns=time_ns(row, "time", MILLISECONDS, MICROSECONDS),
        kind="rpi" if flag(row, "isRPITrade") else "",  # of futures
    )


# --- the feeds ------------------------------------------------------------------------------------

SUBSCRIBE = Subscribe(
    text='{"method":"SUBSCRIBE","params":[{args}],"id":{id}}',
    leave_text='{"method":"UNSUBSCRIBE","params":[{args}],"id":{id}}',
    arg='"{symbol}@trade"',
    lower_case=True,
    symbols_per_request_max=200,
    text_bytes_max=4000,  # the limit is not documented
)
CONNECTS = Allowance(key="binance_connects", units=200, per_s=300, burst=50)  # of 300


class _Aggregated(msgspec.Struct):
    event: str = msgspec.field(name="e")
    symbol: str = msgspec.field(name="s")
    first_id: int = msgspec.field(name="f")
    last_id: int = msgspec.field(name="l")


def read_aggregated(message: bytes) -> IdsTold | None:
    """``@aggTrade``: first and last id of the trades that it merges; None for anything else."""
    try:
        found = msgspec.json.decode(message, type=_Aggregated)
    except msgspec.MsgspecError:
        return None
    if found.event != "aggTrade" or found.first_id > found.last_id:
        return None
    return IdsTold(found.symbol, found.first_id, found.last_id)


# Documented, on the route where @trade is silent; it leaves out RPI, insurance and ADL.
AGGREGATED = WitnessStream(
    replaced="/public/", by="/market/", read=read_aggregated,
    subscribe=msgspec.structs.replace(SUBSCRIBE, arg='"{symbol}@aggTrade"'),
)  # fmt: skip

SPOT = FeedSpec(
    name="binance_spot",
    exchange="binance",
    market_type="spot",
    archive=archives.BINANCE_SPOT,
    parser=parse_binance.SPOT,
    example=(
        b'{"e":"trade","E":1672515782136,"s":"BNBBTC","t":12345,"p":"0.001","q":"100",'
        b'"T":1672515782136,"m":true,"M":true}'
    ),
    websocket_url="wss://stream.binance.com:9443/ws",
    subscribe=SUBSCRIBE,
    read_reply=read_reply,
    keepalive=Keepalive(silence_s=60),  # the venue pings every 20 s
    pace=Pace(interval_s=0.3),  # 5 frames a second, our pongs among them; then it cuts, and bans
    life_s=LIFE_S,
    symbols_per_connection=200,
    subscriptions_max=STREAMS_MAX,
    connect_interval_s=0.5,
    connects=CONNECTS,
    rest_url="https://api.binance.com",
    rest_allowance=Allowance(key="binance_spot", units=4000, per_s=60, burst=400),  # of 6000
    ban_s=120,  # the shortest ban
    api_key_header="X-MBX-APIKEY",
    instruments=ListRequest(
        path="/api/v3/exchangeInfo",
        params={"showPermissionSets": "false"},  # else most of the answer is permissions
        weight=20,
        read=read_spot_list,
    ),
    volumes=VolumeRequest(
        path="/api/v3/ticker/24hr", weight=80, symbol_key="symbol", volume_key="quoteVolume"
    ),
    recent=RestPage(
        path="/api/v3/trades",
        read=read_trades,
        symbol_param="symbol",
        params={"limit": str(ROWS_MAX)},
        rows_max=ROWS_MAX,
        newest_first=False,
        weight=25,
    ),
    history=RestPage(
        path="/api/v3/historicalTrades",
        read=read_trades,
        symbol_param="symbol",
        params={"limit": str(ROWS_MAX)},
        rows_max=ROWS_MAX,
        newest_first=False,
        weight=25,
        from_id_param="fromId",
    ),
    ids=TradeIds.CONTIGUOUS,
    time_step_ns=TIME_STEP_NS,
)

FUTURES = FeedSpec(
    name="binance_futures",
    exchange="binance",
    market_type="futures",
    archive=archives.BINANCE_FUTURES,
    parser=parse_binance.FUTURES,
    example=(
        b'{"e":"trade","E":1785701708157,"T":1785701708156,"s":"BTCUSDT","t":7947574407,'
        b'"p":"63437.30","q":"0.003","X":"MARKET","m":false,"st":1}'
    ),
    websocket_url="wss://fstream.binance.com/public/ws",  # elsewhere @trade is acked, never sent
    witness=AGGREGATED,
    other_websocket_urls=("wss://fstream.binance.com/ws", "wss://fstream.binance.com/market/ws"),
    subscribe=SUBSCRIBE,
    read_reply=read_reply,
    keepalive=Keepalive(silence_s=240),  # the venue pings every 3 minutes
    pace=Pace(interval_s=0.3),  # of 10 messages a second
    life_s=LIFE_S,
    symbols_per_connection=200,
    subscriptions_max=STREAMS_MAX,
    connect_interval_s=0.5,
    connects=CONNECTS,
    rest_url="https://fapi.binance.com",
    rest_allowance=Allowance(key="binance_futures", units=1500, per_s=60, burst=400),  # of 2400
    ban_s=120,
    api_key_header="X-MBX-APIKEY",
    instruments=ListRequest(path="/fapi/v1/exchangeInfo", weight=1, read=read_futures_list),
    volumes=VolumeRequest(
        path="/fapi/v1/ticker/24hr", weight=40, symbol_key="symbol", volume_key="quoteVolume"
    ),
    recent=RestPage(
        path="/fapi/v1/trades",
        read=read_trades,
        symbol_param="symbol",
        params={"limit": str(ROWS_MAX)},
        rows_max=ROWS_MAX,
        newest_first=False,
        weight=5,
    ),
    history=RestPage(
        path="/fapi/v1/historicalTrades",
        read=read_trades,
        symbol_param="symbol",
        params={"limit": str(ROWS_MAX)},
        rows_max=ROWS_MAX,
        newest_first=False,
        weight=200,  # since 2026-07-29
        from_id_param="fromId",
        needs_api_key=True,
    ),
    ids=TradeIds.CONTIGUOUS,
    time_step_ns=TIME_STEP_NS,
)

"""Gate v4 spot and USDT futures: ``spot.trades`` and ``futures.trades``."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from pumpwatch._fast import parse_gate
from pumpwatch.venues.listing import (
    Entry,
    approximate,
    decode,
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
    SECONDS,
    Row,
    amount,
    check_symbol,
    flag,
    read_rows,
    rows_of,
    side,
    signed_amount,
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

BAD_ARGUMENT, SERVER_ERROR = 2, 3  # codes of a refusal
SYMBOL = re.compile(r"[^\s\"'`:,;()\[\]]+_[A-Z0-9]+")  # the base may be written in any script

PAIR_STATUS: dict[str, Status] = {
    "tradable": "trading",
    "buyable": "trading",  # one side only, but there are trades
    "sellable": "trading",
    "untradable": "halted",
}
CONTRACT_STATUS: dict[str, Status] = {
    "prelaunch": "prelaunch",
    "trading": "trading",
    "delisting": "trading",  # positions are still being closed, by trades
    "circuit_breaker": "halted",
    "delisted": "ended",
}


def read_reply(message: Any) -> Reply:
    """A payload is taken or refused as a whole; an older ack names neither id nor symbols."""
    if not isinstance(message, dict):
        return _notice(message)
    channel = str(message.get("channel") or "").rpartition(".")[2]
    error = message.get("error")
    if error is not None and channel in ("trades", ""):
        return _read_error(message, error)
    match message:
        case _ if channel == "pong":
            return PONG
        case {"result": {"type": "upgrade", **told}} if channel == "system":
            return Reply(ReplyKind.PLANNED_END, text=str(told.get("msg", "upgrade")))
        case {"event": "subscribe", "result": {"status": status}} if channel == "trades":
            kind = ReplyKind.ACCEPTED if status == "success" else ReplyKind.REFUSED
            return Reply(kind, id_text(message.get("id")), _payload(message), str(status))
    return _notice(message)


def _read_error(message: Entry, error: Any) -> Reply:
    """The symbol that is to blame stands in the text only; of a known payload it must be one."""
    request_id = id_text(message.get("id"))
    if not isinstance(error, dict):
        return Reply(ReplyKind.REFUSED, request_id, text=str(error))
    code, said = error.get("code"), str(error.get("message"))
    told = f"{code} {said}"
    if code == SERVER_ERROR:
        return Reply(ReplyKind.BUSY, request_id, text=told)
    if code != BAD_ARGUMENT:
        return Reply(ReplyKind.REFUSED, request_id, text=told)
    if "timestamp" in said:  # more than 60 s off: no symbol is to blame
        return Reply(ReplyKind.FAULT, request_id, text=f"{told}: is this machine's clock right?")
    payload = _payload(message)
    named = [word for word in SYMBOL.findall(said) if not payload or word in payload]
    return Reply(ReplyKind.REFUSED, request_id, tuple(named), told)


def _payload(message: Entry) -> tuple[str, ...]:
    """The symbols of the request, which newer replies repeat."""
    payload = message.get("payload")
    if not isinstance(payload, list):
        return ()
    return tuple(symbol for symbol in payload if isinstance(symbol, str))


def _notice(message: Any) -> Reply:
    return Reply(ReplyKind.NOTICE, text=sample(repr(message).encode()))


# --- instruments ----------------------------------------------------------------------------------


def read_spot_list(body: bytes) -> ListPage:
    """All pairs of /spot/currency_pairs. Raises VenueError."""
    what = "gate_spot currency_pairs"
    return read_entries(entries_at(decode(body, what), what), "id", _read_pair)


def _read_pair(entry: Entry) -> Listed:
    status = status_among(entry, "trade_status", PAIR_STATUS)
    starts_s = int(max(approximate(entry, "buy_start"), approximate(entry, "sell_start")))
    if status == "halted" and entry.get("delisting_time"):
        status = "ended"
    elif status == "halted" and starts_s:
        # Not begun or paused: without a clock that is one, and to subscribe early costs nothing.
        status = "prelaunch"
    return Listed(
        venue_symbol=text(entry, "id"),
        base=text(entry, "base"),
        quote=text(entry, "quote"),
        status=status,
        starts_s=starts_s,
    )


def read_futures_list(body: bytes) -> ListPage:
    """The contracts of /futures/usdt/contracts. Raises VenueError."""
    what = "gate_futures contracts"
    return read_entries(entries_at(decode(body, what), what), "name", _read_contract)


def _read_contract(entry: Entry) -> Listed | None:
    if entry["type"] != "direct":
        return None
    venue_symbol = text(entry, "name")
    base, _, quote = venue_symbol.rpartition("_")
    if not base or not quote:
        raise ValueError(f"name is {venue_symbol!r}")
    if "status" in entry:
        status = status_among(entry, "status", CONTRACT_STATUS)
    else:  # lists before 2024
        status = CONTRACT_STATUS["delisting" if entry["in_delisting"] else "trading"]
    return Listed(
        venue_symbol=venue_symbol,
        base=base,
        quote=quote,
        status=status,
        contract_value=plain(positive(entry, "quanto_multiplier")),
        starts_s=int(approximate(entry, "launch_time")),
    )


# --- past trades ----------------------------------------------------------------------------------


def read_spot_trades(body: bytes, venue_symbol: str) -> TradePage:
    """Rows of /spot/trades, where id_market is called ``sequence_id``. Raises VenueError."""
    rows = rows_of(body, f"gate_spot trades of {venue_symbol}")

    def read_one(row: Row) -> RestTrade:
        check_symbol(row, "currency_pair", venue_symbol)
        number = whole(row, "sequence_id")
        return RestTrade(
            trade_id=str(whole(row, "id")),
            order_id=number,
            sequence_number=number,
            side=side(row, "side"),
            price=amount(row, "price"),
            quantity=amount(row, "amount"),
            exchange_ns=time_ns(row, "create_time_ms", MILLISECONDS),
        )

    return read_rows(rows, read_one, newest_first=True)


def read_futures_trades(body: bytes, venue_symbol: str) -> TradePage:
    """Rows of /futures/usdt/trades. Raises VenueError."""
    rows = rows_of(body, f"gate_futures trades of {venue_symbol}")

    def read_one(row: Row) -> RestTrade:
        check_symbol(row, "contract", venue_symbol)
        return _read_futures_trade(row)

    return read_rows(rows, read_one, newest_first=True)


def _read_futures_trade(row: Row) -> RestTrade:
    """``create_time_ms`` is in seconds with a fraction here, in milliseconds on the stream."""
    number = whole(row, "id")
    sold, quantity = signed_amount(row, "size")
    if sold and not Decimal(quantity):
        raise ValueError(f"size is {row['size']!r}")  # a minus with nothing behind it is no side
    return RestTrade(
        trade_id=str(number),
        order_id=number,
        sequence_number=number,
        side="sell" if sold else "buy",
        price=amount(row, "price"),
        quantity=quantity,
        exchange_ns=time_ns(row, "create_time_ms", SECONDS, MILLISECONDS),
        kind="internal" if flag(row, "is_internal") else "",
    )


# --- the feeds ------------------------------------------------------------------------------------


def _request(channel: str, event: str) -> str:
    head = f'{{"time":{{time}},"id":{{id}},"channel":"{channel}","event":"{event}",'
    return head + '"payload":[{args}]}'


def _subscribe(channel: str) -> Subscribe:
    return Subscribe(
        text=_request(channel, "subscribe"),
        leave_text=_request(channel, "unsubscribe"),
        arg='"{symbol}"',
        symbols_per_request_max=50,  # one bad symbol refuses them all
    )


def _keepalive(channel: str) -> Keepalive:
    """The venue pings too; ours show that it still reads. An ``event`` would spoil it."""
    return Keepalive(ping=f'{{"time":{{time}},"channel":"{channel}"}}', interval_s=15, silence_s=45)


SIZES_WITH_DECIMALS = (("X-Gate-Size-Decimal", "1"),)  # else small trades of some contracts read 0
ROWS_MAX = 1000
SKIP_MAX = 100_000  # rows before a page, documented for spot; taken for futures' offset too
CONNECTIONS_MAX = 300  # of an address
SYMBOLS_PER_CONNECTION = 200  # no limit is documented
PACE = Pace(interval_s=0.2)  # likewise
CONNECT_INTERVAL_S = 0.3
CONNECTS = Allowance(key="gate_connects", units=30, per_s=10, burst=10)  # likewise
REST_URL = "https://api.gateio.ws"
REST = Allowance(key="gate", units=150, per_s=10, burst=30)  # of 200 for each path

SPOT = FeedSpec(
    name="gate_spot",
    exchange="gate",
    market_type="spot",
    parser=parse_gate.SPOT,
    example=(
        b'{"time":1790359171,"time_ms":1790359171120,"channel":"spot.trades",'
        b'"event":"update","result":{"id":220643714,"id_market":220643714,'
        b'"create_time":1790359171,"create_time_ms":"1790359171119.653000","side":"sell",'
        b'"currency_pair":"BTC_USDT","amount":"0.002984","price":"83790.9",'
        b'"range":"220643714-220643714","trade_mode":0}}'
    ),
    websocket_url="wss://api.gateio.ws/ws/v4/",
    subscribe=_subscribe("spot.trades"),
    read_reply=read_reply,
    keepalive=_keepalive("spot.ping"),
    pace=PACE,
    symbols_per_connection=SYMBOLS_PER_CONNECTION,
    connections_max=CONNECTIONS_MAX,
    connect_interval_s=CONNECT_INTERVAL_S,
    connects=CONNECTS,
    rest_url=REST_URL,
    rest_allowance=REST,
    instruments=ListRequest(path="/api/v4/spot/currency_pairs", read=read_spot_list),
    volumes=VolumeRequest(
        path="/api/v4/spot/tickers", symbol_key="currency_pair", volume_key="quote_volume"
    ),
    recent=RestPage(
        path="/api/v4/spot/trades",
        read=read_spot_trades,
        symbol_param="currency_pair",
        params={"limit": str(ROWS_MAX)},
        rows_max=ROWS_MAX,
        newest_first=True,
    ),
    history=RestPage(
        path="/api/v4/spot/trades",
        read=read_spot_trades,
        symbol_param="currency_pair",
        params={"limit": str(ROWS_MAX)},
        rows_max=ROWS_MAX,
        newest_first=True,
        from_s_param="from",  # by id is discouraged, and by ``id``, not by id_market
        to_s_param="to",
        page_param="page",
        skip_max=SKIP_MAX,
    ),
    ids=TradeIds.CONTIGUOUS,
    time_step_ns=1_000,  # recordings of 2026; there is room for single ns
)

FUTURES = FeedSpec(
    name="gate_futures",
    exchange="gate",
    market_type="futures",
    parser=parse_gate.FUTURES,
    example=(
        b'{"time":1774443183,"channel":"futures.trades","event":"update",'
        b'"result":[{"size":"-0.25","id":1,"create_time":1774443183,'
        b'"create_time_ms":1774443183399,"price":"2171.44","contract":"ETH_USDT"}]}'
    ),
    websocket_url="wss://fx-ws.gateio.ws/v4/ws/usdt",
    headers=SIZES_WITH_DECIMALS,
    subscribe=_subscribe("futures.trades"),
    read_reply=read_reply,
    keepalive=_keepalive("futures.ping"),
    pace=PACE,
    symbols_per_connection=SYMBOLS_PER_CONNECTION,
    connections_max=CONNECTIONS_MAX,
    connect_interval_s=CONNECT_INTERVAL_S,
    connects=CONNECTS,
    rest_url=REST_URL,
    rest_headers=SIZES_WITH_DECIMALS,
    rest_allowance=REST,
    instruments=ListRequest(path="/api/v4/futures/usdt/contracts", read=read_futures_list),
    volumes=VolumeRequest(
        path="/api/v4/futures/usdt/tickers",
        symbol_key="contract",
        volume_key="volume_24h_quote",
    ),
    recent=RestPage(
        path="/api/v4/futures/usdt/trades",
        read=read_futures_trades,
        symbol_param="contract",
        params={"limit": str(ROWS_MAX)},
        rows_max=ROWS_MAX,
        newest_first=True,
    ),
    history=RestPage(
        path="/api/v4/futures/usdt/trades",
        read=read_futures_trades,
        symbol_param="contract",
        params={"limit": str(ROWS_MAX)},
        rows_max=ROWS_MAX,
        newest_first=True,
        from_s_param="from",
        to_s_param="to",
        offset_param="offset",
        skip_max=SKIP_MAX,
    ),
    ids=TradeIds.OBSERVED,  # one counter a contract in every recording, promised nowhere (R7)
    time_step_ns=1_000_000,
)

"""Phemex, spot and USDT perpetuals (FEEDS.md, section 8): no trade ids, a snapshot instead.

Few symbols fit: 20 subscriptions on a connection, 5 connections. Volumes tell which come first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from pumpwatch._fast import parse_phemex
from pumpwatch.errors import VenueError
from pumpwatch.venues.listing import (
    Entry,
    approximate,
    decode,
    entries_at,
    plain,
    read_entries,
    sample,
    text,
)
from pumpwatch.venues.rest_trades import (
    NANOSECONDS,
    Row,
    amount,
    check_symbol,
    object_of,
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

PRODUCTS = "Phemex's product list"
TRADES = "Phemex's latest trades"
VALUE_SCALE_MAX = 18
ROW_ITEMS = 4  # of a trade; items behind them would be new ones
STATUSES: Mapping[str, Status] = {"Listed": "trading", "Delisted": "ended"}


# --- replies --------------------------------------------------------------------------------------


def read_reply(message: Any) -> Reply:
    """Acks, pongs and errors; all of them have the request's id."""
    if not isinstance(message, dict):
        return Reply(ReplyKind.NOTICE, text=sample(repr(message).encode()))
    request_id = id_text(message.get("id"))
    error, result = message.get("error"), message.get("result")
    if error is not None:
        return Reply(ReplyKind.REFUSED, request_id, text=_error_text(error))
    if result == "pong":
        return Reply(ReplyKind.PONG, request_id)
    if isinstance(result, dict) and result.get("status") == "success":
        return Reply(ReplyKind.ACCEPTED, request_id)
    if "trades" in message or "trades_p" in message:  # without rows, or of the other market
        return NOTICE
    return Reply(ReplyKind.NOTICE, request_id, text=sample(repr(message).encode()))


def _error_text(error: object) -> str:
    if isinstance(error, dict):
        return f"{error.get('code')} {error.get('message')}"
    return str(error)


# --- instruments ----------------------------------------------------------------------------------


def read_spot_list(body: bytes) -> ListPage:
    """Spot pairs of the one list of all products. Raises VenueError.

    ``type`` decides, never the first letter: sOLUSDT is the coin OL, SOLUSDT the perpetual of SOL.
    """
    document = decode(body, PRODUCTS)
    scales = _value_scales(entries_at(document, PRODUCTS, "data", "currencies"))

    def read_one(entry: Entry) -> Listed | None:
        return _read_pair(entry, scales) if text(entry, "type") == "Spot" else None

    return read_entries(entries_at(document, PRODUCTS, "data", "products"), "symbol", read_one)


def read_perpetual_list(body: bytes) -> ListPage:
    """Perpetuals with real decimals of the same list. Raises VenueError."""
    entries = entries_at(decode(body, PRODUCTS), PRODUCTS, "data", "perpProductsV2")
    return read_entries(entries, "symbol", _read_perpetual)


def _value_scales(currencies: list[Any]) -> dict[str, int]:
    """The decimals in which a coin's amounts are counted, for the coins that say so."""
    return {
        entry["currency"]: entry["valueScale"]
        for entry in currencies
        if isinstance(entry, dict)
        and isinstance(entry.get("currency"), str)
        and type(entry.get("valueScale")) is int
        and 0 <= entry["valueScale"] <= VALUE_SCALE_MAX
    }


def _read_pair(entry: Entry, scales: Mapping[str, int]) -> Listed:
    """Prices come times 10**(scale of the quote coin), quantities times 10**(scale of the base)."""
    base, quote = text(entry, "baseCurrency"), text(entry, "quoteCurrency")
    for coin in (base, quote):
        if coin not in scales:
            raise ValueError(f"no valueScale of {coin}")
    return Listed(
        venue_symbol=text(entry, "symbol"),
        base=_coin(base),
        quote=quote,
        status=_status(entry),
        contract_value=plain(Decimal(1).scaleb(-scales[base])),
        price_exponent=-scales[quote],
        starts_s=int(approximate(entry, "listTime")) // 1000,
    )


def _read_perpetual(entry: Entry) -> Listed | None:
    """Quantities are base coins."""
    quote = text(entry, "quoteCurrency")
    if text(entry, "type") != "PerpetualV2" or text(entry, "settleCurrency") != quote:
        return None
    return Listed(
        venue_symbol=text(entry, "symbol"),
        base=_coin(text(entry, "baseCurrency")),
        quote=quote,
        status=_status(entry),
        starts_s=int(approximate(entry, "listTime")) // 1000,
    )


def _status(entry: Entry) -> Status:
    """Two words were seen; any other means that it does not trade now, and may again, or will."""
    return STATUSES.get(text(entry, "status"), "halted")


def _coin(currency: str) -> str:
    """Multiplied tickers are spelled with a blank: "1000 SHIB"."""
    return currency.replace(" ", "")


# --- past trades ----------------------------------------------------------------------------------


def read_spot_trades(body: bytes, venue_symbol: str) -> TradePage:
    """Rows of /md/trade, integers scaled as the stream's. Raises VenueError.

    A price with a point would be a new format, not a price.
    """
    return _read_trades(body, venue_symbol, "trades", lambda row, at: str(whole(row, at)))


def read_perpetual_trades(body: bytes, venue_symbol: str) -> TradePage:
    """Rows of /md/v2/trade. Raises VenueError."""
    return _read_trades(body, venue_symbol, "trades_p", amount)


def _read_trades(
    body: bytes, venue_symbol: str, rows_key: str, read_amount: Callable[[Row, int], str]
) -> TradePage:
    """The list is a snapshot message: its rows are [ns, side, price, size], all of its sequence."""
    what = f"{TRADES} of {venue_symbol}"
    answer = object_of(body, what)
    rows = entries_at(answer, what, "result", rows_key)
    try:
        check_symbol(answer["result"], "symbol", venue_symbol)
        sequence_number = whole(answer["result"], "sequence")
    except (KeyError, ValueError) as error:
        raise VenueError(f"{what}: {error}: {sample(body)}") from None

    def read_one(row: Row) -> RestTrade:
        if not isinstance(row, list) or len(row) < ROW_ITEMS:
            raise ValueError(f"it is not {ROW_ITEMS} values")
        return RestTrade(
            trade_id=None,
            order_id=0,
            sequence_number=sequence_number,
            side=side(row, 1),
            price=read_amount(row, 2),
            quantity=read_amount(row, 3),
            exchange_ns=time_ns(row, 0, NANOSECONDS),
        )

    return read_rows(rows, read_one, newest_first=True)


# --- feeds ----------------------------------------------------------------------------------------

WEBSOCKET_URL = "wss://ws.phemex.com"  # serves both feeds; each has its own connections here
REST_URL = "https://api.phemex.com"
PRODUCTS_PATH = "/public/products"
REQUEST = '{"id":{id},"method":"METHOD","params":[{args}]}'
ARG = '"{symbol}"'
# More than one symbol in ``params`` is not documented, and one id per request is advised.
SYMBOLS_PER_REQUEST = 1
# The venue cuts after 30 s without a ping, and advises one every 5 s and a new connection after
# three missed: the third is missed when the fourth is due.
KEEPALIVE = Keepalive(
    ping='{"id":{id},"method":"server.ping","params":[]}', interval_s=5.0, unanswered_max=3,
    silence_s=20.0,
)  # fmt: skip
PACE = Pace(interval_s=0.1)  # allowed: 20 requests in a second
SUBSCRIPTIONS_MAX = 20
CONNECTIONS_MAX = 5
CONNECTS = Allowance(key="phemex_connects", units=150, per_s=300, burst=60)  # allowed: 200
CONNECT_INTERVAL_S = 0.2
REST = Allowance(key="phemex", units=80, per_s=60, burst=20)  # "Others"; allowed: 100
ROWS_MAX = 1000  # documented as 200, recorded as 1000

SPOT = FeedSpec(
    name="phemex_spot",
    exchange="phemex",
    market_type="spot",
    parser=parse_phemex.SPOT,
    example=(
        b'{"sequence":1067556417,"symbol":"sBTCUSDT","trades":[[1591268226414925245,'
        b'"Sell",954488000000,279100]],"type":"incremental"}'
    ),
    websocket_url=WEBSOCKET_URL,
    subscribe=Subscribe(
        text=REQUEST.replace("METHOD", "trade.subscribe"), arg=ARG,
        symbols_per_request_max=SYMBOLS_PER_REQUEST,
    ),
    read_reply=read_reply,
    keepalive=KEEPALIVE,
    pace=PACE,
    symbols_per_connection=SUBSCRIPTIONS_MAX,
    subscriptions_max=SUBSCRIPTIONS_MAX,
    connections_max=CONNECTIONS_MAX,
    connect_interval_s=CONNECT_INTERVAL_S,
    connects=CONNECTS,
    rest_url=REST_URL,
    rest_allowance=REST,
    instruments=ListRequest(path=PRODUCTS_PATH, read=read_spot_list),
    volumes=VolumeRequest(
        path="/md/spot/ticker/24hr/all", rows=("result",), symbol_key="symbol",
        volume_key="turnoverEv",
    ),
    recent=RestPage(
        path="/md/trade", read=read_spot_trades, symbol_param="symbol", rows_max=ROWS_MAX,
        newest_first=True,
    ),
    ids=TradeIds.NONE,
    on_subscribing=OnSubscribing.SNAPSHOT,
    time_step_ns=1,
    prelaunch_has_feed=False,
)  # fmt: skip

FUTURES = FeedSpec(
    name="phemex_futures",
    exchange="phemex",
    market_type="futures",
    parser=parse_phemex.FUTURES,
    example=(
        b'{"sequence":77702250,"symbol":"BTCUSDT","trades_p":[[1666856076819029800,"Sell",'
        b'"20700.3","0.649"]],"type":"incremental"}'
    ),
    websocket_url=WEBSOCKET_URL,
    subscribe=Subscribe(
        text=REQUEST.replace("METHOD", "trade_p.subscribe"), arg=ARG,
        symbols_per_request_max=SYMBOLS_PER_REQUEST,
    ),
    read_reply=read_reply,
    keepalive=KEEPALIVE,
    pace=PACE,
    symbols_per_connection=SUBSCRIPTIONS_MAX,
    subscriptions_max=SUBSCRIPTIONS_MAX,
    connections_max=CONNECTIONS_MAX,
    connect_interval_s=CONNECT_INTERVAL_S,
    connects=CONNECTS,
    rest_url=REST_URL,
    rest_allowance=REST,
    instruments=ListRequest(path=PRODUCTS_PATH, read=read_perpetual_list),
    volumes=VolumeRequest(
        path="/md/v2/ticker/24hr/all", rows=("result",), symbol_key="symbol",
        volume_key="turnoverRv",
    ),
    recent=RestPage(
        path="/md/v2/trade", read=read_perpetual_trades, symbol_param="symbol", rows_max=ROWS_MAX,
        newest_first=True,
    ),
    ids=TradeIds.NONE,
    on_subscribing=OnSubscribing.SNAPSHOT,
    time_step_ns=1,
    prelaunch_has_feed=False,
)  # fmt: skip

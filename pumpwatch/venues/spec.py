"""The vocabulary in which a feed is described: what it sends, takes and allows, as data.

A field takes a function only where data cannot say it: reading a venue's replies, its instrument
list, KuCoin's token. Nothing outside ``venues/`` asks which exchange it has before it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Literal, NamedTuple, Protocol

import msgspec

from pumpwatch._fast.parser import Parser
from pumpwatch.config import FeedConfig

Status = Literal["trading", "prelaunch", "halted", "ended"]
Headers = tuple[tuple[str, str], ...]
Params = Mapping[str, str]


class TradeIds(Enum):
    """What an id of this feed proves about the trades before it."""

    CONTIGUOUS = "contiguous"  # +1 per trade of the symbol: a jump is a hole, none is a proof
    OBSERVED = "observed"  # looks contiguous, not promised: finds holes, certifies at most covered
    OPAQUE = "opaque"  # names a trade, says nothing about its neighbours
    NONE = "none"  # rows are matched as ordered multisets (R6)


class OnSubscribing(Enum):
    """What a venue sends of the past when a symbol is subscribed."""

    NOTHING = "nothing"
    LATEST_TRADE = "latest_trade"  # one row, however old
    SNAPSHOT = "snapshot"  # a list of recent trades


# --- requests -------------------------------------------------------------------------------------


class Subscribe(msgspec.Struct, frozen=True, kw_only=True):
    """How subscriptions are asked for.

    ``text`` is one request: {id} (a number of ours), {time} (unix s) and {args} are filled in.
    {args} is ``arg`` for each symbol, with {symbol} filled in, joined by commas.
    """

    text: str
    leave_text: str = ""  # the same for ending subscriptions; "": they end with the connection
    arg: str
    lower_case: bool = False  # the wire's spelling of a symbol
    symbols_per_request_max: int
    text_bytes_max: int = 16_384
    is_atomic: bool = True  # one bad symbol refuses the whole request
    awaits_welcome: bool = False  # the venue speaks first

    def spell(self, venue_symbol: str) -> str:
        """The symbol as requests name it."""
        return venue_symbol.lower() if self.lower_case else venue_symbol

    def render_arg(self, venue_symbol: str) -> str:
        """One symbol's part of a request."""
        quoted = msgspec.json.encode(self.spell(venue_symbol)).decode()[1:-1]
        return self.arg.replace("{symbol}", quoted)

    def render(
        self, venue_symbols: tuple[str, ...], request_id: int, unix_s: int, *, leaves: bool = False
    ) -> str:
        """The text of one request; ``leaves``: for ending subscriptions."""
        args = ",".join(self.render_arg(symbol) for symbol in venue_symbols)
        text = self.leave_text if leaves else self.text
        return fill(text, request_id, unix_s).replace("{args}", args)


class Keepalive(msgspec.Struct, frozen=True, kw_only=True):
    """What keeps a connection alive, and when it counts as dead.

    Pings that the venue sends as control frames are answered by the WebSocket library; they count
    as a sign of life.
    """

    ping: str | None = None  # our text, with {id} and {time}; None: only the venue pings
    interval_s: float = 20.0
    unanswered_max: int = 3  # then the connection is dead, whatever else it brings
    silence_s: float  # without a single byte: dead


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """Our messages on one connection, kept well below what the venue allows."""

    interval_s: float  # between two messages, pings included
    requests_max: int = 0  # in any ``window_s``, pings not counted; 0: no such limit
    window_s: float = 0.0


class Allowance(msgspec.Struct, frozen=True, kw_only=True):
    """So much of something in any span of this length; ``burst`` of it at once."""

    key: str  # who shares it: "binance_spot", "okx"
    units: float
    per_s: float
    burst: float


# --- replies --------------------------------------------------------------------------------------


class ReplyKind(Enum):
    """What a message that holds no trade says."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    BUSY = "busy"  # asked too fast: the same request again, later
    PONG = "pong"
    WELCOME = "welcome"
    PLANNED_END = "planned_end"
    FAULT = "fault"  # this connection is of no use any more
    NOTICE = "notice"


class Reply(msgspec.Struct, frozen=True):
    """A message that holds no trade, in words that all venues share."""

    kind: ReplyKind
    request_id: str = ""  # "": the reply names none
    symbols: tuple[str, ...] = ()  # venue symbols that it is about; (): the request's
    text: str = ""
    within_s: float = 0.0  # planned end: at the latest; 0: not said


ReadReply = Callable[[Any], Reply]  # takes decoded JSON, or str where the message is none

NOTICE = Reply(ReplyKind.NOTICE)
PONG = Reply(ReplyKind.PONG)


def id_text(value: object) -> str:
    """A request id as text; "" for the ids that venues send when they have none."""
    return "" if value is None else str(value)


# --- REST -----------------------------------------------------------------------------------------


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a venue's instrument list, before settings are applied."""

    venue_symbol: str
    base: str
    quote: str
    status: Status
    contract_value: str = "1"  # base coins per unit of quantity, exact
    price_exponent: int = 0
    volume_quote: float = 0.0  # 24 h, where the list says it
    starts_s: int = 0  # unix s of the first trade, where the list says it; 0: not said


class ListPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of an instrument list."""

    listed: list[Listed]
    refused: list[str]  # "name: reason" of entries that could not be read
    next_cursor: str = ""


class ListRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Where the instrument list is, and how it is read."""

    path: str
    params: Params = msgspec.field(default_factory=dict)
    cursor_param: str = ""  # "": one page
    weight: int = 1
    read: Callable[[bytes], ListPage]


class VolumeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Where 24-hour volumes are, for the venues whose instrument list has none."""

    path: str
    params: Params = msgspec.field(default_factory=dict)
    weight: int = 1
    rows: tuple[str, ...] = ()  # keys down to the list
    symbol_key: str
    volume_key: str  # in the quote coin (any scale that is the same for all)
    price_key: str = ""  # where ``volume_key`` is in base coins: the price that it is times


class RestTrade(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One row of a list of past trades, in the stream's terms: the road makes the same key of it.

    Numbers are exact texts in the venue's own units (contracts, scaled integers), without sign.
    """

    trade_id: str | None  # None: the venue gives none (Phemex)
    order_id: int  # the number that counts up per symbol; 0: there is none
    sequence_number: int  # the venue's own order number (trades.sequence_number); 0: there is none
    side: Literal["buy", "sell"]  # of the taker
    price: str
    quantity: str
    exchange_ns: int
    kind: str = ""  # block, rpi, internal; "": an ordinary trade, or REST does not know


class TradePage(msgspec.Struct, frozen=True, kw_only=True):
    """What one answer of a list of past trades holds."""

    trades: list[RestTrade]  # oldest first
    refused: list[str]  # "row: reason" of rows that could not be read

    @property
    def rows(self) -> int:
        """How many rows the venue sent, readable or not."""
        return len(self.trades) + len(self.refused)


class RestPage(msgspec.Struct, frozen=True, kw_only=True):
    """A list of past trades of one symbol, for backfill; ``history.py`` asks for it."""

    path: str
    read: Callable[[bytes, str], TradePage]  # an answer and its venue symbol; raises VenueError
    symbol_param: str
    params: Params = msgspec.field(default_factory=dict)
    rows_max: int
    newest_first: bool
    weight: int = 1
    from_id_param: str = ""  # history by id: rows from this id on (or before it, newest first)
    from_s_param: str = ""  # history by time: rows from this unix second on,
    to_s_param: str = ""  # up to this one, both included
    page_param: str = ""  # further rows of the same question: pages of ``rows_max``, from 1 on,
    offset_param: str = ""  # or so many rows left out
    skip_max: int = 0  # rows that may come before a page or offset; with these two only
    needs_api_key: bool = False


class ArchiveFile(msgspec.Struct, frozen=True, kw_only=True):
    """A day's trades of one symbol, as the venue publishes them afterwards."""

    url: str  # with {symbol}, {year}, {month}, {day}
    columns: tuple[str, ...]  # of a file without a line of names
    read_row: Callable[[Mapping[str, str]], RestTrade]  # raises ValueError, KeyError
    has_stream_ids: bool = True  # False: its rows are told apart as an ordered multiset
    utc_offset_h: int = 0  # a file's day begins so much earlier than the UTC day


class Rest(Protocol):
    """The REST client, as far as venues need it."""

    async def get(
        self, source: FeedSpec, path: str, params: Params | None = None, weight: float = 1
    ) -> bytes:
        """The body of an answer. Raises VenueError."""
        ...

    async def post(
        self, source: FeedSpec, path: str, params: Params | None = None, weight: float = 1
    ) -> bytes:
        """The body of an answer. Raises VenueError."""
        ...


# --- connections ----------------------------------------------------------------------------------


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where one connection goes. A token in the URL is good for one connection only."""

    url: str
    proxy_url: str | None = None  # None: straight
    headers: Headers = ()
    keepalive: Keepalive | None = None  # None: the FeedSpec's; else what the venue just told


class TokenRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A venue that tells for each connection where it goes."""

    path: str
    weight: int
    read: Callable[[bytes, Keepalive, random.Random], Target]  # raises VenueError


class IdsTold(NamedTuple):
    """There are trades with these ids."""

    venue_symbol: str
    first_id: int
    last_id: int


class WitnessStream(msgspec.Struct, frozen=True, kw_only=True):
    """Another stream of the venue, that tells which ids there are, on an address beside ours."""

    replaced: str  # part of websocket_url
    by: str
    subscribe: Subscribe
    read: Callable[[bytes], IdsTold | None]  # None: the message is something else

    def url_beside(self, websocket_url: str) -> str:
        """Where it is; empty where the address is not as expected."""
        if self.replaced not in websocket_url:
            return ""
        return websocket_url.replace(self.replaced, self.by)


class FeedSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One feed. Numbers are the venue's limits or stay well below them."""

    name: str  # f"{exchange}_{market_type}"
    exchange: str
    market_type: Literal["spot", "futures"]
    parser: Parser
    example: bytes  # a message with trades as the venue sends them, to tell what has changed

    websocket_url: str
    headers: Headers = ()
    token: TokenRequest | None = None
    subscribe: Subscribe
    read_reply: ReadReply
    keepalive: Keepalive
    pace: Pace
    life_s: float = 0.0  # a connection ends after this; 0: no planned end
    symbols_per_connection: int  # what we put on one
    subscriptions_max: int = 0  # what the venue allows on one; 0: not said
    connections_max: int = 0  # what the venue documents, both feeds together; 0: not said
    connect_interval_s: float  # between two connects to the exchange
    connects: Allowance  # shared by the feeds with the same key

    rest_url: str
    rest_headers: Headers = ()
    rest_allowance: Allowance
    api_key_header: str = ""  # carries the key for pages with ``needs_api_key``; "": none has one
    ban_s: float = 60.0  # how long 418 or 403 last when the venue does not say
    instruments: ListRequest
    volumes: VolumeRequest | None = None
    recent: RestPage
    history: RestPage | None = None  # None: nothing beyond ``recent``
    archive: ArchiveFile | None = None  # None: the venue publishes no daily files

    ids: TradeIds
    on_subscribing: OnSubscribing = OnSubscribing.NOTHING
    time_step_ns: int  # of the venue's trade times
    witness: WitnessStream | None = None
    other_websocket_urls: tuple[str, ...] = ()  # tried in turn where the first one is silent
    prelaunch_has_feed: bool = True  # False: a subscription before trading is (or may be) refused

    @property
    def counts_up(self) -> bool:
        """Whether trade ids of a symbol count up by one, so that a missing one shows."""
        return self.ids in (TradeIds.CONTIGUOUS, TradeIds.OBSERVED)


def websocket_urls(spec: FeedSpec, config: FeedConfig) -> tuple[str, ...]:
    """Addresses to be tried in turn; the settings' own has none of the venue's behind it."""
    if config.websocket_url:
        return (config.websocket_url, *config.other_websocket_urls)
    return (spec.websocket_url, *(config.other_websocket_urls or spec.other_websocket_urls))


async def connection_target(
    spec: FeedSpec, rest: Rest, config: FeedConfig, rng: random.Random, *, route: int = 0
) -> Target:
    """Where the next connection of this feed goes; asks the venue where it must be asked.

    ``route``: which of ``websocket_urls``.

    Raises VenueError. Where a token tells the address, ``websocket_url`` of the settings is not
    looked at.
    """
    if spec.token is None:
        url = websocket_urls(spec, config)[route]
        return Target(url=url, proxy_url=config.proxy_url, headers=spec.headers)
    body = await rest.post(spec, spec.token.path, weight=spec.token.weight)
    target = spec.token.read(body, spec.keepalive, rng)
    return msgspec.structs.replace(target, proxy_url=config.proxy_url, headers=spec.headers)


def fill(text: str, request_id: int, unix_s: int) -> str:
    """A request's or ping's text with its number and time."""
    return text.replace("{id}", str(request_id)).replace("{time}", str(unix_s))

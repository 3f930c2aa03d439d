"""What a simulated feed must offer: its instruments, its wire, its sessions, its REST side."""

from __future__ import annotations

import json
import math
import random
import re
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from pumpwatch.clock import Clock
from pumpwatch.sim.generate import Flow
from pumpwatch.sim.instruments import Entry, Instrument
from pumpwatch.sim.settings import SimSettings
from pumpwatch.sim.tape import Trade

if TYPE_CHECKING:
    from pumpwatch.sim.market import Market

# --- what a session wants done --------------------------------------------------------------------


@dataclass(frozen=True)
class Send:
    """A text message to the client."""

    text: str


@dataclass(frozen=True)
class Subscribe:
    """Trades of this instrument from now on."""

    instrument: Instrument


@dataclass(frozen=True)
class Unsubscribe:
    """No more trades of this instrument."""

    instrument: Instrument


@dataclass(frozen=True)
class Refuse:
    """Something was refused; only counted."""

    why: str


@dataclass(frozen=True)
class End:
    """The venue closes the connection."""

    code: int
    reason: str
    why: str = ""  # counted as a refusal or violation, where there is one


Action = Send | Subscribe | Unsubscribe | Refuse | End


@dataclass(frozen=True, kw_only=True)
class Keepalive:
    """When a venue cuts a connection; seconds, 0 = never."""

    server_ping_s: float = 0.0
    pong_within_s: float = 0.0
    client_silence_s: float = 0.0  # without a message or ping from the client
    counts_both_ways: bool = False  # ... nor one to it
    needs_subscription_s: float = 0.0
    life_s: float = 0.0
    code: int = 1000
    reason: str = ""


class Session:
    """One connection's protocol, without sockets: texts in, actions out."""

    keepalive = Keepalive()

    def __init__(self, venue: Venue, dialect: str = "") -> None:
        self.venue = venue
        self.dialect = dialect  # which of the venue's spellings this connection gets
        self.subscribed: dict[str, Instrument] = {}

    def opened(self, now_s: float) -> list[Action]:
        """What the venue says first."""
        return []

    def frame_came(self, opcode: int, now_s: float) -> list[Action]:
        """Any frame of the client's, control frames too."""
        return []

    def received(self, text: str, now_s: float) -> list[Action]:
        """A text message of the client's."""
        raise NotImplementedError

    def refusal(self, text: str) -> list[Action]:
        """The answer to a subscription while the venue takes none; []: the text is no such."""
        raise NotImplementedError

    def farewell(self) -> list[str]:
        """How the venue says that it will close the connection; most say nothing."""
        return []

    def add(self, instruments: list[Instrument]) -> list[Action]:
        """Subscribe those that are not subscribed yet."""
        found: list[Action] = []
        for instrument in instruments:
            if instrument.venue_symbol not in self.subscribed:
                self.subscribed[instrument.venue_symbol] = instrument
                found.append(Subscribe(instrument))
        return found

    def remove(self, instruments: list[Instrument]) -> list[Action]:
        """Unsubscribe those that are subscribed."""
        return [
            Unsubscribe(instrument)
            for instrument in instruments
            if self.subscribed.pop(instrument.venue_symbol, None) is not None
        ]


# --- REST -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Request:
    """A REST request; ``path`` is the venue's own."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""

    def number(self, name: str, default: int, most: int | None = None) -> int:
        """A whole number of the query. Raises ValueError for something else."""
        value = int(self.query.get(name) or default)
        return value if most is None else min(value, most)


class Answer(NamedTuple):
    """A REST answer."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


def json_answer(document: Any, status: int = 200, **headers: str) -> Answer:
    """A JSON document; ``headers`` with underscores for hyphens."""
    body = msgspec.json.encode(document)
    return Answer(status, body, tuple((k.replace("_", "-"), v) for k, v in headers.items()))


def read_object(text: str) -> dict[str, Any] | None:
    """A JSON object; None for anything else."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def texts_of(value: Any) -> list[str] | None:
    """A list of strings; None for anything else."""
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return value
    return None


NOT_FOUND = json_answer({"message": "no such path"}, 404)


class Budget:
    """So many units in any span of this length."""

    def __init__(self, units: float, window_s: float) -> None:
        self.units = units
        self.window_s = window_s
        self._spent: deque[tuple[float, float]] = deque()
        self._sum = 0.0

    def take(self, now_s: float, units: float = 1.0) -> bool:
        """Spend; False when that is more than there is (it is spent all the same)."""
        while self._spent and self._spent[0][0] <= now_s - self.window_s:
            self._sum -= self._spent.popleft()[1]
        self._spent.append((now_s, units))
        self._sum += units
        return self._sum <= self.units


# --- the venue ------------------------------------------------------------------------------------


class Recorded(NamedTuple):
    """One recorded message and its trades, oldest first."""

    text: str
    venue_symbol: str
    rows: list[RecordedRow]
    is_snapshot: bool = False


class RecordedRow(NamedTuple):
    """A trade as recorded; ``number`` None: the id is in ``entry.trade_id``."""

    ns: int
    entry: Entry
    number: int | None
    sequence: int


@dataclass(frozen=True)
class Upgrade:
    """A WebSocket request: the path behind the feed's name."""

    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]


@dataclass(kw_only=True)
class Counts:
    """What happened on one feed, for /control/stats."""

    delivered: int = 0
    messages_in: int = 0
    connects: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    violations: Counter[str] = field(default_factory=Counter)
    rest: Counter[str] = field(default_factory=Counter)


class Venue:
    """One feed of a venue; subclasses hold what FEEDS.md says about it."""

    name: str
    flow: Flow
    dialects: tuple[str, ...] = ("",)
    scales_values = False  # numbers are written times a power of ten: that is no size of a contract
    witness_dialect: str | None = None  # tells of every trade, whatever the stream keeps back
    styles = 1  # variants of the message; 0 is the usual one
    greeting: Literal["nothing", "latest", "snapshot"] = "nothing"
    long_decimals_max = 8  # decimals of quantities with very many digits; 0: none such
    has_deep_history = False
    merges_trades = False  # now and then
    id_kind: Literal["number", "uuid", "ordinal"] = "number"
    kind_styles: Mapping[str, int] = {}  # the style that says so of a trade
    number_pattern: re.Pattern[str] | None = (
        None  # ids in recorded texts, where they are contiguous
    )

    market: Market

    def __init__(self, settings: SimSettings, clock: Clock, rng: random.Random) -> None:
        self.settings = settings
        self.clock = clock
        self.rng = rng
        self.counts = Counts()
        self.base_url = ""  # http://127.0.0.1:port/feed, once it is known
        self.websocket_base_url = ""
        self.open_connections: Callable[[], int] = lambda: 0  # of the exchange
        self.budgets: dict[str, Budget] = {}  # of the exchange: both feeds spend from them (R11)
        self.siblings: list[Market] = []  # the exchange's other market
        self.refuses_until_s = -math.inf  # subscriptions
        self.renamed: tuple[bytes, bytes] | None = None  # a member as it was, and as it is pushed

    def spell_anew(self, data: bytes) -> bytes:
        """Frames as they are pushed now."""
        return data if self.renamed is None else data.replace(*self.renamed)

    # --- facts

    def instruments(self) -> list[Instrument]:
        """The venue's list: ``settings.symbols`` to trade, and what must be filtered out."""
        raise NotImplementedError

    def step_ns(self, instrument: Instrument) -> int:
        """The grid of its trade times."""
        return 1_000_000

    def first_numbers(self, instrument: Instrument, rng: random.Random) -> tuple[int, int]:
        """The next trade's number and the last sequence before it."""
        raise NotImplementedError

    @property
    def websocket_path(self) -> str:
        """The path of the feed's WebSocket URL."""
        raise NotImplementedError

    # --- the wire

    def row_text(self, instrument: Instrument, entry: Entry, dialect: str) -> str:
        """A message (or one row of it) with marks."""
        raise NotImplementedError

    def prefix_text(self, instrument: Instrument, dialect: str) -> str:
        """What stands before a message's rows, with marks."""
        raise NotImplementedError

    suffix = ""

    def spell(self, text: str, dialect: str) -> str:
        """A recorded message as this connection gets it."""
        return text

    def snapshot_text(self, instrument: Instrument, newest: list[Trade], sequence: int) -> str:
        """Recent trades, newest first."""
        raise NotImplementedError

    def merged_text(self, instrument: Instrument, entry: Entry, first_number: int) -> str:
        """A message for several trades up to the one that the marks stand for (Gate spot, R7)."""
        raise NotImplementedError

    def trade_id(self, instrument: Instrument, trade: Trade) -> str:
        """The id's text."""
        return trade.entry.trade_id or str(trade.number + instrument.number_offset)

    def read_recorded(self, text: str) -> Recorded | None:
        """A recorded line's trades; None where it is none of this stream's trades."""
        raise NotImplementedError

    # --- connections and REST

    def open_session(self, upgrade: Upgrade, now_s: float) -> Session | Answer:
        """A new connection, or a refusal of the handshake."""
        raise NotImplementedError

    def answer(self, request: Request, now_s: float) -> Answer:
        """A REST request."""
        raise NotImplementedError

    def spend(
        self, name: str, most: float, window_s: float, now_s: float, units: float = 1.0
    ) -> bool:
        """Take from a budget of the exchange; False when there is not so much left."""
        return self.budgets.setdefault(name, Budget(most, window_s)).take(now_s, units)

    def expire(self) -> list[str]:
        """What it gave out for new connections is worth nothing now; what those in use are told."""
        return []

    def scaled(self, seconds: float) -> float:
        """The venue's time as this run has it."""
        return seconds * self.settings.time_scale

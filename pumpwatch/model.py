"""What the parts say to each other: instruments, records, holes, and the Protocols between them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Protocol

import msgspec

COIN = re.compile(r"[A-Z0-9]{1,15}")  # as the boards write one


class Instrument(msgspec.Struct, frozen=True, kw_only=True):
    """One tradable thing of one feed, as its instrument list shows it.

    ``price_exponent`` and ``contract_value`` turn the wire's integers and contracts into prices
    and base coins: price = wire price x 10**price_exponent, quantity = wire quantity x
    contract_value (exact decimal text, "1" where quantities are base coins already).
    """

    feed: str  # "binance_spot"
    venue_symbol: str  # as in the instrument list and on the wire: "XBTUSDTM"
    symbol: str  # BASE+QUOTE: "BTCUSDT", "1000PEPEUSDT"
    base: str  # normalised: BTC, 1000PEPE
    quote: str
    coin: str  # the underlying coin of a multiplied ticker: PEPE
    unit: int = 1  # how many coins one base is: 1000 for 1000PEPE
    contract_value: str = "1"
    price_exponent: int = 0
    status: str = "trading"  # trading, prelaunch, halted, ended
    krw_upbit: bool | None = None  # None: not known
    krw_bithumb: bool | None = None
    volume_quote: float = 0.0  # 24 h, for choosing where a venue lets us have fewer


class InstrumentState(msgspec.Struct, frozen=True, kw_only=True):
    """An instrument as it is from ``valid_from_ns`` on: one row of the table instruments."""

    instrument: Instrument
    valid_from_ns: int
    first_seen_ns: int
    revision: int = 1


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One spool record: ILP lines of one table (and, for trades, of one feed)."""

    table: int  # number in store.schema.TABLES, never reused (R19)
    feed: int  # 1 + index in venues.FEEDS; 0: none
    rows: int
    payload: bytes
    received_ns: int = 0  # when its oldest row was received; 0: not measured


class Hole(msgspec.Struct, frozen=True, kw_only=True):
    """A hole that the road saw. Ids are 0 where the feed has none, times exchange ns, 0 unknown."""

    symbol: str
    cause: str
    first_id: int
    last_id: int
    from_ns: int
    to_ns: int


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the ledger (table feed_gaps) at one moment of its life: a hole of one symbol.

    ``from_ns`` and ``to_ns`` bound the exchange times that missing rows may have. Where ids count
    up, ``first_id`` is the first that may be missing, and ``last_id`` the last, once that is known.
    """

    gap_id: str
    opened_ns: int  # ours; a part that was split off keeps the whole one's
    exchange: str
    market_type: str
    symbol: str  # "*": any of the feed
    cause: str
    from_ns: int = 0  # 0: not known
    to_ns: int = 0  # 0: still open
    first_id: int = 0  # 0: no ids
    last_id: int = 0  # 0: not known
    missing: int = -1  # rows; -1: not known
    exact: bool = False  # ``missing`` is counted, not estimated
    state: str = "suspected"  # suspected, confirmed, filled, empty, lost
    filled_rows: int = 0
    closed_ns: int = 0
    reason: str = ""
    revision: int = 1

    @property
    def feed(self) -> str:
        """Its name: binance_spot."""
        return f"{self.exchange}_{self.market_type}"

    @property
    def is_open(self) -> bool:
        """Nobody has said yet what became of it."""
        return self.state in ("suspected", "confirmed")


class Watermark(msgspec.Struct, frozen=True, kw_only=True):
    """Until when nothing of an instrument is missed, and what proves that (R10).

    ``proof``: "" none; "next_id" a row later than ``to_ns`` whose id follows on what is held;
    "rest" a list fetched at least 5 s after ``to_ns`` whose last row is the last held;
    "alive" data after ``to_ns`` on the same unbroken connection, which holds for ``covered`` only.
    """

    feed: str
    symbol: str
    to_ns: int = 0  # exchange time, excluded; 0: nothing is proven
    proof: str = ""
    at_ns: int = 0  # our clock: when the proof came
    detail: str = ""

    @property
    def is_strong(self) -> bool:
        """Good for more than ``covered``."""
        return self.proof not in ("", "alive")


class FeedName(Protocol):
    """What a row of a side table says of its feed."""

    @property
    def exchange(self) -> str: ...  # noqa: D102
    @property
    def market_type(self) -> str: ...  # noqa: D102


class SideSink(Protocol):
    """Where everything but trades goes: quarantine and the ledger, seen from the capture side."""

    def keep(self, feed: FeedName, reason: str, raw: bytes, rows: int, detail: str = "") -> bool:
        """Put a message that could not be read, or had refused rows, into quarantine.

        False: only its kind is told; there is no room for it as a whole.
        """
        ...

    def gaps(self, rows: Iterable[Gap]) -> None:
        """Write ledger rows; they go in front of the rows that showed the holes (R3)."""
        ...

    def instruments(self, states: Iterable[InstrumentState]) -> None:
        """Write what instruments are from now on."""
        ...


class RowSink(Protocol):
    """Where rows go: the spool, seen from the capture side."""

    def append(self, record: Record) -> None:
        """Take a record; never drops. Raises SpoolError only when the spool is closed."""
        ...

    def has_room(self) -> bool:
        """False while the buffers are full: readers wait for ``room()`` (R9)."""
        ...

    async def room(self) -> None:
        """Return when there is room again."""
        ...

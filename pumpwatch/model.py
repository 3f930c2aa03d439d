"""What the parts say to each other: instruments, records, holes, and the Protocols between them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import msgspec


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


class FeedName(Protocol):
    """What a row of a side table says of its feed."""

    @property
    def exchange(self) -> str: ...  # noqa: D102
    @property
    def market_type(self) -> str: ...  # noqa: D102


class SideSink(Protocol):
    """Where everything but trades goes: quarantine and the ledger, seen from the capture side."""

    def keep(self, feed: FeedName, reason: str, raw: bytes, rows: int, detail: str = "") -> None:
        """Put a message that could not be read, or had refused rows, into quarantine."""
        ...

    def holes(self, feed: FeedName, holes: Iterable[Hole]) -> None:
        """Open ledger rows; they go in front of the rows that showed the holes (R3)."""
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

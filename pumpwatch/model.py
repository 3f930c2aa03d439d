"""What the parts say to each other: instruments, records, positions, and the Protocols between them."""

from __future__ import annotations

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

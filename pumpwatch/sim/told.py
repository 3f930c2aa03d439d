"""What is played back: trades, instruments and an announcement as somebody recorded them."""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import NamedTuple

from pumpwatch.errors import UsageError
from pumpwatch.sim.digits import plain, taken_apart
from pumpwatch.sim.frames import (
    EVENT_DELAY_NS,
    EVENT_MS,
    EVENT_NS,
    EVENT_SECONDS,
    MICROS,
    MS,
    NS,
    NUMBER,
    SECONDS,
    SEQUENCE,
    SHIFTED_NUMBER,
    UUID,
    write_out,
)
from pumpwatch.sim.instruments import Entry, Instrument
from pumpwatch.sim.venue import Venue

CONTRACT_DIGITS = 15  # a quantity that is no whole number of these was rounded when it was stored


class ToldTrade(NamedTuple):
    """One trade; ``at_ns``: when it is told of."""

    at_ns: int
    timestamp_ns: int
    feed: str
    venue_symbol: str
    side: str
    price: str  # exact decimal text
    quantity: str  # base coins
    trade_id: str
    sequence_number: int
    kind: str | None

    def moved(self, by_ns: int) -> ToldTrade:
        """The same so much later."""
        if not by_ns:
            return self
        return self._replace(at_ns=self.at_ns + by_ns, timestamp_ns=self.timestamp_ns + by_ns)


class ToldMessage(NamedTuple):
    """Trades of one instrument that come together, oldest first.

    ``text``: as it was recorded, which wants that their times are not moved; empty: it is to be
    made anew from them.
    """

    rows: list[ToldTrade]
    text: str = ""

    @property
    def at_ns(self) -> int:
        """When it is told of."""
        return self.rows[0].at_ns


class ToldInstrument(NamedTuple):
    """What was traded."""

    feed: str
    venue_symbol: str
    base: str
    quote: str
    coin: str
    contract_value: str  # base coins of one unit on the wire


class ToldNotice(NamedTuple):
    """What a board announced; ``at_ns``: when it is there to be seen."""

    at_ns: int
    source: str
    notice_id: str
    title: str
    coin: str
    announced_ns: int
    opening_ns: int  # 0: the notice does not say


def entry_of(told: ToldTrade, instrument: Instrument, venue: Venue) -> Entry:
    """The trade as the venue counts it: contracts where it has contracts."""
    price, price_decimals = taken_apart(told.price)
    quantity, decimals = taken_apart(contracts_text(told.quantity, instrument.contract_value))
    return Entry(
        told.side == "sell", price, price_decimals, quantity, decimals,
        style=venue.kind_styles.get(told.kind or "", 0), trade_id=told.trade_id,
    )  # fmt: skip


def unit_of(told: ToldInstrument, venue: Venue) -> str:
    """Base coins of what its quantities count, before the venue's own scale is put on."""
    return "1" if venue.scales_values else told.contract_value


def contracts_text(quantity: str, contract_value: str) -> str:
    """Base coins -> units on the wire. Raises UsageError for a contract value that is none."""
    try:
        value = Decimal(contract_value)
    except ArithmeticError:
        value = Decimal(0)
    if value <= 0:
        raise UsageError(f"a contract of {contract_value!r} coins: the bundle is damaged")
    with localcontext() as context:
        context.prec = 60
        exact = Decimal(quantity) / value
        if exact * value != Decimal(quantity) or -int(exact.normalize().as_tuple().exponent) > 18:
            context.prec = CONTRACT_DIGITS
            exact = +exact
        text = format(exact, "f")
    return plain(*taken_apart(text))


def message_text(
    venue: Venue, instrument: Instrument, rows: list[ToldTrade], entries: list[Entry], dialect: str
) -> str:
    """The message that tells of these trades, oldest first; several only where the venue does so.

    It is made anew: its numbers are the recorded ones, the words around them are the simulator's.
    """
    texts = []
    for told, entry in zip(rows, entries, strict=True):
        text = venue.row_text(instrument, entry, dialect)
        text = text.replace(f'"tradeId":"{NUMBER}"', f'"tradeId":"{told.trade_id}"')
        texts.append(write_out(text, marks_of(told, numbers_matches=SEQUENCE in text)))
    if venue.flow.rows_max == 1:
        return texts[0]
    if venue.flow.newest_first:
        texts.reverse()
    prefix = write_out(
        venue.prefix_text(instrument, dialect), marks_of(rows[-1], numbers_matches=False)
    )
    return f"{prefix}{','.join(texts)}{venue.suffix}"


def marks_of(told: ToldTrade, *, numbers_matches: bool) -> dict[str, str]:
    """Every mark's text. ``numbers_matches``: the row has both an id and the matching's number."""
    ns, event_ns = told.timestamp_ns, told.timestamp_ns + EVENT_DELAY_NS
    sequence = str(told.sequence_number)
    return {
        NUMBER: told.trade_id if numbers_matches or not told.sequence_number else sequence,
        SHIFTED_NUMBER: told.trade_id, UUID: told.trade_id, SEQUENCE: sequence,
        MS: str(ns // 10**6), NS: str(ns), SECONDS: str(ns // 10**9),
        MICROS: f"{ns // 1_000 % 1_000 * 10:04d}", EVENT_MS: str(event_ns // 10**6),
        EVENT_SECONDS: str(event_ns // 10**9), EVENT_NS: str(event_ns),
    }  # fmt: skip

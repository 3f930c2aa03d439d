"""The table of instruments: rows as line protocol, and what a start reads back."""

from __future__ import annotations

from typing import Any

from pumpwatch.model import Instrument, InstrumentState
from pumpwatch.store.gap_rows import Questions
from pumpwatch.store.side_rows import side_row

LATEST_SQL = (
    "SELECT valid_from::long AS valid_from_ns, first_seen::long AS first_seen_ns, revision,"
    " exchange, market_type, venue_symbol, symbol, base, quote, coin, unit, contract_value,"
    " price_exponent, status, krw_upbit, krw_bithumb, volume_quote"
    " FROM instruments LATEST ON valid_from PARTITION BY exchange, market_type, venue_symbol"
)


def instrument_row(state: InstrumentState) -> bytes:
    """One line."""
    instrument = state.instrument
    exchange, _, market_type = instrument.feed.partition("_")
    return side_row(
        "instruments",
        {
            "exchange": exchange,
            "market_type": market_type,
            "symbol": instrument.symbol,
            "base": instrument.base,
            "quote": instrument.quote,
            "coin": instrument.coin,
            "status": instrument.status,
        },
        {
            "venue_symbol": instrument.venue_symbol,
            "unit": instrument.unit,
            "contract_value": instrument.contract_value,
            "price_exponent": instrument.price_exponent,
            "krw_upbit": instrument.krw_upbit,
            "krw_bithumb": instrument.krw_bithumb,
            "volume_quote": float(instrument.volume_quote),
            "revision": state.revision,
        },
        state.valid_from_ns,
        time_fields={"first_seen": state.first_seen_ns},
    )


def read_state(row: dict[str, Any]) -> InstrumentState:
    """A row of ``LATEST_SQL``."""
    facts = {name: value for name, value in row.items() if value is not None}
    feed = f"{facts.pop('exchange')}_{facts.pop('market_type')}"
    valid_from_ns, revision = facts.pop("valid_from_ns"), facts.pop("revision", 1)
    return InstrumentState(
        valid_from_ns=valid_from_ns,
        first_seen_ns=facts.pop("first_seen_ns", valid_from_ns),
        revision=revision,
        instrument=Instrument(feed=feed, **facts),
    )


async def read_instruments(sql: Questions) -> list[InstrumentState]:
    """The latest state of every instrument that was ever listed. Raises ServerError."""
    return [read_state(row) for row in await sql.query_dicts(LATEST_SQL)]

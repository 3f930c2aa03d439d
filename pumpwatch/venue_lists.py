"""Asks the venues' own lists of past trades for a window, and holds them against what is held."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from pumpwatch.capture.asking import PastTrades
from pumpwatch.capture.overlap import Listed, name_rows, plain, without_cut_instant
from pumpwatch.errors import VenueError
from pumpwatch.listing.evidence import RestCheck
from pumpwatch.model import Instrument
from pumpwatch.turnstile import Priority
from pumpwatch.venues.history import Span, first_request, next_request, pages_to_ask
from pumpwatch.venues.spec import FeedSpec

REQUESTS_MAX = 60  # of one walk: as many rows as a certificate's sample needs, and no more
Key = tuple[str, int, str]  # symbol, exchange time, trade id


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """What a venue showed of one instrument's window."""

    instrument: Instrument
    rows: list[Listed]
    asked_ns: int
    reaches: bool
    error: str = ""


async def ask_venue(
    rest: PastTrades, spec: FeedSpec, instrument: Instrument, from_ns: int, to_ns: int,
    asked_ns: int, *, has_api_key: bool, priority: Priority = 1.0,
) -> Shown:  # fmt: skip
    """Walk the venue's list back to ``from_ns``. A refusal is told in the answer, not raised."""
    span = Span(from_ns=from_ns, to_ns=to_ns)
    found: list[Listed] = []
    reaches = False
    try:
        for page in pages_to_ask(spec, has_api_key=has_api_key):
            request = first_request(page, instrument.venue_symbol, span)
            for _ in range(REQUESTS_MAX):
                body = await rest.get(
                    spec, page.path, request.params, page.weight, priority=priority,
                    needs_api_key=page.needs_api_key,
                )  # fmt: skip
                answer = page.read(body, instrument.venue_symbol)
                rows = name_rows(answer.trades, instrument)
                found += without_cut_instant(rows)
                reaches = reaches or any(t.exchange_ns < from_ns for t in answer.trades)
                following = next_request(request, answer)
                if following is None:
                    break
                request = following
            if reaches:
                break
    except VenueError as error:
        return Shown(instrument=instrument, rows=found, asked_ns=asked_ns, reaches=False,
                     error=str(error)[:200])  # fmt: skip
    return Shown(instrument=instrument, rows=found, asked_ns=asked_ns, reaches=reaches)


def inside(shown: Iterable[Shown], from_ns: int, to_ns: int) -> dict[Key, Listed]:
    """Rows of the window that the venue showed, each once."""
    return {
        (one.instrument.symbol, row.exchange_ns, row.trade_id): row
        for one in shown
        for row in one.rows
        if from_ns <= row.exchange_ns < to_ns
    }


def missing_of(
    listed: Mapping[Key, Listed], held: Mapping[Key, tuple[str, float, float]]
) -> list[Key]:
    """Shown rows that are not held."""
    return sorted(key for key in listed if key not in held)


def compare(
    shown: list[Shown], held: Mapping[Key, tuple[str, float, float]], from_ns: int, to_ns: int
) -> RestCheck:
    """What the lists say of rows that are held: (side, price, quantity) by key."""
    listed = inside(shown, from_ns, to_ns)
    instruments = {one.instrument.symbol: one.instrument for one in shown}
    different = sum(
        held[key] != values_of(row, instruments[key[0]])
        for key, row in listed.items()
        if key in held
    )
    return RestCheck(
        asked_ns=min((one.asked_ns for one in shown), default=0), shown=len(listed),
        missing=len(missing_of(listed, held)), different=different,
        reaches=bool(shown) and all(one.reaches for one in shown),
        error=next((one.error for one in shown if one.error), ""),
    )  # fmt: skip


def values_of(row: Listed, instrument: Instrument) -> tuple[str, float, float]:
    """Side, price and quantity as the table has them."""
    trade = row.trade
    price = plain(trade.price, exponent=instrument.price_exponent)
    return trade.side, float(price), float(plain(trade.quantity, instrument.contract_value))


def held_of(rows: Iterable[Mapping[str, Any]]) -> dict[Key, tuple[str, float, float]]:
    """Rows with times in ns, by key."""
    return {
        (row["symbol"], row["timestamp"], row["trade_id"]): (
            row["side"], row["price"], row["quantity"],
        )
        for row in rows
    }  # fmt: skip

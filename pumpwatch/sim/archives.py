"""Daily trade files as four of the venues publish them, of what was traded so far.

``GET /FEED/archive/SYMBOL/YYYY-MM-DD`` gives the UTC day's trades; ``?holes=N`` leaves out every
N-th row, ``?wrong=N`` gives every N-th another price: a file that must not be believed.
"""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime

from pumpwatch.sim.instruments import Entry, Instrument
from pumpwatch.sim.tape import Trade
from pumpwatch.sim.venue import NOT_FOUND, Answer, Request, Venue

PREFIX = "/archive/"
NS_PER_S = 10**9


def _true(flag: bool) -> str:
    return "True" if flag else "False"


def _binance(venue: Venue, one: Instrument, trade: Trade, entry: Entry) -> str:
    micros = trade.ns // 10**3 if venue.name.endswith("spot") else trade.ns // 10**6
    return (
        f"{trade.number},{entry.price_text},{entry.quantity_text},0,{micros},{_true(entry.is_sell)}"
    )


def _bybit_futures(venue: Venue, one: Instrument, trade: Trade, entry: Entry) -> str:
    trade_id = venue.trade_id(one, trade)
    seconds = f"{trade.ns // NS_PER_S}.{trade.ns % NS_PER_S // 10**5:04d}"
    return (
        f"{seconds},{one.venue_symbol},{entry.side.capitalize()},{entry.quantity_text},"
        f"{entry.price_text},PlusTick,{trade_id}"
    )


def _bybit_spot(venue: Venue, one: Instrument, trade: Trade, entry: Entry) -> str:
    return (
        f"{trade.row + 1},{trade.ns // 10**6},{entry.price_text},{entry.quantity_text},{entry.side}"
    )


def _okx(venue: Venue, one: Instrument, trade: Trade, entry: Entry) -> str:
    return (
        f"{one.venue_symbol},{trade.number},{entry.side},{entry.price_text},"
        f"{entry.quantity_text},{trade.ns // 10**6}"
    )


def _gate_spot(venue: Venue, one: Instrument, trade: Trade, entry: Entry) -> str:
    trade_id = venue.trade_id(one, trade)
    side = "1" if entry.is_sell else "2"
    stamp = f"{trade.ns // NS_PER_S}.{trade.ns % NS_PER_S // 10**3:06d}"
    return f"{stamp},{trade_id},{entry.price_text},{entry.quantity_text},{side}"


def _gate_futures(venue: Venue, one: Instrument, trade: Trade, entry: Entry) -> str:
    sign = "-" if entry.is_sell else ""
    stamp = f"{trade.ns // NS_PER_S}.{trade.ns % NS_PER_S // 10**6:03d}"
    return f"{stamp},{trade.number},{entry.price_text},{sign}{entry.quantity_text}"


Line = Callable[[Venue, Instrument, Trade, Entry], str]
# Feed: line of names ("" none), a row's line, whether the file is a zip.
FORMS: dict[str, tuple[str, Line, bool]] = {
    "binance_spot": ("", _binance, True),
    "binance_futures": ("id,price,qty,quote_qty,time,is_buyer_maker", _binance, True),
    "bybit_spot": ("id,timestamp,price,volume,side", _bybit_spot, False),
    "bybit_futures": (
        "timestamp,symbol,side,size,price,tickDirection,trdMatchID", _bybit_futures, False,
    ),
    "okx_spot": ("instrument_name,trade_id,side,price,size,created_time", _okx, True),
    "okx_futures": (
        "instrument_name/名,trade_id/号,side/向,price/价,size/量,created_time/时", _okx, True,
    ),
    "gate_spot": ("", _gate_spot, False),
    "gate_futures": ("", _gate_futures, False),
}  # fmt: skip


def archive_answer(venue: Venue, request: Request) -> Answer:
    """The file of one symbol and day; 404 where there is none."""
    symbol, _, day = request.path.removeprefix(PREFIX).partition("/")
    instrument = venue.market.by_name.get(symbol)
    form = FORMS.get(venue.name)
    if instrument is None or form is None:
        return NOT_FOUND
    holes, wrong = request.number("holes", 0), request.number("wrong", 0)
    names, line, is_zip = form
    lines = [names] if names else []
    tape = venue.market.tape
    for trade in tape.recent(instrument.index, tape.depth):
        if f"{datetime.fromtimestamp(trade.ns // NS_PER_S, UTC):%Y-%m-%d}" != day:
            continue
        if holes and trade.row % holes == 0:
            continue
        entry = trade.entry
        if wrong and trade.row % wrong == 0:
            entry = entry._replace(price=entry.price + 1)
        lines.append(line(venue, instrument, trade, entry))
    if len(lines) == bool(names):
        return NOT_FOUND
    text = "\n".join(lines).encode() + b"\n"
    return Answer(200, _zipped(text) if is_zip else gzip.compress(text), ())


def _zipped(text: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("trades.csv", text)
    return packed.getvalue()

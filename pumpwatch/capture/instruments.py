"""A feed's instruments: what its list shows, what the settings want, what a coin is called."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Set
from fnmatch import fnmatchcase
from types import MappingProxyType

import msgspec
import structlog
import trio

from pumpwatch._fast.instruments import InstrumentTable
from pumpwatch.config import FeedConfig
from pumpwatch.errors import VenueError
from pumpwatch.model import Instrument
from pumpwatch.venues.listing import approximate, decode, entries_at
from pumpwatch.venues.spec import FeedSpec, Listed, Rest, VolumeRequest

log = structlog.get_logger()


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """A whole instrument list, as far as it concerns us."""

    instruments: list[Instrument]  # to record, in the venue's order
    statuses: dict[str, str]  # of everything that is listed, by the venue's names
    requests: int = 1  # that it took


KrwCoins = tuple[Set[str] | None, Set[str] | None]  # Upbit's, Bithumb's; None: not known

NOTHING: Mapping[str, str] = MappingProxyType({})
PAGES_MAX = 100  # the longest list has a few
REASONS_SHOWN = 5
RECORDED = frozenset({"trading", "prelaunch"})
SYMBOL = re.compile(r"[^\s'\"=;,]{1,40}")  # what settings, line protocol and queries can name
WIRE_NAME = re.compile(r"[^\s'\",]{1,64}")

# 1000PEPE, 10000SATS, 1000000MOG; 1MBABYDOGE; Bybit's SHIB1000. But 1INCH and 1000X are coins.
MULTIPLIED = re.compile(r"(?P<front>10{3,})(?P<a>\D.+)|(?P<mega>1M)(?P<b>\D..+)|"
                        r"(?P<c>[A-Z]{2,})(?P<back>10{3,})")  # fmt: skip


def split_multiplier(base: str) -> tuple[str, int]:
    """The coin behind a ticker, and how many of it one unit of the ticker is."""
    found = MULTIPLIED.fullmatch(base)
    if found is None:
        return base, 1
    coin = found["a"] or found["b"] or found["c"]
    return coin, 1_000_000 if found["mega"] else int(found["front"] or found["back"])


async def fetch_listing(
    spec: FeedSpec,
    rest: Rest,
    config: FeedConfig,
    krw_coins: KrwCoins,
    *,
    is_first: bool = True,
    before: Mapping[str, str] = NOTHING,
) -> Listing:
    """The instruments that trade or will, among those that the settings want.

    ``before``: the status of all that earlier lists named. Volumes are only for choosing: without
    them the list is still good, and they are asked for with the first one only. What cannot be used
    is told then, too. Raises VenueError.
    """
    shown, refused, requests = await _fetch_list(spec, rest)
    listed = [_named(one, before, is_first=is_first) for one in shown]
    volumes = await _fetch_volumes(spec, rest) if is_first else {}
    probe = InstrumentTable(spec.exchange, spec.market_type)
    found: dict[str, Instrument] = {}
    doubles: list[str] = []
    for one in listed:
        symbol = one.base + one.quote
        if one.status not in RECORDED or one.quote not in config.quotes:
            continue
        if not any(fnmatchcase(symbol, glob) for glob in config.symbols):
            continue
        if reason := _problem(one, symbol, probe):
            refused.append(f"{one.venue_symbol}: {reason}")
            continue
        instrument = _instrument(
            spec, one, volumes.get(one.venue_symbol, one.volume_quote), krw_coins
        )
        first = found.setdefault(symbol, instrument)
        if first is not instrument:
            doubles.append(f"{symbol}: {first.venue_symbol}, {instrument.venue_symbol}")
            if first.status != "trading" and instrument.status == "trading":
                found[symbol] = instrument
    if is_first:
        _tell(spec, "instruments_refused", refused)
        _tell(spec, "symbols_listed_twice", doubles)
    return Listing(
        instruments=list(found.values()),
        statuses={one.venue_symbol: one.status for one in listed},
        requests=requests,
    )


def _named(one: Listed, before: Mapping[str, str], *, is_first: bool) -> Listed:
    """What is new in the list and does not trade yet will, whatever the venue calls that."""
    unknown = "halted" if is_first else "prelaunch"
    if one.status == "halted" and before.get(one.venue_symbol, unknown) == "prelaunch":
        return msgspec.structs.replace(one, status="prelaunch")
    return one


async def _fetch_list(spec: FeedSpec, rest: Rest) -> tuple[list[Listed], list[str], int]:
    """All pages, the entries that could not be read, and the number of pages."""
    request = spec.instruments
    listed: list[Listed] = []
    refused: list[str] = []
    cursor = ""
    for page_number in range(1, PAGES_MAX + 1):
        params = dict(request.params)
        if cursor:
            params[request.cursor_param] = cursor
        body = await rest.get(spec, request.path, params, request.weight)
        # R21: a list of several MB takes long enough to hold up every socket.
        page = await trio.to_thread.run_sync(request.read, body)
        listed += page.listed
        refused += page.refused
        cursor = page.next_cursor if request.cursor_param else ""
        if not cursor:
            return listed, refused, page_number
    raise VenueError(f"{spec.name}: the instrument list does not end after {PAGES_MAX} pages")


async def _fetch_volumes(spec: FeedSpec, rest: Rest) -> dict[str, float]:
    request = spec.volumes
    if request is None:
        return {}
    try:
        body = await rest.get(spec, request.path, request.params, request.weight)
        return await trio.to_thread.run_sync(_read_volumes, request, body, spec.name)
    except VenueError as error:
        log.warning("volumes_failed", feed=spec.name, message=str(error))
        return {}


def _read_volumes(request: VolumeRequest, body: bytes, name: str) -> dict[str, float]:
    entries = entries_at(decode(body, f"{name} volumes"), f"{name} volumes", *request.rows)
    return {
        str(entry.get(request.symbol_key)): approximate(entry, request.volume_key)
        * (approximate(entry, request.price_key) if request.price_key else 1.0)
        for entry in entries
        if isinstance(entry, dict)
    }


def _problem(one: Listed, symbol: str, probe: InstrumentTable) -> str:
    """Why it cannot be recorded; "": it can. The table itself judges contract values."""
    if not SYMBOL.fullmatch(symbol):
        return f"symbol {symbol!r} cannot be named"
    if not WIRE_NAME.fullmatch(one.venue_symbol):
        return "its name cannot be asked for"
    try:
        probe.add(one.venue_symbol, symbol, one.contract_value, one.price_exponent)
    except (ValueError, OverflowError) as error:
        return str(error)
    return ""


def _instrument(
    spec: FeedSpec, one: Listed, volume_quote: float, krw_coins: KrwCoins
) -> Instrument:
    coin, unit = split_multiplier(one.base)
    upbit, bithumb = krw_coins
    return Instrument(
        feed=spec.name,
        venue_symbol=one.venue_symbol,
        symbol=one.base + one.quote,
        base=one.base,
        quote=one.quote,
        coin=coin,
        unit=unit,
        contract_value=one.contract_value,
        price_exponent=one.price_exponent,
        status=one.status,
        krw_upbit=None if upbit is None else coin in upbit,
        krw_bithumb=None if bithumb is None else coin in bithumb,
        volume_quote=volume_quote,
    )


def _tell(spec: FeedSpec, event: str, entries: Iterable[str]) -> None:
    """One line for all of them."""
    entries = list(entries)
    if entries:
        log.warning(event, feed=spec.name, entries=len(entries), first=entries[:REASONS_SHOWN])

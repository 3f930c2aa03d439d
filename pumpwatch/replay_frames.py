"""A bundle's raw messages (frames/), and which of its rows each of them tells of.

A raw message is played back only where it tells of rows of the bundle and of nothing else, each
for the first time and at its own receive stamp: so a client gets exactly the bundle's trades.
What a second connection brought again, greetings with trades of before, answers to subscriptions
and messages cut off by the window's edge are not; rows without a message are made anew from them.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import zstandard

from pumpwatch.capture.flight_frames import RawFrame
from pumpwatch.clock import Clock
from pumpwatch.errors import BundleError
from pumpwatch.listing.bundle import FRAMES
from pumpwatch.listing_frames import ABSENT, SUFFIX
from pumpwatch.sim.exchange import VENUES
from pumpwatch.sim.settings import SimSettings
from pumpwatch.sim.told import ToldInstrument, ToldMessage, ToldTrade, contracts_text, unit_of
from pumpwatch.sim.venue import RecordedRow, Venue

# feed, venue symbol, receive and trade time, side, price, id, and where there is none, contracts
Key = tuple[str, str, int, int, str, float, str, float]


class _Line(msgspec.Struct):
    connection: int
    receive_ns: int
    text: str | None = None
    base64: str | None = None


def read_frames(place: Path) -> list[RawFrame]:
    """The bundle's raw messages by receive time; none where none were kept. Raises BundleError."""
    frames: list[RawFrame] = []
    for path in sorted((place / FRAMES).glob(f"*{SUFFIX}")):
        feed = path.name.removesuffix(SUFFIX)
        try:
            with zstandard.open(path, "rb") as file:
                frames += [_frame_of(feed, line) for line in file.read().splitlines()]
        except (OSError, zstandard.ZstdError, ValueError, msgspec.MsgspecError) as error:
            raise BundleError(
                f"{path}: {error}; `listings verify {place}` tells more, and `replay --rebuilt`"
                " does without the recorded messages"
            ) from None
    frames.sort(key=lambda frame: frame.receive_ns)  # stable: in one read as they stood there
    return frames


def _frame_of(feed: str, line: bytes) -> RawFrame:
    found = msgspec.json.decode(line, type=_Line)
    payload = (
        base64.b64decode(found.base64 or "", validate=True)
        if found.text is None
        else found.text.encode()
    )
    return RawFrame(
        feed=feed, connection=found.connection, receive_ns=found.receive_ns, payload=payload
    )


def messages_as_recorded(
    frames: Sequence[RawFrame],
    trades: Sequence[ToldTrade],
    instruments: Sequence[ToldInstrument],
    clock: Clock,
) -> list[ToldMessage]:
    """The raw messages to be played back, each with its rows as the bundle has them."""
    venues = _venues({frame.feed for frame in frames} & VENUES.keys(), clock)
    values = {
        (one.feed, one.venue_symbol): unit_of(one, venues[one.feed])
        for one in instruments
        if one.feed in venues
    }
    untold: dict[Key, list[ToldTrade]] = {}
    for trade in reversed(trades):  # so that pop() gives the first of several equal ones
        if trade.feed in venues:
            value = values.get((trade.feed, trade.venue_symbol), "1")
            untold.setdefault(_key_of(trade, venues[trade.feed], value), []).append(trade)
    found = []
    for frame in frames:
        venue = venues.get(frame.feed)
        message = None if venue is None else _told_by(frame, venue, untold)
        if message is not None:
            found.append(message)
    return found


def _venues(feeds: set[str], clock: Clock) -> dict[str, Venue]:
    settings = SimSettings(symbols=2, recorded=False)
    return {feed: VENUES[feed](settings, clock, random.Random(0)) for feed in feeds}


def _told_by(
    frame: RawFrame, venue: Venue, untold: Mapping[Key, list[ToldTrade]]
) -> ToldMessage | None:
    try:
        recorded = venue.read_recorded(frame.payload.decode())
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError):
        return None  # an answer, a greeting, something new: none of this stream's trades
    if recorded is None or not recorded.rows:
        return None
    keys = [_key_of_row(row, frame, recorded.venue_symbol, venue) for row in recorded.rows]
    taken: list[tuple[Key, ToldTrade]] = []
    for key in keys:
        if not untold.get(key):
            for again, trade in reversed(taken):
                untold[again].append(trade)
            return None
        taken.append((key, untold[key].pop()))
    return ToldMessage([trade for _, trade in taken], recorded.text)


def _key_of(trade: ToldTrade, venue: Venue, contract_value: str) -> Key:
    has_ids = venue.id_kind != "ordinal"
    return (
        trade.feed, trade.venue_symbol, trade.at_ns, trade.timestamp_ns, trade.side,
        float(trade.price), trade.trade_id if has_ids else "",
        0.0 if has_ids else float(contracts_text(trade.quantity, contract_value)),
    )  # fmt: skip


def _key_of_row(row: RecordedRow, frame: RawFrame, venue_symbol: str, venue: Venue) -> Key:
    has_ids, entry = venue.id_kind != "ordinal", row.entry
    return (
        frame.feed, venue_symbol, frame.receive_ns, row.ns, entry.side, float(entry.price_text),
        (entry.trade_id or str(row.number)) if has_ids else "",
        0.0 if has_ids else float(entry.quantity_text),
    )  # fmt: skip


def reasons_absent(place: Path) -> list[str]:
    """Of which feeds no raw messages were kept, and why, in words."""
    path = place / FRAMES / ABSENT
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[str])
    except (OSError, msgspec.MsgspecError):
        return ["the bundle holds no raw messages"]

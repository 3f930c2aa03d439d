"""One feed without a spool behind it: its rows, holes and quarantined messages can be read."""

from __future__ import annotations

import json
from collections.abc import Iterable

import trio

from pumpwatch._fast.road import VenueClock
from pumpwatch.capture.feed_state import FeedState
from pumpwatch.model import FeedName, Hole, Record
from pumpwatch.venues.spec import FeedSpec
from tests._fast.driving import binance_trade
from tests._fast.ilp_reading import read_lines
from tests.capture.specs import FixedClock, instrument
from tests.strategies import TEXT, frame


class OpenSink:
    """A RowSink that keeps what it is given; without room while ``close_gate`` says so."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self._room = trio.Event()
        self._room.set()

    def append(self, record: Record) -> None:
        self.records.append(record)

    def has_room(self) -> bool:
        return self._room.is_set()

    async def room(self) -> None:
        await self._room.wait()

    def close_gate(self) -> None:
        self._room = trio.Event()

    def open_gate(self) -> None:
        self._room.set()


class SideNotes:
    """A SideSink that keeps what went aside."""

    def __init__(self) -> None:
        self.quarantined: list[tuple[str, bytes]] = []
        self.gaps: list[tuple[str, str]] = []

    def keep(self, feed: FeedName, reason: str, raw: bytes, rows: int, detail: str = "") -> None:
        self.quarantined.append((reason, raw))

    def holes(self, feed: FeedName, holes: Iterable[Hole]) -> None:
        self.gaps += [(hole.symbol, hole.cause) for hole in holes]


class Rig:
    """A feed's state with the given symbols, in the middle of the tests' hands."""

    def __init__(self, spec: FeedSpec, symbols: list[str]) -> None:
        self.sink = OpenSink()
        self.side = SideNotes()
        self.instruments = tuple(instrument(symbol) for symbol in symbols)
        self.feed = FeedState(
            spec, 1, self.sink, self.side, FixedClock(), VenueClock(), history_ns=3600 * 10**9
        )
        self.feed.add_instruments(list(self.instruments))

    def rows(self) -> list[tuple[str, str]]:
        """Symbol and id of every row so far, in order."""
        self.feed.flush()
        return [
            (line.symbols["symbol"], str(line.fields["trade_id"]))
            for record in self.sink.records
            for line in read_lines(record.payload)
        ]


def trade_frame(number: int, symbol: str = "BTCUSDT") -> bytes:
    """A whole text frame with one trade."""
    return frame(TEXT, json.dumps(binance_trade(number, symbol=symbol)).encode())

"""One feed without a spool behind it: its rows, holes and quarantined messages can be read."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import trio

from pumpwatch._fast.road import VenueClock
from pumpwatch.capture.feed_state import FeedState
from pumpwatch.capture.ledger import Ledger
from pumpwatch.model import FeedName, Gap, InstrumentState, Record
from pumpwatch.venues.spec import FeedSpec
from tests._fast.driving import binance_trade
from tests._fast.ilp_reading import read_lines
from tests.capture.specs import WALL_S, instrument
from tests.strategies import TEXT, frame


class TrioClock:
    """Wall time that begins with the first look and goes with trio's clock, virtual or not."""

    def __init__(self) -> None:
        self._start_s: float | None = None

    def wall_ns(self) -> int:
        if not trio.lowlevel.in_trio_run():
            return WALL_S * 10**9
        if self._start_s is None:
            self._start_s = trio.current_time()
        return WALL_S * 10**9 + int((trio.current_time() - self._start_s) * 1e9)


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
        self.details: list[str] = []
        self.has_room = True  # for whole messages
        self.rows: list[Gap] = []  # every revision
        self.states: list[InstrumentState] = []

    def keep(self, feed: FeedName, reason: str, raw: bytes, rows: int, detail: str = "") -> bool:
        self.quarantined.append((reason, raw))
        self.details.append(detail)
        return self.has_room

    def gaps(self, rows: Iterable[Gap]) -> None:
        self.rows += rows

    def instruments(self, states: Iterable[InstrumentState]) -> None:
        self.states += states

    @property
    def ledger(self) -> list[Gap]:
        """The rows as the table has them, oldest first."""
        return list({row.gap_id: row for row in self.rows}.values())


class Rig:
    """A feed's state with the given symbols, in the middle of the tests' hands."""

    def __init__(self, spec: FeedSpec, symbols: list[str]) -> None:
        self.sink = OpenSink()
        self.side = SideNotes()
        self.clock = TrioClock()
        self.ledger = Ledger(self.clock.wall_ns, self.side.gaps)
        self.instruments = tuple(instrument(symbol) for symbol in symbols)
        self.feed = FeedState(
            spec, 1, self.sink, self.side, self.clock, VenueClock(), self.ledger,
            history_ns=3600 * 10**9,
        )  # fmt: skip
        self.feed.add_instruments(self.instruments)
        self.feed.want(symbols)

    def fields(self) -> list[dict[str, Any]]:
        """The other columns of every row so far, in order."""
        self.feed.flush()
        return [
            line.fields for record in self.sink.records for line in read_lines(record.payload)
        ]  # fmt: skip

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

"""One feed while it runs: its road, its connections, what goes to the spool."""

from __future__ import annotations

from typing import Any

import msgspec
import structlog

from pumpwatch._fast.ilp import RowBuffer
from pumpwatch._fast.instruments import InstrumentTable
from pumpwatch._fast.road import FeedRoad, VenueClock
from pumpwatch.clock import Clock
from pumpwatch.model import Instrument, Record, RowSink
from pumpwatch.venues.spec import FeedSpec

log = structlog.get_logger()

FLUSH_BYTES = 256 * 1024  # a record; below it the 10 ms flush takes what there is


class ConnectionState(msgspec.Struct):
    """What is shown of one connection."""

    number: int
    state: str = "new"  # new, connecting, open, closing, waiting
    wanted: int = 0
    subscribed: int = 0
    reconnects: int = 0
    messages: int = 0
    trades: int = 0
    opened_ns: int = 0
    last_received_ns: int = 0
    error: str = ""


class SideRows:
    """Takes rows of other tables than trades; daemon.py gives the one that fills the spool."""

    def quarantine(self, feed: FeedSpec, reason: str, raw: bytes, rows: int, at_ns: int) -> None:
        """A message or row that was not understood."""
        raise NotImplementedError

    def gap(self, feed: FeedSpec, symbol: str, cause: str, facts: dict[str, Any]) -> None:
        """A hole in a feed."""
        raise NotImplementedError


class FeedState:
    """The parts that all connections of a feed share, and the way from C to the spool."""

    def __init__(
        self,
        spec: FeedSpec,
        number: int,
        sink: RowSink,
        side: SideRows,
        clock: Clock,
        venue_clock: VenueClock,
        *,
        history_ns: int,
    ) -> None:
        self.spec = spec
        self.number = number
        self.instruments: dict[str, Instrument] = {}  # by venue symbol
        self.left_out: list[Instrument] = []  # wanted, but the venue's limits have no place
        self.refused: dict[str, str] = {}
        self.connections: list[ConnectionState] = []
        self.state = "starting"  # starting, running, failing, stopped
        self.error = ""
        self.rows = RowBuffer()
        self.table = InstrumentTable(spec.exchange, spec.market_type)
        self.road = FeedRoad(
            spec.parser, self.table, self.rows, venue_clock, number, history_ns
        )
        self.sink = sink
        self.side = side
        self.clock = clock

    def add_instruments(self, instruments: list[Instrument]) -> None:
        """Make instruments known to the road; numbers are given once and stay."""
        for instrument in instruments:
            self.table.add(
                instrument.venue_symbol,
                instrument.symbol,
                instrument.contract_value,
                instrument.price_exponent,
            )
            self.instruments[instrument.venue_symbol] = instrument

    def flush(self) -> int:
        """Hand the lines on as one record; returns the rows."""
        if not self.rows.rows:
            return 0
        payload, rows, received_ns = self.rows.take()
        self.sink.append(
            Record(table=1, feed=self.number, rows=rows, payload=payload, received_ns=received_ns)
        )
        return int(rows)

    def take_quarantine(self, quarantine: list[tuple[str, bytes, int]]) -> None:
        """Keep what could not be read, with its reason."""
        for reason, raw, rows in quarantine:
            self.side.quarantine(self.spec, reason, raw, rows, self.clock.wall_ns())

    def take_news(self, news: list[tuple[str, int, int, int, int, int]]) -> None:
        """Holes that the road saw become ledger rows, in front of the rows that showed them (R3)."""
        for cause, number, first, last, from_ns, to_ns in news:
            self.side.gap(
                self.spec,
                self.table.symbols[number],
                cause,
                {"first_id": first, "last_id": last, "from_ns": from_ns, "to_ns": to_ns},
            )

    @property
    def wanted(self) -> int:
        """Instruments that should be subscribed."""
        return sum(connection.wanted for connection in self.connections)

    @property
    def subscribed(self) -> int:
        """Instruments that the venue acknowledged."""
        return sum(connection.subscribed for connection in self.connections)

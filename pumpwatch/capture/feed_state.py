"""One feed while it runs: its road, its connections, what goes to the spool."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from pumpwatch._fast.ilp import RowBuffer
from pumpwatch._fast.instruments import InstrumentTable
from pumpwatch._fast.road import FeedRoad, VenueClock
from pumpwatch.clock import Clock
from pumpwatch.model import Hole, Instrument, Record, RowSink, SideSink
from pumpwatch.venues.spec import FeedSpec

if TYPE_CHECKING:
    from pumpwatch._fast.intake import News

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


class FeedState:
    """The parts that all connections of a feed share, and the way from C to the spool."""

    def __init__(
        self,
        spec: FeedSpec,
        number: int,
        sink: RowSink,
        side: SideSink,
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
        self.road = FeedRoad(spec.parser, self.table, self.rows, venue_clock, number, history_ns)
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
            self.side.keep(self.spec, reason, raw, rows)

    def take_news(self, news: list[News]) -> None:
        """Make holes that the road saw ledger rows, in front of the rows that showed them (R3)."""
        self.side.holes(
            self.spec,
            [
                Hole(
                    symbol=self.table.symbols[number],
                    cause=cause,
                    first_id=first,
                    last_id=last,
                    from_ns=from_ns,
                    to_ns=to_ns,
                )
                for cause, number, first, last, from_ns, to_ns in news
            ],
        )

    @property
    def wanted(self) -> int:
        """Instruments that should be subscribed."""
        return sum(connection.wanted for connection in self.connections)

    @property
    def subscribed(self) -> int:
        """Instruments that the venue acknowledged."""
        return sum(connection.subscribed for connection in self.connections)

"""One feed while it runs: its road, what its connections carry, what goes to the spool."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from pumpwatch._fast.ilp import RowBuffer
from pumpwatch._fast.instruments import InstrumentTable
from pumpwatch._fast.road import FeedRoad, VenueClock
from pumpwatch.capture.agreement import Agreement
from pumpwatch.capture.coverage import Coverage
from pumpwatch.capture.ledger import LATE_SUBSCRIPTION, Edge, Ledger, Position
from pumpwatch.capture.message_shape import MessageShape
from pumpwatch.capture.overlap import Listed
from pumpwatch.clock import Clock
from pumpwatch.model import Hole, Instrument, Record, RowSink, SideSink
from pumpwatch.venues.spec import FeedSpec

if TYPE_CHECKING:
    from pumpwatch._fast.intake import Intake, News
    from pumpwatch.capture.flight import FlightRecorder, Tape

FLUSH_BYTES = 256 * 1024  # a record; below it the 10 ms flush takes what there is
MALFORMED, UNKNOWN_SYMBOL = "malformed", "unknown_symbol"  # reasons of the quarantine
FIRST_TRADE_NS = 60 * 10**9  # without a row for so long, only the venue's word says that it is sent


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
    """The parts that all connections of a feed share, and the way from C to spool and ledger."""

    def __init__(
        self,
        spec: FeedSpec,
        number: int,
        sink: RowSink,
        side: SideSink,
        clock: Clock,
        venue_clock: VenueClock,
        ledger: Ledger,
        *,
        history_ns: int,
    ) -> None:
        self.spec = spec
        self.number = number
        self.instruments: dict[str, Instrument] = {}  # by venue symbol
        self.left_out: list[Instrument] = []  # wanted, but the venue's limits have no place
        self.refused: dict[str, str] = {}  # by venue symbol: why
        self.connections: list[ConnectionState] = []
        self.state = "starting"  # starting, running, failing, stopping, stopped
        self.error = ""
        self.replacements = 0  # planned ones, that went well
        self.rows = RowBuffer()
        self.table = InstrumentTable(spec.exchange, spec.market_type)
        self.road = FeedRoad(spec.parser, self.table, self.rows, venue_clock, number, history_ns)
        self.sink = sink
        self.side = side
        self.clock = clock
        self.ledger = ledger
        self.coverage = Coverage()
        self.shape = MessageShape(spec.example)  # tells what is other about unreadable messages
        self.subscribe_anew: Callable[[str], None] = lambda _: None  # who connects sets these
        self.dial_now: Callable[[], None] = lambda: None  # no pause more: the venue answers again
        self.renew: Callable[[], int] = lambda: 0  # another connection in each one's place
        self.note_mute: Callable[[str], None] = lambda _: None  # it trades, and nothing comes
        self.route = ""  # the address that is tried, where the first one is silent
        self.flight: FlightRecorder | None = None
        # Told of symbols that nothing carried before: from which moment on they are.
        self.on_carried: Callable[[FeedState, list[str], int], None] = lambda *_: None
        self.awaits_archive = False  # what REST cannot bring may stand in a daily file
        self.agreement: Agreement | None = None  # with two connections per symbol
        self.counts_up = spec.counts_up
        self._intakes: dict[int, Intake] = {}  # of open connections
        self._refused_at: dict[str, tuple[int, Edge]] = {}  # when, and where it stood
        self._last_connection = 0
        self._venue_symbols: dict[str, str] = {}  # by symbol
        # By venue symbol, oldest first: until when it was what.
        self._values: defaultdict[str, list[tuple[int, Instrument]]] = defaultdict(list)

    def add_instruments(self, instruments: Iterable[Instrument]) -> None:
        """Make instruments known to the road; numbers are given once and stay."""
        for instrument in instruments:
            self.table.add(
                instrument.venue_symbol,
                instrument.symbol,
                instrument.contract_value,
                instrument.price_exponent,
            )
            self.instruments[instrument.venue_symbol] = instrument
            self._venue_symbols[instrument.symbol] = instrument.venue_symbol

    # --- contract values (R13) --------------------------------------------------------------------

    def revalue(self, old: Instrument, new: Instrument, since_ns: int) -> None:
        """Rows count by the new value from now on; those of before ``since_ns`` by the old."""
        self.flush()
        self.add_instruments([new])
        self._values[new.venue_symbol].append((since_ns, old))

    @contextmanager
    def counted_as_of(self, exchange_ns: int) -> Iterator[None]:
        """What goes to the road now was traded then: it counts by what contracts were then."""
        counted = []
        for name, values in self._values.items():
            was = next((old for until_ns, old in values if exchange_ns < until_ns), None)
            if was is not None:
                counted.append(name)
                self._count_by(was)
        yield
        for name in counted:
            self._count_by(self.instruments[name])

    def _count_by(self, one: Instrument) -> None:
        self.table.add(one.venue_symbol, one.symbol, one.contract_value, one.price_exponent)

    # --- the way to the spool ---------------------------------------------------------------------

    def flush(self) -> int:
        """Hand the lines on as one record; returns the rows."""
        if not self.rows.rows:
            return 0
        payload, rows, received_ns = self.rows.take()
        self.sink.append(
            Record(table=1, feed=self.number, rows=rows, payload=payload, received_ns=received_ns)
        )
        return int(rows)

    def take_backfill(
        self,
        venue_symbol: str,
        rows: Iterable[Listed],
        received_ns: int,
        *,
        is_archive: bool = False,
    ) -> tuple[int, int]:
        """Send rows of a REST list, or of a daily file, after the stream's.

        Returns how many were new, and refused.

        All are on their way to the spool when this returns, their holes in front of them (R3).
        """
        new = refused = 0
        for row in rows:
            one = row.trade
            with self.counted_as_of(one.exchange_ns):
                verdict = self.road.take_backfill(
                    venue_symbol, one.side, one.price, one.quantity, one.exchange_ns, one.trade_id,
                    one.order_id, one.sequence_number, one.kind, received_ns, row.ordinal,
                    is_archive,
                )  # fmt: skip
            new += verdict == "new"
            if verdict.startswith("refused:"):
                refused += 1
                self.side.keep(self.spec, verdict.removeprefix("refused:"),
                               msgspec.json.encode(one), 1, f"REST, {venue_symbol}")  # fmt: skip
        self.take_news(self.road.take_backfill_news())
        self.flush()
        return new, refused

    def take_quarantine(self, quarantine: list[tuple[str, bytes, int]]) -> None:
        """Keep what could not be read, with its reason; somebody's trades may be missing."""
        now_ns = self.clock.wall_ns()
        for reason, raw, rows in quarantine:
            change = self.shape.change(raw, now_ns) if reason == MALFORMED else ""
            is_kept = self.side.keep(self.spec, reason, raw, rows, change)
            if reason != UNKNOWN_SYMBOL:
                self.ledger.unread(self.spec, now_ns, is_kept=is_kept)

    def take_news(self, news: list[News]) -> None:
        """Make holes that the road saw ledger rows, in front of the rows that showed them (R3)."""
        if not news:
            return
        self.ledger.jump(
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

    # --- what connections tell --------------------------------------------------------------------

    def opened(self, intake: Intake) -> int:
        """A connection begins; returns its number, which no other one ever has."""
        self._last_connection += 1
        self._intakes[self._last_connection] = intake
        intake.emptied(self.clock.wall_ns())
        if self.agreement is not None:
            intake.begin_tally()
        return self._last_connection

    def open_tape(self) -> Tape | None:
        """Where a new connection's bytes are kept for some minutes, if they are."""
        return None if self.flight is None else self.flight.begin(self.spec.name)

    def carried(self, connection: int, venue_symbols: Iterable[str]) -> None:
        """The venue sends these from now on."""
        venue_symbols = list(venue_symbols)
        now_ns = self.clock.wall_ns()
        for name in venue_symbols:
            # Not to be had a moment ago, taken now: it may have begun to trade in between. Where it
            # stood then, not now: its first rows may be here before the venue's word.
            stood = self._refused_at.pop(name, None)
            if stood is not None and not self.coverage.carriers(name):
                refused_ns, edge = stood
                self.ledger.cut(self.spec, [edge], cause=LATE_SUBSCRIPTION, alive_ns=refused_ns)
            self.refused.pop(name, None)
        fresh = self.coverage.carry(connection, venue_symbols, now_ns)
        if self.agreement is not None:
            numbers = map(self.table.number, venue_symbols)
            self.agreement.carry(connection, {one: now_ns for one in numbers if one is not None})
        self.ledger.bound(self.spec, self._symbols(fresh), now_ns)
        self.on_carried(self, fresh, now_ns)

    def expect_refusal(self, venue_symbols: Iterable[str], at_ns: int) -> None:
        """These did not trade at ``at_ns``, and the venue refuses them until they do.

        One that trades by the time it is asked for is taken at once, and was missed since.
        """
        for name in venue_symbols:
            self._refused_at.setdefault(name, (at_ns, self.edge(name)))

    def refuse(self, venue_symbol: str, reason: str) -> bool:
        """The venue will not send it; returns whether that is news."""
        is_news = self.refused.get(venue_symbol) != reason
        self.refused[venue_symbol] = reason
        self._refused_at[venue_symbol] = self.clock.wall_ns(), self.edge(venue_symbol)
        if venue_symbol in self.coverage.wanted and not self.coverage.carriers(venue_symbol):
            self._cut([venue_symbol], "refused", self.clock.wall_ns())
        return is_news

    def ended(self, connection: int, cause: str) -> None:
        """It is gone; what it alone carried is a hole from now on, unless all of us end."""
        intake = self._intakes.pop(connection)
        self.coverage.read(connection, intake.read_to_ns)
        orphans = self.coverage.end(connection)
        if self.agreement is not None:
            self.agreement.end(connection)
        if self.state != "stopping":
            self._cut(orphans, cause, intake.read_to_ns)

    def pause(self) -> None:
        """All connections were closed on purpose: a hole of every symbol until it is resumed."""
        self._cut(sorted(self.coverage.wanted), "paused", self.clock.wall_ns())

    def doubt(self, connection: int, venue_symbols: Iterable[str]) -> None:
        """Nothing of these came although it should have."""
        intake = self._intakes[connection]
        orphans = self.coverage.doubt(connection, venue_symbols)
        self._cut(orphans, "handover", intake.read_to_ns)

    def want(self, venue_symbols: Iterable[str]) -> None:
        """These should be carried."""
        self.coverage.wanted.update(venue_symbols)

    def unwant(self, venue_symbols: Iterable[str]) -> None:
        """These are gone: no hole of theirs can grow any more."""
        venue_symbols = list(venue_symbols)
        self.coverage.wanted.difference_update(venue_symbols)
        for name in venue_symbols:
            self.refused.pop(name, None)
            self._refused_at.pop(name, None)
        self.ledger.bound(self.spec, self._symbols(venue_symbols), self.clock.wall_ns())

    def _cut(self, venue_symbols: Iterable[str], cause: str, alive_ns: int) -> None:
        edges = [self.edge(name) for name in venue_symbols]
        self.ledger.cut(self.spec, edges, cause=cause, alive_ns=alive_ns)

    def edge(self, venue_symbol: str) -> Edge:
        """Where a symbol stands."""
        number = self.table.number(venue_symbol)
        assert number is not None
        _, seen_to, last_ns, _ = self.table.position(number)
        next_id = seen_to + 1 if seen_to and self.counts_up else 0
        return Edge(self.table.symbols[number], last_ns, next_id)

    def _symbols(self, venue_symbols: Iterable[str]) -> list[str]:
        return [self.instruments[name].symbol for name in venue_symbols]

    def alive_ns(self) -> int:
        """Until when all is read that venues sent on open connections (our clock); 0: not known."""
        return min((one.read_to_ns for one in self._intakes.values()), default=0)

    # --- over a restart ---------------------------------------------------------------------------

    def resume(self, position_of: Callable[[str], Position | None], alive_ns: int) -> None:
        """Go on where an earlier run stood, by symbol; until now is a hole of each of them.

        Before anything is connected. ``alive_ns``: until then the earlier run is known to have read
        what came (our clock).
        """
        edges = []
        for name, instrument in self.instruments.items():
            position = position_of(instrument.symbol)
            if position is not None:
                self.table.restore(name, *position)
                edges.append(self.edge(name))
        self.ledger.cut(self.spec, edges, cause="restart", alive_ns=alive_ns)

    def adopt(self, instrument: Instrument, position: Position | None) -> None:
        """Know an instrument of which a hole is open, though no list shows it any more.

        Its hole cannot grow, and the venue can be asked for it; what it refuses is lost.
        """
        self.add_instruments([msgspec.structs.replace(instrument, status="ended")])
        if position is not None:
            self.table.restore(instrument.venue_symbol, *position)
        self.ledger.bound(self.spec, [instrument.symbol], self.clock.wall_ns())

    def reconcile(self) -> None:
        """Once the ledger of earlier runs is loaded: every missing id has a row.

        What was cut in an earlier run may be carried again already.
        """
        for name, instrument in self.instruments.items():
            if since_ns := self.coverage.since_ns(name):
                self.ledger.bound(self.spec, [instrument.symbol], since_ns)
        for name, _, _, _, missing in self.table.positions():
            number = self.table.number(name)
            assert number is not None
            for first, last in self.ledger.reconcile(
                self.spec, self.table.symbols[number], missing
            ):
                self.table.forget(number, first, last)

    # --- once a second ----------------------------------------------------------------------------

    def look(self) -> None:
        """Close what ids prove closed, believe what came, compare connections."""
        self.flush()  # a closing row goes behind the rows that it speaks of
        self.ledger.look(self.spec.name, self.position)
        for connection, intake in self._intakes.items():
            self.coverage.read(connection, intake.read_to_ns)
            came = [name for name in self.coverage.doubted(connection) if self._heard(intake, name)]
            if came:
                self.carried(connection, came)
        if self.agreement is not None:
            self.agreement.compare(self._intakes, self.clock.wall_ns())

    def venue_symbol(self, symbol: str) -> str | None:
        """The symbol's name on the wire; None: it is not among the instruments."""
        return self._venue_symbols.get(symbol)

    def position(self, symbol: str) -> Position | None:
        """What was seen of a symbol; None: it is not among the instruments."""
        number = self.table.number(self._venue_symbols.get(symbol, ""))
        return None if number is None else self.table.position(number)

    def heard_ns(self, venue_symbol: str) -> int:
        """When a row of it last came on a stream that is open (our clock); 0: none did."""
        number = self.table.number(venue_symbol)
        if number is None:
            return 0
        return max((one.heard_ns(number) for one in self._intakes.values()), default=0)

    def _heard(self, intake: Intake, venue_symbol: str, since_ns: int = 1) -> bool:
        number = self.table.number(venue_symbol)
        return number is not None and intake.heard_ns(number) >= since_ns

    def unheard(self) -> list[str]:
        """Symbols that are subscribed for a while, and no row ever came: silent, or mute."""
        latest_ns = self.clock.wall_ns() - FIRST_TRADE_NS
        intakes = list(self._intakes.values())
        return [
            name
            for name in sorted(self.coverage.wanted)
            if 0 < self.coverage.since_ns(name) <= latest_ns
            and not any(self._heard(intake, name) for intake in intakes)
        ]

    @property
    def wanted(self) -> int:
        """Instruments that should be subscribed."""
        return len(self.coverage.wanted)

    @property
    def subscribed(self) -> int:
        """Instruments that the venue sends us."""
        return self.coverage.subscribed

"""One feed with its real road, memory and ledger, and a venue that shows its past trades."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from pumpwatch._fast.intake import Intake
from pumpwatch._fast.recent import Recent
from pumpwatch._fast.road import VenueClock
from pumpwatch.capture.backfill import FeedBackfill
from pumpwatch.capture.feed_state import FeedState
from pumpwatch.capture.ledger import Ledger
from pumpwatch.capture.overlap import Held
from pumpwatch.errors import VenueError
from pumpwatch.model import Gap, Instrument
from pumpwatch.turnstile import Priority
from pumpwatch.venues import FEEDS_BY_NAME
from pumpwatch.venues.spec import FeedSpec, RestPage
from tests._fast.driving import NOW_NS, SECOND_NS, as_bytes
from tests._fast.ilp_reading import Line, read_lines
from tests.capture.rig import OpenSink, SideNotes
from tests.strategies import TEXT, frame
from tests.venues.rest_forms import FORMS, Form, Made

FORMS_BY_FEED = {form.feed: form for form in FORMS}
SYMBOL = "COINUSDT"
PING = frame(0x89, b"")


@dataclass
class SetClock:
    """A clock that tests move."""

    now_ns: int = NOW_NS

    def wall_ns(self) -> int:
        return self.now_ns


@dataclass
class Venue:
    """Shows past trades as the parameters ask, at most so many; what was asked is in ``asked``."""

    form: Form
    spec: FeedSpec
    trades: list[Made] = field(default_factory=list)  # oldest first
    rows_max: int = 1000
    asked: list[Mapping[str, str]] = field(default_factory=list)
    priorities: list[Priority] = field(default_factory=list)
    fails: list[VenueError] = field(default_factory=list)  # answers instead, one each
    on_ask: Callable[[], None] = lambda: None  # what happens while an answer is under way

    async def get(
        self,
        source: FeedSpec,
        path: str,
        params: Mapping[str, str] | None = None,
        weight: float = 1,
        *,
        priority: Priority = 0.0,
        needs_api_key: bool = False,
    ) -> bytes:
        assert source is self.spec
        assert params is not None
        self.asked.append(params)
        self.priorities.append(priority)
        if self.fails:
            raise self.fails.pop(0)
        shown = self._shown(params)
        self.on_ask()
        return self.form.rest(self.form.venue_symbol, shown).encode()

    def _shown(self, params: Mapping[str, str]) -> Sequence[Made]:
        if "fromId" in params:
            first = int(params["fromId"])
            return [one for one in self.trades if one.number >= first][: self.rows_max]
        if "after" in params:
            below = int(params["after"])
            return [one for one in self.trades if one.number < below][-self.rows_max :]
        trades = self.trades
        if "to" in params:
            low_ns = int(params.get("from", 0)) * SECOND_NS
            high_ns = (int(params["to"]) + 1) * SECOND_NS
            trades = [one for one in trades if low_ns <= one.ns < high_ns]
        skip = (int(params.get("page", 1)) - 1) * self.rows_max + int(params.get("offset", 0))
        return trades[: len(trades) - skip][-self.rows_max :] if skip < len(trades) else []


def shortened(spec: FeedSpec, rows_max: int) -> FeedSpec:
    """The feed with lists of at most so many rows."""

    def short(page: RestPage | None) -> RestPage | None:
        return None if page is None else msgspec.structs.replace(page, rows_max=rows_max)

    return msgspec.structs.replace(spec, recent=short(spec.recent), history=short(spec.history))


class InMemory:
    """What is held, where memory reaches back to the beginning."""

    def __init__(self) -> None:
        self.looked_back_to_ns: list[int] = []  # each question for rows
        self.handed_out_rows: list[int] = []

    def recent(
        self,
        feed: FeedState,
        venue_symbol: str,
        from_ns: int,
        to_ns: int,
        ids: Iterable[str] | None = None,
    ) -> list[Held]:
        self.looked_back_to_ns.append(from_ns)
        number = feed.table.number(venue_symbol)
        assert feed.road.recent is not None
        assert number is not None
        window = feed.road.recent.window(feed.number, number, from_ns, to_ns + 1)
        rows = window.rows_of(ids)
        self.handed_out_rows.append(len(rows))
        return [Held(at, name, origin == 0, received) for at, name, origin, received in rows]

    def given_up_ns(self, feed: FeedState, venue_symbol: str) -> int:
        number = feed.table.number(venue_symbol)
        assert feed.road.recent is not None
        assert number is not None
        return feed.road.recent.given_up_ns(feed.number, number)

    async def older(
        self, feed: FeedState, venue_symbol: str, from_ns: int, to_ns: int
    ) -> list[Held]:
        return []


class Desk:
    """Everything between the wire and the spool for one symbol of one feed."""

    def __init__(
        self,
        form: Form,
        *,
        rows_max: int = 1000,
        has_api_key: bool = False,
        known: Sequence[Gap] = (),
    ) -> None:
        """``known``: holes that an earlier run left open."""
        self.form = form
        self.spec = shortened(FEEDS_BY_NAME[form.feed], rows_max)
        self.clock = SetClock()
        self.sink, self.side = OpenSink(), SideNotes()
        self.ledger = Ledger(self.clock.wall_ns, self.side.gaps)
        self.feed = FeedState(
            self.spec, 1, self.sink, self.side, self.clock, VenueClock(), self.ledger,
            history_ns=86_400 * SECOND_NS,
        )  # fmt: skip
        self.feed.add_instruments([self.instrument()])
        self.feed.want([form.venue_symbol])
        self.recent = Recent(16 << 20, 86_400.0)
        self.feed.road.recent = self.recent
        self.venue = Venue(form, self.spec, rows_max=rows_max)
        self.held = InMemory()
        self.backfill = FeedBackfill(self.feed, self.venue, self.held, has_api_key=has_api_key)
        self.ledger.load(known)

    def instrument(self, **changes: Any) -> Instrument:
        facts: dict[str, Any] = {
            "feed": self.form.feed, "venue_symbol": self.form.venue_symbol, "symbol": SYMBOL,
            "base": "COIN", "quote": "USDT", "coin": "COIN",
            "contract_value": self.form.contract_value,
            "price_exponent": self.form.price_exponent,
        }  # fmt: skip
        return Instrument(**(facts | changes))

    # --- the stream -------------------------------------------------------------------------------

    def connect(self, *, at_ns: int | None = None) -> None:
        """A new connection on which the symbol is taken at once."""
        if at_ns is not None:
            self.clock.now_ns = at_ns
        self.intake = Intake(self.feed.road)
        self.connection = self.feed.opened(self.intake)
        assert self.intake.feed(PING, self.clock.now_ns) == PING  # the connection is read
        self.feed.carried(self.connection, [self.form.venue_symbol])

    def cut(self, *, at_ns: int | None = None) -> None:
        """The connection is gone."""
        if at_ns is not None:
            self.clock.now_ns = at_ns
        self.feed.ended(self.connection, "cut")

    def idle(self, *, until_ns: int) -> None:
        """Nothing comes until then but a ping, behind which the socket is empty."""
        self.clock.now_ns = until_ns
        assert self.intake.feed(PING, until_ns) == PING
        self.intake.emptied(until_ns)
        self.feed.look()

    def hear(self, trades: Sequence[Made], *, tell: bool = True) -> None:
        """The stream brings these, each when it happens; ``tell``: the venue knows of them too."""
        for one in trades:
            self.clock.now_ns = max(self.clock.now_ns, one.ns)
            for message in self.form.messages(self.form.venue_symbol, [one]):
                text = frame(TEXT, as_bytes(message))
                assert self.intake.feed(text, self.clock.now_ns) == b""
            self.feed.take_news(self.intake.take_news())
        if tell:
            self.venue.trades += trades

    # --- what became of it ------------------------------------------------------------------------

    def lines(self) -> list[Line]:
        """Every row so far, as it went to the spool."""
        self.feed.flush()
        return [line for one in self.sink.records for line in read_lines(one.payload)]

    def stored(self) -> set[tuple[int, str]]:
        """Keys of the table."""
        return {(line.timestamp_ns, str(line.fields["trade_id"])) for line in self.lines()}

    @property
    def holes(self) -> list[Gap]:
        return self.side.ledger

    async def mend(self, *, looks_max: int = 40) -> None:
        """Look as backfill does, time passing, until nothing is open."""
        for _ in range(looks_max):
            self.feed.look()
            if not self.ledger.open_gaps():
                return
            self.clock.now_ns += 3 * SECOND_NS
            for gap in self.backfill.due():
                if self.ledger.find(gap.gap_id) is not None:
                    await self.backfill.look(gap, 1.0)
        self.feed.look()

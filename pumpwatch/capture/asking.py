"""A feed's lists of past trades: asked for within its budget, read, and sent after the stream."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Protocol

import msgspec
import structlog

from pumpwatch.capture.feed_state import FeedState
from pumpwatch.capture.overlap import Held, Listed
from pumpwatch.errors import VenueError
from pumpwatch.turnstile import Priority
from pumpwatch.venues.history import Request, pages_to_ask
from pumpwatch.venues.spec import FeedSpec, Params, TradePage

log = structlog.get_logger()


class PastTrades(Protocol):
    """The REST client, as far as past trades need it."""

    async def get(
        self,
        source: FeedSpec,
        path: str,
        params: Params | None = None,
        weight: float = 1,
        *,
        priority: Priority = 0.0,
        needs_api_key: bool = False,
    ) -> bytes:
        """The body of an answer. Raises VenueError."""
        ...


class HeldRows(Protocol):
    """What is held of a symbol, by its name on the wire, in a span of exchange time."""

    def recent(
        self,
        feed: FeedState,
        venue_symbol: str,
        from_ns: int,
        to_ns: int,
        ids: Iterable[str] | None = None,
    ) -> list[Held]:
        """Rows in memory, or those of some ids: in a pump others are a hundred times as many."""
        ...

    def given_up_ns(self, feed: FeedState, venue_symbol: str) -> int:
        """What came and has a later exchange time is in memory: it is bounded, and gives up."""
        ...

    async def older(
        self, feed: FeedState, venue_symbol: str, from_ns: int, to_ns: int
    ) -> list[Held]:
        """Rows of the table, where memory does not reach back so far. Raises ServerError."""
        ...


class Tally(msgspec.Struct):
    """What was done for one feed since the start."""

    asked: int = 0  # requests
    failed: int = 0  # of them, without an answer that could be read
    rows: int = 0  # new ones
    times_apart: int = 0  # R4: rows whose time in REST is not the stream's
    closed: Counter[str] = msgspec.field(default_factory=Counter)  # holes, by result


class Progress(msgspec.Struct):
    """What was learned of one hole that its row does not tell."""

    tries: int = 0
    failures: int = 0  # in a row
    refusals: int = 0  # lasting ones, in a row
    rows: int = 0  # that REST brought
    reached_ns: int = 0  # until here a look before has settled it,
    reached_id: str = ""  # up to this row
    beyond: list[tuple[int, int]] = msgspec.field(default_factory=list)  # what no look reached
    shown_id: int = 0  # the highest id of it that REST showed
    quiet: object = None  # what the last look saw, if it came late enough


class Asker:
    """Asks for one feed's past trades."""

    def __init__(
        self,
        feed: FeedState,
        rest: PastTrades,
        held: HeldRows,
        *,
        has_api_key: bool,
        rows_per_s: Callable[[str], float],
    ) -> None:
        """``rows_per_s``: of a symbol by its name on the wire, before anything went wrong."""
        self.feed = feed
        self.held = held
        self.tally = Tally()
        self.rows_per_s = rows_per_s
        self.pages = pages_to_ask(feed.spec, has_api_key=has_api_key)
        self._rest = rest

    @property
    def is_latest_only(self) -> bool:
        """Whether the venue shows only its newest rows: every second counts."""
        return not any(page.from_id_param or page.from_s_param for page in self.pages)

    @property
    def depth_rows(self) -> int:
        """So far back it shows them then."""
        return max(page.rows_max for page in self.pages)

    @property
    def reach(self) -> str:
        """Why something is lost, in words."""
        if self.is_latest_only:
            return f"the venue shows its latest {self.depth_rows} trades"
        return "the venue shows no trades so old"

    async def ask(self, request: Request, priority: Priority) -> tuple[TradePage, int]:
        """One answer, and when it was whole (our clock). Raises VenueError."""
        page, spec = request.page, self.feed.spec
        self.tally.asked += 1
        try:
            body = await self._rest.get(
                spec, page.path, request.params, page.weight,
                priority=priority, needs_api_key=page.needs_api_key,
            )  # fmt: skip
            received_ns = self.feed.clock.wall_ns()
            answer = page.read(body, request.venue_symbol)
        except VenueError:
            self.tally.failed += 1
            raise
        for reason in answer.refused:
            self.feed.side.keep(spec, "malformed", reason.encode(), 0, f"REST, {page.path}")
        return answer, received_ns

    def take(self, venue_symbol: str, rows: Iterable[Listed], received_ns: int) -> tuple[int, int]:
        """Send rows after the stream's; returns how many were new, and refused."""
        new, refused = self.feed.take_backfill(venue_symbol, rows, received_ns)
        self.tally.rows += new
        return new, refused

    def note_times(self, apart: int, venue_symbol: str) -> None:
        """Rows of one id had two times (R4)."""
        if not apart:
            return
        if not self.tally.times_apart:
            log.error("rest_times_differ", feed=self.feed.spec.name, symbol=venue_symbol,
                      rows=apart, message="the venue's lists have other times than its stream:"
                      " rows of this feed are told apart by their ids only")  # fmt: skip
        self.tally.times_apart += apart

    def close_lost(
        self, gap_id: str, reason: str, ids: tuple[int, int] | None = None, estimate: int = -1
    ) -> None:
        """REST cannot bring it: a file of the venue may, else nobody can."""
        if self.feed.awaits_archive:
            self.feed.ledger.await_archive(gap_id, reason, ids, estimate)
            return
        self.feed.ledger.lost(gap_id, reason, ids, estimate)
        self.tally.closed["lost"] += 1

"""What earlier runs left: the ledger, the instruments, where each symbol stood.

The tables are read once what the spool held is applied: before that they show an older state than
was already promised (R3). Capture does not wait for it long; the ledger takes it in whenever it
comes.
"""

from __future__ import annotations

from collections.abc import Mapping

import structlog
import trio

from pumpwatch.capture.feed_state import FeedState
from pumpwatch.capture.ledger import ANY_SYMBOL, RESTART, SPOOL_DAMAGE, Edge, Ledger, Position
from pumpwatch.errors import PumpWatchError
from pumpwatch.model import Gap, InstrumentState
from pumpwatch.store.gap_rows import Questions, read_needed_gaps
from pumpwatch.store.instrument_rows import read_instruments
from pumpwatch.store.progress import TableProgress
from pumpwatch.store.spool_files import START, Cursor
from pumpwatch.store.spool_positions import Standings

log = structlog.get_logger()

POLL_S = 0.1
RETRY_S = 2.0
NEEDED = ("feed_gaps", "instruments")
# Where the spool does not say where symbols stood, their newest rows in the table are all there is.
# From before this run: what came since is behind the hole.
NEWEST_SQL = (
    "SELECT max(timestamp)::long AS newest_ns FROM trades"
    " WHERE timestamp < cast(%s AS TIMESTAMP_NS)"
)
STORED_SQL = (
    "SELECT exchange, market_type, symbol, max(timestamp)::long AS last_ns FROM trades"
    " WHERE timestamp >= cast(%s AS TIMESTAMP_NS) AND timestamp < cast(%s AS TIMESTAMP_NS)"
)
ENDLESS_NS = 2**62
STORED_NS = 3600 * 10**9  # so far back before the newest row of all
UNNAMED = "the venue lists it no more, and nothing tells by which name it can be asked for"
UNREADABLE = "the spool's records could not be read: what they alone held is gone"


class Past:
    """Reads it, and gives it to who goes on from there."""

    def __init__(
        self,
        sql: Questions,
        tables: Mapping[str, TableProgress],
        ends: Mapping[int, Cursor],
        ledger: Ledger,
        *,
        standings: Standings,
    ) -> None:
        """``ends``: behind the last record of each table that the spool held at the start.

        ``standings`` is what the spool's records told then (R3).
        """
        self._sql = sql
        self._needed = [(tables[name], ends.get(tables[name].number, START)) for name in NEEDED]
        self._ledger = ledger
        self._positions = standings.positions
        self._alive_ns_by_feed = dict(standings.alive_ns_by_feed)
        self._is_lost = standings.is_lost
        self._states: list[InstrumentState] = []
        self._resumed: list[FeedState] = []
        self._stored_ns: dict[tuple[str, str], int] = {}  # newest rows, where they are needed
        self._is_known = trio.Event()

    async def run(self) -> None:
        """Read as soon as it can be read; once."""
        while not self._is_known.is_set():
            while not self._is_replayed():  # noqa: ASYNC110 - progress is polled by design
                await trio.sleep(POLL_S)
            try:
                gaps = await read_needed_gaps(self._sql)
                self._states = await read_instruments(self._sql)
                anybodys = [gap for gap in [*gaps, *self._ledger.open_gaps()] if _is_of_any(gap)]
                if self._is_lost or anybodys:
                    before_ns = min((gap.opened_ns for gap in anybodys), default=ENDLESS_NS)
                    self._stored_ns = await self._read_stored(before_ns)
            except PumpWatchError as error:
                log.warning("past_not_read", message=str(error))
                await trio.sleep(RETRY_S)
                continue
            self._ledger.load(gaps)
            self._is_known.set()
            log.info("past_read", gaps=sum(gap.is_open for gap in gaps),
                     instruments=len(self._states))  # fmt: skip
            for feed in self._resumed:
                self._settle(feed)
                feed.reconcile()

    def _is_replayed(self) -> bool:
        return all(table.applied >= end for table, end in self._needed)

    async def known(self, timeout_s: float) -> None:
        """Wait for it, at most so long."""
        with trio.move_on_after(timeout_s):
            await self._is_known.wait()

    def instruments_of(self, feed: str) -> list[InstrumentState]:
        """What is known of a feed's instruments; [] while nothing was read."""
        return [state for state in self._states if state.instrument.feed == feed]

    def _stood(self, feed: int, symbol: str) -> Position | None:
        found = self._positions.get(feed, symbol)
        return found and (found.seen_from, found.seen_to, found.last_ns, found.missing)

    def resume(self, feed: FeedState) -> None:
        """A feed knows its instruments: let it go on where it stood, once in a run."""
        if feed in self._resumed:
            return  # it was paused: it knows better by now
        alive_ns = self._alive_ns_by_feed.get(feed.number, 0)
        feed.resume(lambda symbol: self._stood(feed.number, symbol), alive_ns)
        if self._is_lost:
            self._ledger.suspect(
                feed.spec, ANY_SYMBOL, SPOOL_DAMAGE, alive_ns, feed.clock.wall_ns(),
                "where the symbols stood could not be read",
            )  # fmt: skip
        self._resumed.append(feed)
        if self._ledger.is_loaded:
            self._settle(feed)
            feed.reconcile()

    # --- holes that nobody could ask about --------------------------------------------------------

    async def _read_stored(self, before_ns: int) -> dict[tuple[str, str], int]:
        """The newest row of each symbol that traded in the hour before, by feed and symbol."""
        newest = await self._sql.query_dicts(NEWEST_SQL, [before_ns])
        from_ns = max(0, (newest[0]["newest_ns"] or 0) - STORED_NS)
        rows = await self._sql.query_dicts(STORED_SQL, [from_ns, before_ns])
        return {
            (f"{row['exchange']}_{row['market_type']}", row["symbol"]): row["last_ns"]
            for row in rows
        }

    def _settle(self, feed: FeedState) -> None:
        """Each open hole is one symbol's, and that symbol can be asked about; or it is lost."""
        name = feed.spec.name
        for gap in self._ledger.open_gaps(name):
            if _is_of_any(gap):
                self._part(feed, gap)
        for gap in self._ledger.open_gaps(name):
            is_known = feed.venue_symbol(gap.symbol) is not None
            if gap.symbol != ANY_SYMBOL and not is_known:
                self._adopt(feed, gap)

    def _part(self, feed: FeedState, gap: Gap) -> None:
        """What passed since the newest row can be asked for, symbol by symbol; the rest is lost."""
        edges = [
            Edge(symbol, last_ns)
            for (name, symbol), last_ns in sorted(self._stored_ns.items())
            if name == feed.spec.name and self._stood(feed.number, symbol) is None
        ]
        self._ledger.cut(feed.spec, edges, cause=RESTART)
        self._ledger.lost(gap.gap_id, UNREADABLE)

    def _adopt(self, feed: FeedState, gap: Gap) -> None:
        """Listed no more, or excluded by the settings: known from before, if at all."""
        for state in self.instruments_of(feed.spec.name):
            if state.instrument.symbol == gap.symbol:
                feed.adopt(state.instrument, self._stood(feed.number, gap.symbol))
                return
        self._ledger.lost(gap.gap_id, UNNAMED)


def _is_of_any(gap: Gap) -> bool:
    """Damage of which nobody knows whose rows it took."""
    return gap.is_open and gap.symbol == ANY_SYMBOL and gap.cause == SPOOL_DAMAGE

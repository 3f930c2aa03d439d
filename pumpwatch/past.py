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
from pumpwatch.capture.ledger import ANY_SYMBOL, Ledger, Position
from pumpwatch.errors import PumpWatchError
from pumpwatch.model import InstrumentState
from pumpwatch.spool_damage import CAUSE
from pumpwatch.store.gap_rows import Questions, read_needed_gaps
from pumpwatch.store.instrument_rows import read_instruments
from pumpwatch.store.progress import TableProgress
from pumpwatch.store.spool_files import START, Cursor
from pumpwatch.store.spool_positions import Standings

log = structlog.get_logger()

POLL_S = 0.1
RETRY_S = 2.0
NEEDED = ("feed_gaps", "instruments")


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
        self._is_known = trio.Event()

    async def run(self) -> None:
        """Read as soon as it can be read; once."""
        while not self._is_known.is_set():
            while not self._is_replayed():  # noqa: ASYNC110 - progress is polled by design
                await trio.sleep(POLL_S)
            try:
                gaps = await read_needed_gaps(self._sql)
                self._states = await read_instruments(self._sql)
            except PumpWatchError as error:
                log.warning("past_not_read", message=str(error))
                await trio.sleep(RETRY_S)
                continue
            self._ledger.load(gaps)
            self._is_known.set()
            log.info("past_read", gaps=sum(gap.is_open for gap in gaps),
                     instruments=len(self._states))  # fmt: skip
            for feed in self._resumed:
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
                feed.spec, ANY_SYMBOL, CAUSE, alive_ns, feed.clock.wall_ns(),
                "where the symbols stood could not be read",
            )  # fmt: skip
        self._resumed.append(feed)
        if self._ledger.is_loaded:
            feed.reconcile()

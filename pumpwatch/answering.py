"""Where questions meet the rest of the daemon: memory, table, ledger, instruments."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
import trio

from pumpwatch.capture.feed_state import FeedState
from pumpwatch.capture.flight import BUFFERED_SHARE_MAX, LOOP_LAG_S_MAX, FlightRecorder
from pumpwatch.errors import ServerError
from pumpwatch.hour import Hour
from pumpwatch.model import Gap
from pumpwatch.past import Past
from pumpwatch.standing import HourStanding
from pumpwatch.store.schema import TABLES
from pumpwatch.store.segment import MIB
from pumpwatch.store.server import ServerAddress
from pumpwatch.store.spool_files import START, Cursor
from pumpwatch.store.sql import Sql
from pumpwatch.store.under_way import UnderWay
from pumpwatch.store.window_check import WindowCheck
from pumpwatch.store.window_instruments import InstrumentIndex
from pumpwatch.store.window_reader import Windows

if TYPE_CHECKING:
    from pumpwatch.daemon import Daemon

log = structlog.get_logger()

POLL_S = 0.2
LATE_NS = 5 * 10**9  # a row may be so long on its way, and clocks so far apart
QUERY_S_MAX = 8.0
QUERIES_MAX = 2  # at the same time: the database has rows to apply
WAIT_S_MAX = 600.0  # for what an earlier run left; then the hour is not read back


class Answering:
    """The memory hour and the one reader of windows; ``windows`` answers once ``run`` runs."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._started_ns = daemon.clock.wall_ns()
        memory = daemon.config.memory
        self.hour = Hour(
            daemon.clock, max_mib=daemon.memory.hour_mib, window_s=memory.window_s
        )  # fmt: skip
        self.flight = FlightRecorder(
            daemon.config.data_dir / "flight", daemon.clock,
            minutes=daemon.config.flight.minutes, disk_max_mib=daemon.config.flight.disk_max_mib,
            is_busy=self._is_busy,
        )  # fmt: skip
        self.index = InstrumentIndex()
        self.check: WindowCheck | None = None
        self.left: Cursor | None = None  # behind what an earlier run left of trades in the spool
        self._brought = UnderWay()
        self._sql = _LateSql()
        self._windows: Windows | None = None
        daemon.side.on_instruments = self.index.update

    def attach(self, feeds: Iterable[FeedState]) -> None:
        """Let these feeds fill the hour, and their connections the flight recorder."""
        feeds = list(feeds)
        self.hour.attach(feeds)
        for feed in feeds:
            feed.flight = self.flight

    def _is_busy(self) -> str:
        """What goes before the flight recorder; empty: nothing."""
        daemon = self._daemon
        if daemon.seat.standing.process.loop_lag_s > LOOP_LAG_S_MAX:
            return f"the event loop is more than {LOOP_LAG_S_MAX:g} s late"
        if (
            daemon.spool.buffered_bytes
            > BUFFERED_SHARE_MAX * daemon.config.spool.buffer_max_mib * MIB
        ):
            return f"the spool's buffers are filled by more than {BUFFERED_SHARE_MAX:.0%}"
        return ""

    @property
    def windows(self) -> Windows:
        """Who answers; made when it is first asked for, as it notes its times at the seat."""
        if self._windows is None:
            daemon = self._daemon
            self._windows = Windows(
                self._sql, daemon.clock, daemon.seat.query_times, index=self.index,
                memory=self.hour, gaps=lambda: daemon.ledger.open_gaps(),
                applied_ns=self.applied_ns, under_way=self.under_way,
            )  # fmt: skip
            self.hour.on_change = self._windows.cache.drop
        return self._windows

    def write_gaps(self, gaps: Iterable[Gap]) -> None:
        """Changed rows of the ledger: to the spool, and to what memory covers."""
        gaps = list(gaps)
        self._daemon.side.gaps(gaps)
        self.hour.note_gaps(gaps)
        self._brought.forget(self._visible_ns())  # also where nobody asks for windows
        self._brought.note(gaps, self._daemon.clock.wall_ns())

    def under_way(self) -> list[Gap]:
        """Holes whose rows were brought, and that the table may not have yet."""
        self._brought.forget(self._visible_ns())
        return self._brought.gaps()

    def applied_ns(self) -> int:
        """The table has every row that came of before this exchange time; 0: not known."""
        daemon = self._daemon
        if not self._has_marks():
            return 0
        if daemon.monitor.pending_rows() == 0:
            return daemon.clock.wall_ns() - LATE_NS
        marks = daemon.spool.visible_marks
        return marks[0][1] - LATE_NS if marks else 0

    def _has_marks(self) -> bool:
        """Whether the spool's marks tell what the table has."""
        watch = self._daemon.watch
        if watch is None or self.left is None:
            return False
        return watch.is_told_by_marks(TABLES["trades"], self.left)

    def _visible_ns(self) -> int:
        """The table has every row that came before this (our clock); 0: not known."""
        daemon = self._daemon
        if not self._has_marks():
            return 0
        in_spool_ns = daemon.clock.wall_ns() - LATE_NS  # younger rows may be in a buffer still
        marks = daemon.spool.visible_marks
        return min(marks[0][1], in_spool_ns) if marks else in_spool_ns

    async def run(self, sql: Sql, past: Past, ends: Mapping[int, Cursor]) -> None:
        """Until cancelled; ``ends``: behind what the spool held of each table at the start."""
        self.left = ends.get(TABLES["trades"], START)
        own = reader_sql(self._daemon.server.address)
        self._sql.source = own
        config = self._daemon.config
        self.check = WindowCheck(
            self.windows, self._daemon.clock, random.Random(self._started_ns),
            config.data_dir / "differences", self._known_symbols, self._visible_ns,
        )  # fmt: skip
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.hour.run)
                nursery.start_soon(self.flight.run)
                nursery.start_soon(self._load, sql, past)
                nursery.start_soon(self.check.run)
        finally:
            with trio.move_on_after(2, shield=True):
                await own.aclose()

    async def _load(self, sql: Sql, past: Past) -> None:
        daemon = self._daemon
        with trio.move_on_after(WAIT_S_MAX) as waiting:
            await past.known(WAIT_S_MAX)
            for feed in daemon.feeds:
                self.index.update(past.instruments_of(feed.spec.name))
            while not self._has_marks():  # noqa: ASYNC110 - the database tells it
                await trio.sleep(POLL_S)
            await daemon.capturing.wait()
        if waiting.cancelled_caught:
            log.warning("hour_not_loaded", message="what an earlier run left is not applied")
            return
        await self.hour.load(sql, self._started_ns)

    def _known_symbols(self) -> list[tuple[str, str]]:
        """Feed and symbol of all that is carried now."""
        return [
            (feed.spec.name, feed.instruments[name].symbol)
            for feed in self._daemon.feeds
            for name in feed.coverage.wanted
            if feed.coverage.since_ns(name) and name in feed.instruments
        ]

    def standing(self) -> HourStanding:
        """How memory and answers stand."""
        cache = None if self._windows is None else self._windows.cache
        check = self.check
        return msgspec.structs.replace(
            self.hour.standing(),
            cache_hits=0 if cache is None else cache.hits,
            cache_misses=0 if cache is None else cache.misses,
            comparisons=0 if check is None else check.compared,
            differences=0 if check is None else check.differences,
            difference_file="" if check is None else check.newest_file,
        )


class _LateSql:
    """The database's address is known after the seat is built."""

    def __init__(self) -> None:
        self.source: Sql | None = None

    async def query(self, sql: str, params: Any = ()) -> list[tuple[Any, ...]]:
        return await self._asked().query(sql, params)

    async def query_dicts(self, sql: str, params: Any = ()) -> list[dict[str, Any]]:
        return await self._asked().query_dicts(sql, params)

    def _asked(self) -> Sql:
        if self.source is None:
            raise ServerError("the database is not asked yet: the start is under way")
        return self.source


def reader_sql(address: ServerAddress) -> Sql:
    """As the user who may only read, with a deadline."""
    return Sql(address, readonly=True, timeout_s=QUERY_S_MAX, connections_max=QUERIES_MAX)

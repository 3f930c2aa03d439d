"""Watches what the tables have applied, and lets segments go (DESIGN section 3 step 8)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import structlog
import trio

from pumpwatch.clock import Clock
from pumpwatch.errors import PumpWatchError
from pumpwatch.store.progress import TableProgress, WalState
from pumpwatch.store.spool import Spool
from pumpwatch.store.spool_files import BIG_TABLE, START, Cursor

log = structlog.get_logger()

POLL_BUSY_S = 0.1  # while rows are under way: this much is added to the lag that is measured
POLL_IDLE_S = 1.0  # at most: an accepted request ends it
RESUME_AFTER_S = 5.0  # between two tries to resume a suspended table
MOVE_AFTER_S = 300.0  # small tables' rows may keep a segment for so long

# In this order: an id that is the known one after the WAL was read says whose WAL it was, as a
# table that was dropped never comes back under its id.
WAL_SQL = "SELECT name, suspended, writerTxn, sequencerTxn FROM wal_tables()"
IDS_SQL = "SELECT table_name, id FROM tables()"


class SqlSource(Protocol):
    """What the watch needs of a database connection."""

    async def query(self, sql: str, params: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Rows of a SELECT."""
        ...

    async def execute(self, sql: str) -> None:
        """Run a statement."""
        ...


class AppliedWatch:
    """Polls the server's WAL state and moves each table's applied cursor."""

    def __init__(
        self,
        spool: Spool,
        tables: list[TableProgress],
        sql: SqlSource,
        clock: Clock,
        *,
        on_lag: Callable[[float, int], None] = lambda seconds, rows: None,
    ) -> None:
        self.applied: dict[int, Cursor] = {}
        self.last_look_s = 0.0  # trio time of the last answer
        self.is_answering = False
        self._spool = spool
        self._tables = {table.name: table for table in tables}
        self._sql = sql
        self._clock = clock
        self._on_lag = on_lag
        self._news = trio.Event()  # a request was accepted since the last look began
        for table in tables:
            if table.number == BIG_TABLE:  # nobody waits for the small ones
                table.on_accept = self._note_accepted
        self._again_until: dict[int, Cursor] = {}  # what lies before it was sent again
        self._resume_at_s = 0.0
        self._oldest = 0  # segment
        self._side_only_since_s = 0.0  # when small tables alone began to keep it

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            try:
                await self.look()
            except PumpWatchError as error:
                if self.is_answering:
                    log.warning("applied_watch_no_answer", message=str(error))
                self.is_answering = False
            await self._wait()

    def is_told_by_marks(self, table: int, left: Cursor) -> bool:
        """Whether the spool's ``visible_marks`` tell what the table has.

        Rows before ``left``, which an earlier run spooled, and rows that are sent again have none.
        """
        until = max(left, self._again_until.get(table, START))
        return self.is_answering and self.applied.get(table, START) >= until

    async def _wait(self) -> None:
        """Until the next look is worth it: applying takes some time after a request."""
        if not self.is_answering:
            await trio.sleep(POLL_IDLE_S)
            return
        if all(table.applied >= table.accepted for table in self._tables.values()):
            with trio.move_on_after(POLL_IDLE_S - POLL_BUSY_S):
                await self._news.wait()
        await trio.sleep(POLL_BUSY_S)

    def _note_accepted(self) -> None:
        self._news.set()

    async def look(self) -> None:
        """Ask once, move cursors, release segments."""
        self._news = trio.Event()
        before = {name: table.accepted_now() for name, table in self._tables.items()}
        wal = {row[0]: row[1:] for row in await self._sql.query(WAL_SQL)}
        ids = dict(await self._sql.query(IDS_SQL))
        self.is_answering = True
        self.last_look_s = trio.current_time()
        for name, table in self._tables.items():
            if name not in ids:
                self._start_again(table, None)
            elif None not in wal.get(name, (None,)):  # else it is being made or dropped
                state = WalState(ids[name], *wal[name])
                if not table.observe(state, before[name]):
                    self._start_again(table, state)
            self.applied[table.number] = table.applied
        self._measure_lag()
        await self._spool.release(self.applied)
        self._forget_released()
        await self._move_side_rows()
        await self._resume_suspended()

    def _start_again(self, table: TableProgress, seen: WalState | None) -> None:
        if table.table_id is None:
            return  # known to be gone already
        table_id = None if seen is None else seen.table_id
        event = "table_lost_rows" if table_id == table.table_id else "table_recreated"
        log.error(event, table=table.name, was=table.table_id, now=table_id,
                  action="send again what is not released")  # fmt: skip
        reached = self.applied.get(table.number, START)
        self._again_until[table.number] = max(reached, self._again_until.get(table.number, START))
        self._forget_released()
        is_counted = table.number == BIG_TABLE
        table.start_again(seen, self._spool.released_by_feed if is_counted else Counter())
        self._spool.wake_readers()

    def _forget_released(self) -> None:
        oldest = self._spool.files.listed()[0].number
        for table in self._tables.values():
            table.forget_released(oldest)

    async def _move_side_rows(self) -> None:
        """Append small tables' rows again where nothing else keeps gigabytes on the disk."""
        now_s = trio.current_time()
        oldest, tables = self._spool.holding_oldest(self.applied)
        if oldest != self._oldest or not tables:
            self._oldest, self._side_only_since_s = oldest, now_s
        if now_s - self._side_only_since_s < MOVE_AFTER_S and self._spool.state != "full":
            return
        for table in tables:
            await self._spool.move_to_head(table, self.applied.get(table, START))

    def _measure_lag(self) -> None:
        marks = self._spool.visible_marks
        applied = self.applied.get(BIG_TABLE)
        now_ns = self._clock.wall_ns()
        while marks and applied is not None and marks[0][0] <= applied:
            _, received_ns, rows = marks.popleft()
            self._on_lag(max(0.0, (now_ns - received_ns) / 1e9), rows)

    async def _resume_suspended(self) -> None:
        suspended = [table for table in self._tables.values() if table.suspended]
        if not suspended or trio.current_time() < self._resume_at_s:
            return
        self._resume_at_s = trio.current_time() + RESUME_AFTER_S
        for table in suspended:
            log.error("table_suspended", table=table.name, action="RESUME WAL")
            try:
                await self._sql.execute(f"ALTER TABLE {table.name} RESUME WAL")
            except PumpWatchError as error:  # the other tables' turn comes all the same
                log.warning("table_not_resumed", table=table.name, message=str(error))

"""Watches what the tables have applied, and lets segments go (DESIGN section 3 step 8)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Protocol

import structlog
import trio

from pumpwatch.clock import Clock
from pumpwatch.errors import PumpWatchError
from pumpwatch.store.progress import TableProgress, WalState
from pumpwatch.store.spool import Spool
from pumpwatch.store.spool_files import BIG_TABLE, Cursor

log = structlog.get_logger()

POLL_BUSY_S = 0.1  # while rows are under way: this much is added to the lag that is measured
POLL_IDLE_S = 1.0
RESUME_AFTER_S = 5.0  # between two tries to resume a suspended table

STATE_SQL = (
    "SELECT t.table_name, t.id, w.suspended, w.writerTxn, w.sequencerTxn"
    " FROM tables() t JOIN wal_tables() w ON t.table_name = w.name"
)


class SqlSource(Protocol):
    """What the watch needs of a database connection."""

    async def query(self, sql: str, params: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
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
        self._resume_at_s = 0.0

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            try:
                await self.look()
            except PumpWatchError as error:
                if self.is_answering:
                    log.warning("applied_watch_no_answer", message=str(error))
                self.is_answering = False
            is_busy = any(table.applied < table.accepted for table in self._tables.values())
            await trio.sleep(POLL_BUSY_S if is_busy and self.is_answering else POLL_IDLE_S)

    async def look(self) -> None:
        """Ask once, move cursors, release segments."""
        before = {name: table.accepted_now() for name, table in self._tables.items()}
        rows = await self._sql.query(STATE_SQL)
        self.is_answering = True
        self.last_look_s = trio.current_time()
        seen = {
            str(name): WalState(int(table_id), bool(suspended), int(writer), int(sequencer))  # type: ignore[call-overload]
            for name, table_id, suspended, writer, sequencer in rows
        }
        for name, table in self._tables.items():
            state = seen.get(name)
            if state is None or not table.observe(state, before[name]):
                self._start_again(table, None if state is None else state.table_id)
            self.applied[table.number] = table.applied
        self._measure_lag()
        await self._spool.release(self.applied)
        await self._resume_suspended()

    def _start_again(self, table: TableProgress, table_id: int | None) -> None:
        if table.table_id is None and table_id is None:
            return  # known to be gone already
        log.error("table_recreated", table=table.name, was=table.table_id, now=table_id)
        held: Counter[int] = Counter()
        if table.number == BIG_TABLE:
            for segment in self._spool.files.segments.values():
                held.update(segment.rows_by_feed)
        table.start_again(table_id, held)

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
            await self._sql.execute(f"ALTER TABLE {table.name} RESUME WAL")

"""The spool: between the sockets and the database lies the disk (DESIGN section 3 step 6).

``append`` never blocks and never drops: records queue in memory until the write loop has put them
into a segment. Only then do counters call them spooled and writers see them. While the queue is
longer than ``spool.buffer_max_mib`` the readers of sockets wait (``room``), so that the venue's
TCP window fills instead of our memory.
"""

from __future__ import annotations

import contextlib
import random
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Mapping
from functools import partial
from itertools import takewhile
from pathlib import Path

import structlog
import trio

from pumpwatch.clock import Clock
from pumpwatch.errors import SpoolError
from pumpwatch.model import Record
from pumpwatch.rates import LagHistogram
from pumpwatch.store.segment import MIB, PAYLOAD_BYTES_MAX, POSITIONS_TABLE, Damage
from pumpwatch.store.spool_files import (
    BIG_TABLE,
    START,
    Cursor,
    Recovery,
    SpoolFiles,
    TableBatch,
)
from pumpwatch.store.spool_losses import Loss
from pumpwatch.store.spool_moves import Moves
from pumpwatch.store.spool_queue import SpoolQueue

log = structlog.get_logger()

RETRY_S_MIN = 0.05  # a disk that refuses is tried again at this pace, doubling
RETRY_S_MAX = 2.0
SEAL_TIMEOUT_S = 60.0
EMERGENCY_S_MAX = 5.0  # how long a second signal waits for a write that is under way
RESERVE_BYTES = 64 * MIB  # urgent records may exceed the disk limit by this
MOVE_BYTES_MAX = RESERVE_BYTES // 2  # a small table with more than this pending is not moved
ROWS_MARKS_MAX = 1_000  # 10 s of writes: a writer that is further behind is held against later ones
VISIBLE_MARKS_MAX = 100_000  # older ones of a long backlog are left out of the lag's histogram


class Spool:
    """One folder of segments, shared by the capture side (append) and the writers (next_rows)."""

    def __init__(
        self,
        directory: Path,
        clock: Clock,
        rng: random.Random,
        *,
        schema_version: int,
        disk_bytes_max: int,
        fsync_s: float,
        buffer_bytes_max: int,
        contiguous: Iterable[int] = (),
    ) -> None:
        """``contiguous``: numbers of the feeds whose ids count up without a gap."""
        self.files = SpoolFiles(
            directory, clock, schema_version=schema_version, contiguous=contiguous
        )
        self.recovery: Recovery | None = None
        self.spooled_by_feed: Counter[int] = Counter()  # rows of trades written since the start
        self.released_by_feed: Counter[int] = Counter()  # rows of trades in deleted segments
        self.lost_by_feed: Counter[int] = Counter()  # spooled, then found damaged before applied
        self.state = "closed"  # open, full (disk limit), failing (the disk refuses), closed
        self.damage: list[tuple[str, Damage]] = []
        self.losses: deque[Loss] = deque()  # trades that damage took, for the ledger to tell
        self.draining = trio.Event()  # set: writers do not wait for more rows to pile up
        # (position behind a record, when its oldest row was received, rows): for the lag
        self.visible_marks: deque[tuple[Cursor, int, int]] = deque(maxlen=VISIBLE_MARKS_MAX)
        # Behind each of the last writes: rows of trades by feed since the start.
        self._rows_until: OrderedDict[Cursor, Counter[int]] = OrderedDict()
        self.lags = LagHistogram()  # from a row's receipt to its segment
        self._clock = clock
        self._rng = rng
        self.disk_bytes_max = disk_bytes_max
        self._fsync_s = fsync_s
        self._buffer_bytes_max = buffer_bytes_max
        self._queue = SpoolQueue()
        self._in_hand: list[Record] = []  # on their way into a segment
        self._ends: list[Cursor] = []  # where they lie, once they do; else empty
        self._write_lock = threading.Lock()  # guards the two, against write_now
        self._visible: dict[int, Cursor] = {}  # what readers may see of each table
        self._arrived = trio.Event()
        self._settled = trio.Event()
        self._grew: dict[int, trio.Event] = {}
        self._moves = Moves()

    # -- the capture side -------------------------------------------------------------------

    @property
    def buffered_bytes(self) -> int:
        """Payload bytes that are in memory only."""
        return self._queue.size_bytes

    @property
    def buffered_rows(self) -> int:
        """Rows of all tables that are in memory only."""
        return self._queue.rows

    @property
    def queued_by_feed(self) -> Counter[int]:
        """Rows of trades that were appended and are not spooled yet."""
        return self._queue.rows_by_feed

    def append(self, record: Record) -> None:
        """Queue a record; it is spooled when ``written`` says so. Raises SpoolError when closed."""
        assert (record.rows > 0) != (record.table == POSITIONS_TABLE)
        assert 0 < len(record.payload) <= PAYLOAD_BYTES_MAX
        if self.state == "closed":
            raise SpoolError("the spool is closed")
        self._queue.put(record)
        self._arrived.set()

    def has_room(self) -> bool:
        """False while the queue is at its limit."""
        return self.buffered_bytes < self._buffer_bytes_max

    async def room(self) -> None:
        """Wait until the queue is below its limit."""
        while not self.has_room():
            await self._settled.wait()

    async def written(self) -> None:
        """Wait until all that was appended before lies in a segment."""
        appended = self._queue.appended
        while not self._queue.written.reach(appended):
            await self._settled.wait()

    async def quarantine_written(self) -> None:
        """As ``written``, for urgent records alone: they are written above the disk limit too."""
        urgent = self._queue.appended.urgent
        while self._queue.written.urgent < urgent:
            await self._settled.wait()

    # -- the database side ------------------------------------------------------------------

    async def next_rows(
        self, table: int, cursor: Cursor, rows_max: int, bytes_max: int
    ) -> TableBatch | None:
        """The table's next rows behind ``cursor``; waits until there are some.

        None after ``wake_readers``: look at the cursor again.
        """
        if not self.has_rows(table, cursor):
            await self._grew.setdefault(table, trio.Event()).wait()
        upto = self._visible.get(table, START)
        if cursor >= upto:
            return None
        batch = await trio.to_thread.run_sync(
            self.files.read, table, cursor, upto, rows_max, bytes_max
        )
        self._note_damage()
        return batch

    def has_rows(self, table: int, cursor: Cursor) -> bool:
        """True when ``next_rows`` would not wait."""
        return self._visible.get(table, START) > cursor

    def wake_readers(self) -> None:
        """Let everybody in ``next_rows`` look at their cursors again."""
        self._wake(list(self._grew))

    def _wake(self, tables: list[int]) -> None:
        for table in tables:
            if table in self._grew:
                self._grew.pop(table).set()

    def rows_until(self, cursor: Cursor) -> Counter[int] | None:
        """Rows of trades by feed that this run spooled before ``cursor``; None: not known."""
        return self._rows_until.get(cursor)

    async def release(self, applied: Mapping[int, Cursor]) -> int:
        """Delete the segments whose records are all applied; returns how many.

        Oldest first, and none before an older one: so a start can tell that one is missing.
        """
        self._moves.finish(self._queue.written.urgent)
        covered = self._moves.covered(applied)
        if self.state == "full":
            await trio.to_thread.run_sync(self._roll_if_applied, covered)
        active = self.files.active
        done = list(
            takewhile(
                lambda segment: segment is not active and self.files.is_done(segment, covered),
                self.files.listed(),
            )
        )
        for segment in done:
            try:
                await trio.to_thread.run_sync(self.files.remove, segment)
            except OSError as error:
                log.warning("spool_release_failed", segment=segment.path.name, error=str(error))
                break
            self.released_by_feed.update(segment.rows_by_feed)
            self._visible = {
                table: end for table, end in self._visible.items() if end.segment > segment.number
            }
            self._arrived.set()  # there may be room on the disk
        return len(done)

    def _roll_if_applied(self, covered: Mapping[int, Cursor]) -> None:
        """Begin a new segment where trades do not keep the present one: it may fill the disk."""
        with self._write_lock, contextlib.suppress(OSError):
            active = self.files.active
            trades_end = Cursor(active.number, active.table_ends.get(BIG_TABLE, 0))
            has_trades = BIG_TABLE in active.table_ends
            is_done = bool(active.table_ends) and self.files.is_done(active, covered)
            if is_done or (has_trades and covered.get(BIG_TABLE, START) >= trades_end):
                self.files.roll()

    def is_drained(self, applied: Mapping[int, Cursor]) -> bool:
        """True when nothing waits and every record of every segment is applied."""
        covered = self._moves.covered(applied)
        return not self.buffered_bytes and all(
            self.files.is_done(segment, covered) for segment in self.files.listed()
        )

    def begin_drain(self) -> None:
        """No more rows will come: writers send what there is without waiting for more."""
        self.draining.set()

    def holding_oldest(self, applied: Mapping[int, Cursor]) -> tuple[int, list[int]]:
        """The oldest segment and the small tables that alone keep it; none where trades do."""
        covered = self._moves.covered(applied)
        oldest = self.files.listed()[0]
        tables = [
            table
            for table, end in list(oldest.table_ends.items())
            if covered.get(table, START) < Cursor(oldest.number, end)
        ]
        is_kept = oldest is not self.files.active and BIG_TABLE not in tables
        return oldest.number, tables if is_kept else []

    async def move_to_head(self, table: int, applied: Cursor) -> bool:
        """Append what is pending of a small table again, so that older segments may go.

        All that is pending goes, in order: an older revision must not come behind a newer one.
        False where that cannot be now: rows of the table are on their way, or too many pending.
        """
        is_pending = self.has_rows(table, applied)
        if self.state == "closed" or not is_pending or self._moves.is_moving(table):
            return False
        upto = self._visible.get(table, START)
        batches, end = await self._pending(table, applied, upto)
        is_overtaken = self._visible.get(table, START) != upto
        if end != upto or is_overtaken or self._queue.records_by_table[table]:
            return False
        for batch in batches:
            payload = b"".join(batch.payloads)
            record = Record(table=table, feed=0, rows=batch.rows, payload=payload)
            self._queue.put(record, is_urgent=True)
        self._moves.note(table, end, self._queue.appended.urgent)
        self._arrived.set()
        log.info("spool_rows_moved", table=table, rows=sum(batch.rows for batch in batches))
        return True

    async def _pending(
        self, table: int, cursor: Cursor, upto: Cursor
    ) -> tuple[list[TableBatch], Cursor]:
        """A small table's rows in ``[cursor, upto)``, and where reading them ended."""
        batches: list[TableBatch] = []
        while cursor < upto and sum(batch.size_bytes for batch in batches) < MOVE_BYTES_MAX:
            batch = await trio.to_thread.run_sync(
                self.files.read, table, cursor, upto, MOVE_BYTES_MAX, PAYLOAD_BYTES_MAX
            )
            self._note_damage()
            if batch is None:
                break
            cursor = batch.end
            batches += [batch] if batch.rows else []
        return batches, cursor

    def _note_damage(self) -> None:
        while self.files.found:
            segment, holes, lost_by_feed = self.files.found.popleft()
            self.lost_by_feed.update(lost_by_feed)
            if lost_by_feed:
                self.losses += self.files.losses(segment, holes)
            for hole in holes:
                self._report_damage(segment.path.name, hole)

    def _report_damage(self, name: str, hole: Damage) -> None:
        self.damage.append((name, hole))
        # A torn tail is what a crash leaves of a write that nobody was told of.
        report = log.info if hole.is_tail else log.error
        event = "spool_torn_tail" if hole.is_tail else "spool_damage"
        report(event, segment=name, offset=hole.offset, size_bytes=hole.end - hole.offset,
               rows=hole.rows)  # fmt: skip

    # -- the tasks --------------------------------------------------------------------------

    async def open(self) -> Recovery:
        """Take the folder and read what an earlier run left."""
        self.recovery = await trio.to_thread.run_sync(self.files.open)
        for name, hole in self.recovery.damage:
            self._report_damage(name, hole)
        self.losses += self.recovery.losses
        self._visible = self.files.table_ends()
        self._rows_until[self._visible.get(BIG_TABLE, START)] = Counter()
        self.state = "open"
        return self.recovery

    async def write_loop(self) -> None:
        """Put queued records into segments, for ever."""
        failures = 0
        while True:
            if not self._in_hand and not self._take_in_hand():
                with trio.move_on_after(RETRY_S_MAX):
                    await self._arrived.wait()
                self._arrived = trio.Event()
                continue
            try:
                await trio.to_thread.run_sync(self._write_blocking)
            except OSError as error:
                self._set_state("failing", error=str(error))
                await self._back_off(failures)
                failures += 1
                continue
            failures = 0
            self._settle()

    async def _back_off(self, failures: int) -> None:
        delay_s = min(RETRY_S_MAX, RETRY_S_MIN * 2 ** min(failures, 10))
        await trio.sleep(delay_s * self._rng.uniform(0.5, 1.0))

    def _take_in_hand(self, *, is_limited: bool = True) -> bool:
        if not is_limited:
            self._in_hand = self._queue.take()
            return bool(self._in_hand)
        free_bytes = self.disk_bytes_max - self.files.bytes_on_disk
        self._in_hand = self._queue.take(free_bytes, free_bytes + RESERVE_BYTES)
        if self._queue.is_held:
            self._set_state("full", bytes_on_disk=self.files.bytes_on_disk)
        elif self.state == "full":
            self._set_state("open")
        return bool(self._in_hand)

    def _write_blocking(self) -> None:
        with self._write_lock:
            if self._in_hand and not self._ends:  # a failed fsync must not write them twice
                self._ends = self.files.write(self._in_hand)
        if self._fsync_s == 0:
            self.files.fsync()

    def _settle(self) -> None:
        """Tell everybody that what was in hand is spooled now."""
        if not self._ends:
            return
        records, self._in_hand = self._in_hand, []
        ends, self._ends = self._ends, []
        now_ns = self._clock.wall_ns()
        for record, end in zip(records, ends, strict=True):
            if record.table == POSITIONS_TABLE:
                continue
            self._visible[record.table] = end
            if record.table == BIG_TABLE:
                self.spooled_by_feed[record.feed] += record.rows
                if record.received_ns:
                    self.visible_marks.append((end, record.received_ns, record.rows))
                    self.lags.note(max(0.0, (now_ns - record.received_ns) / 1e9), record.rows)
        self._rows_until[self._visible.get(BIG_TABLE, START)] = self.spooled_by_feed.copy()
        while len(self._rows_until) > ROWS_MARKS_MAX:
            self._rows_until.popitem(last=False)
        self._queue.note_written(records)
        if self.state == "failing":
            self._set_state("open")
        self._wake([record.table for record in records])
        settled, self._settled = self._settled, trio.Event()
        settled.set()

    def write_now(self) -> int:
        """Write all that is queued, from the event loop, in an emergency; returns rows left over.

        For a process that is about to end: blocks, ignores the disk limit, tries once.
        """
        if self.state == "closed" or not self._write_lock.acquire(timeout=EMERGENCY_S_MAX):
            return self.buffered_rows
        try:
            while self._in_hand or self._take_in_hand(is_limited=False):
                if not self._ends:
                    self._ends = self.files.write(self._in_hand)
                self._settle()
            if self._fsync_s == 0:
                self.files.fsync()
        except OSError as error:
            log.error("spool_emergency_failed", rows=self.buffered_rows, error=str(error))  # noqa: TRY400
        finally:
            self._write_lock.release()
        return self.buffered_rows

    def _set_state(self, state: str, **facts: object) -> None:
        if state != self.state:
            report = log.info if state == "open" else log.error
            report("spool_state", state=state, was=self.state, **facts)
            self.state = state

    async def fsync_loop(self) -> None:
        """Make what was written safe from a power cut, as a group, on a thread of its own."""
        while self._fsync_s:
            await trio.sleep(self._fsync_s)
            try:
                await trio.to_thread.run_sync(self.files.fsync)
            except OSError as error:
                log.error("spool_fsync_failed", error=str(error))  # noqa: TRY400

    async def seal(self, applied: Mapping[int, Cursor]) -> None:
        """Write what is queued, sync, and leave the folder."""
        failures = 0
        while self._in_hand or self._take_in_hand(is_limited=False):
            try:
                await trio.to_thread.run_sync(self._write_blocking)
                self._settle()
            except OSError as error:
                self._set_state("failing", error=str(error))
                await self._back_off(failures)
                failures += 1
        is_empty = self.is_drained(applied)
        self.state = "closed"  # in the same step as the last look at the queue
        await trio.to_thread.run_sync(partial(self.close, is_empty=is_empty))

    def close(self, *, is_empty: bool = False) -> None:
        """Leave the folder; what is still in memory is lost, and said."""
        if self.buffered_rows:
            log.error("spool_rows_lost", rows=self.buffered_rows, reason="the disk refused them")
        self.state = "closed"
        try:
            self.files.close(is_empty=is_empty)
        except OSError as error:
            log.warning("spool_close_failed", error=str(error))


async def run_spool(
    spool: Spool,
    applied: Mapping[int, Cursor],
    *,
    task_status: trio.TaskStatus[Spool] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Open the spool, run its loops until cancelled, then seal it.

    ``applied`` is the writers' live table of applied cursors: it decides what seal may delete.
    """
    await spool.open()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(spool.write_loop)
            nursery.start_soon(spool.fsync_loop)
            task_status.started(spool)
    finally:
        with trio.move_on_after(SEAL_TIMEOUT_S, shield=True):
            await spool.seal(applied)
        spool.close()

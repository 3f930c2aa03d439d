"""Records on their way to the disk, sans-IO: what waits, and what of it may go now.

Urgent ones may exceed the disk limit by a reserve, as segments are let go only behind them:
quarantine, and small tables' rows that are moved to the head.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from typing import NamedTuple

from pumpwatch.model import Record
from pumpwatch.store.segment import MIB, RECORD_HEADER_BYTES
from pumpwatch.store.spool_read import BIG_TABLE

# The number of schema.TABLES. Writers wait for their refused lines to be spooled here, and nothing
# depends on the order: quarantine goes first, also when the disk limit holds the rest back.
QUARANTINE_TABLE = 6
CHUNK_BYTES_MAX = 8 * MIB  # one write: all of it or nothing


class Totals(NamedTuple):
    """Records since the start."""

    ordinary: int
    urgent: int

    def reach(self, other: Totals) -> bool:
        """True when both kinds have come as far as ``other``."""
        return self.ordinary >= other.ordinary and self.urgent >= other.urgent

    def plus(self, records: int, *, urgent: int) -> Totals:
        """With so many records more, ``urgent`` of them urgent."""
        return Totals(self.ordinary + records - urgent, self.urgent + urgent)


class SpoolQueue:
    """First in, first out, but for quarantine. Counts what is in memory only."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self.rows = 0
        self.rows_by_feed: Counter[int] = Counter()  # of trades
        self.records_by_table: Counter[int] = Counter()
        self.appended = Totals(0, 0)
        self.written = Totals(0, 0)
        self.is_held = False
        self._ordinary: deque[Record] = deque()
        self._urgent: deque[Record] = deque()
        self._urgent_taken = 0  # they lead what ``take`` gave out last

    def put(self, record: Record, *, is_urgent: bool = False) -> None:
        """Add a record at the end; quarantine is always urgent."""
        is_urgent = is_urgent or record.table == QUARANTINE_TABLE
        (self._urgent if is_urgent else self._ordinary).append(record)
        self.appended = self.appended.plus(1, urgent=int(is_urgent))
        self.records_by_table[record.table] += 1
        self.size_bytes += len(record.payload)
        self.rows += record.rows
        if record.table == BIG_TABLE:
            self.rows_by_feed[record.feed] += record.rows

    def take(
        self, free_bytes: int | None = None, urgent_free_bytes: int | None = None
    ) -> list[Record]:
        """The records of the next write, at least one if there is one.

        The limits are what the disk may take of each kind; None: whatever comes. ``is_held`` says
        afterwards whether a limit held something back.
        """
        taken: list[Record] = []
        size_bytes = self._urgent_taken = 0
        self.is_held = False
        for queue, limit in ((self._urgent, urgent_free_bytes), (self._ordinary, free_bytes)):
            while queue:
                after = size_bytes + encoded_bytes(queue[0])
                if limit is not None and after > limit:
                    self.is_held = True
                    break
                if taken and after > CHUNK_BYTES_MAX:
                    return taken
                taken.append(queue.popleft())
                size_bytes = after
                self._urgent_taken += queue is self._urgent
        return taken

    def note_written(self, records: Sequence[Record]) -> None:
        """All records that ``take`` gave out last lie in a segment now."""
        self.written = self.written.plus(len(records), urgent=self._urgent_taken)
        for record in records:
            self.records_by_table[record.table] -= 1
            self.size_bytes -= len(record.payload)
            self.rows -= record.rows
            if record.table == BIG_TABLE:
                self.rows_by_feed[record.feed] -= record.rows


def encoded_bytes(record: Record) -> int:
    """What a record takes on disk."""
    return len(record.payload) + RECORD_HEADER_BYTES

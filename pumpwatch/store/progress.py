"""How far each table has come, sans-IO: sent, accepted, applied (DESIGN section 3 step 8).

A 204 means that rows are in a table's WAL, not that they are in the table. What was accepted counts
as applied once the table's writerTxn has reached the sequencerTxn that was read after the 204.
"""

from __future__ import annotations

from collections import Counter, deque

import msgspec

from pumpwatch.store.spool_files import START, Cursor


class WalState(msgspec.Struct, frozen=True):
    """One row of ``wal_tables()`` joined with ``tables()``."""

    table_id: int
    suspended: bool
    writer_txn: int
    sequencer_txn: int


class _Mark(msgspec.Struct):
    sequencer_txn: int
    cursor: Cursor
    rows_by_feed: Counter[int]


class TableProgress:
    """The road of one table's rows from the spool into the table."""

    def __init__(self, number: int, name: str) -> None:
        self.number = number
        self.name = name
        self.epoch = 0  # grows when everything unreleased has to be sent again
        self.accepted = START
        self.applied = START
        self.accepted_by_feed: Counter[int] = Counter()
        self.applied_by_feed: Counter[int] = Counter()
        self.refused_by_feed: Counter[int] = Counter()
        self.suspended = False
        self.table_id: int | None = None
        self._marks: deque[_Mark] = deque()

    def accept(self, cursor: Cursor, rows_by_feed: dict[int, int], refused: dict[int, int]) -> None:
        """The server answered 204 (or refused single rows) for everything up to ``cursor``."""
        assert cursor >= self.accepted
        self.accepted = cursor
        self.accepted_by_feed.update(rows_by_feed)
        self.refused_by_feed.update(refused)

    def observe(self, seen: WalState, accepted_before: tuple[Cursor, Counter[int]]) -> bool:
        """Judge what a look at the server shows; ``accepted_before`` was taken before the look.

        Returns False when the table is another one than before: all unreleased rows go again.
        """
        if self.table_id is None:
            self.table_id = seen.table_id
        if seen.table_id != self.table_id:
            return False
        self.suspended = seen.suspended
        cursor, rows_by_feed = accepted_before
        if cursor > (self._marks[-1].cursor if self._marks else self.applied):
            self._marks.append(_Mark(seen.sequencer_txn, cursor, rows_by_feed))
        while self._marks and not seen.suspended and seen.writer_txn >= self._marks[0].sequencer_txn:
            mark = self._marks.popleft()
            self.applied = mark.cursor
            self.applied_by_feed = mark.rows_by_feed
        return True

    def accepted_now(self) -> tuple[Cursor, Counter[int]]:
        """What was accepted so far, to be handed to ``observe`` after the look."""
        return self.accepted, self.accepted_by_feed.copy()

    def start_again(self, table_id: int | None, held_by_feed: Counter[int]) -> None:
        """The table was made anew: everything the spool still holds counts as not applied."""
        self.epoch += 1
        self.table_id = table_id
        self.accepted = self.applied = START
        self._marks.clear()
        for feed, rows in held_by_feed.items():
            done = self.applied_by_feed[feed] + self.refused_by_feed[feed]
            self.applied_by_feed[feed] = max(0, done - rows)
            self.accepted_by_feed[feed] = self.applied_by_feed[feed]

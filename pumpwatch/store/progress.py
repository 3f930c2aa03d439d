"""How far each table has come, sans-IO: sent, accepted, applied (DESIGN section 3 step 8).

A 204 means that rows are in a table's WAL, not that they are in the table. What was accepted counts
as applied once the table's writerTxn has reached the sequencerTxn that was read after the 204.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec

from pumpwatch.store.spool_files import START, Cursor


class WalState(msgspec.Struct, frozen=True):
    """What the server says of one table: ``tables()`` and its row of ``wal_tables()``."""

    table_id: int
    suspended: bool
    writer_txn: int
    sequencer_txn: int


class Accepted(NamedTuple):
    """What was accepted so far."""

    cursor: Cursor
    rows_by_feed: Counter[int]
    requests: int


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
        # None until a look has shown it: a row that is sent before could go to a table that is
        # dropped and made anew before the first look, and nobody would know.
        self.table_id: int | None = None
        self.on_accept: Callable[[], None] = lambda: None
        self._requests = 0  # with accepted rows, since the table is known
        self._sequencer_txn_first = 0
        self._sequencer_txn_last = 0
        self._marks: deque[_Mark] = deque()
        # Refused rows in released segments, and those that would be refused again, by segment.
        self._refused_released: Counter[int] = Counter()
        self._refused_held: Counter[tuple[int, int]] = Counter()

    def accept(
        self,
        cursor: Cursor,
        rows_by_feed: Mapping[int, int],
        refused: Mapping[tuple[int, int], int],
    ) -> None:
        """The server answered 204 for everything up to ``cursor``.

        ``rows_by_feed`` are the rows that it took, ``refused`` those that it did not, by segment
        and feed.
        """
        assert cursor >= self.accepted
        self.accepted = cursor
        self._requests += any(rows_by_feed.values())
        self.accepted_by_feed.update(rows_by_feed)
        self._refused_held.update(refused)
        for (_, feed), rows in refused.items():
            self.refused_by_feed[feed] += rows
        self.on_accept()

    def observe(self, seen: WalState, accepted_before: Accepted) -> bool:
        """Judge what a look at the server shows; ``accepted_before`` was taken before the look.

        Returns False when all unreleased rows must go again: the table is another one than before,
        or an older state of it (a restored backup, a power cut without synced commits), or it has
        fewer transactions than requests were accepted: these went to a table that is gone, as a
        connection that had it open still answers 204 (QUESTDB.md, traps).
        """
        if self.table_id is None:
            self._meet(seen)
        cursor, rows_by_feed, requests = accepted_before
        sequencer_txn_min = max(self._sequencer_txn_last, self._sequencer_txn_first + requests)
        if seen.table_id != self.table_id or seen.sequencer_txn < sequencer_txn_min:
            return False
        self._sequencer_txn_last = seen.sequencer_txn
        self.suspended = seen.suspended
        if cursor > (self._marks[-1].cursor if self._marks else self.applied):
            self._marks.append(_Mark(seen.sequencer_txn, cursor, rows_by_feed))
        while (
            self._marks and not seen.suspended and seen.writer_txn >= self._marks[0].sequencer_txn
        ):
            mark = self._marks.popleft()
            self.applied = mark.cursor
            self.applied_by_feed = mark.rows_by_feed
        return True

    def _meet(self, seen: WalState) -> None:
        self.table_id = seen.table_id
        self._sequencer_txn_first = self._sequencer_txn_last = seen.sequencer_txn

    def accepted_now(self) -> Accepted:
        """What was accepted so far, to be handed to ``observe`` after the look."""
        return Accepted(self.accepted, self.accepted_by_feed.copy(), self._requests)

    def forget_released(self, oldest_segment: int) -> None:
        """The segments before this one are gone; what was refused in them stays refused."""
        for segment, feed in list(self._refused_held):
            if segment < oldest_segment:
                self._refused_released[feed] += self._refused_held.pop((segment, feed))

    def start_again(self, seen: WalState | None, released_by_feed: Mapping[int, int]) -> None:
        """Everything the spool still holds counts as never sent; ``seen`` is the table now.

        ``released_by_feed`` are the table's rows in released segments: they stay counted, as they
        were applied (or refused) when they went.
        """
        self.epoch += 1
        self.table_id = None
        if seen is not None:
            self._meet(seen)
        self._requests = 0
        self.suspended = False
        self.accepted = self.applied = START
        self._marks.clear()
        self._refused_held.clear()
        self.refused_by_feed = self._refused_released.copy()
        self.accepted_by_feed = Counter(released_by_feed)
        self.accepted_by_feed.subtract(self._refused_released)
        self.applied_by_feed = self.accepted_by_feed.copy()

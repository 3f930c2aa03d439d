"""Small tables' rows that were appended again at the head, so that old segments may go, sans-IO.

A side table that cannot be written (suspended, faulty) must not keep gigabytes of applied trades on
disk (DESIGN section 3 step 8).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pumpwatch.store.spool_queue import Totals
from pumpwatch.store.spool_read import START, Cursor, Segment


class Moves:
    """Which rows have a copy further on, and up to where they need not be kept any more."""

    def __init__(self) -> None:
        self._moving: dict[int, tuple[Cursor, Totals]] = {}
        self._moved: dict[int, Cursor] = {}

    def is_moving(self, table: int) -> bool:
        """True while the copies are on their way to the disk."""
        return table in self._moving

    def note(self, table: int, upto: Cursor, appended: Totals) -> None:
        """Everything before ``upto`` was appended again; ``appended`` counts it in."""
        self._moving[table] = (upto, appended)

    def finish(self, written: Totals) -> None:
        """Copies that lie in a segment now count."""
        for table, (upto, appended) in list(self._moving.items()):
            if written.reach(appended):
                self._moved[table] = upto
                del self._moving[table]

    def covered(self, applied: Mapping[int, Cursor]) -> dict[int, Cursor]:
        """Up to where each table's records are applied, or lie further on a second time."""
        covered = dict(applied)
        for table, cursor in self._moved.items():
            covered[table] = max(cursor, covered.get(table, START))
        return covered


def visible_without(
    removed: Segment, visible: Mapping[int, Cursor], segments: Iterable[Segment]
) -> dict[int, Cursor]:
    """What readers may see of each table once a segment is gone."""
    listed = list(segments)
    left = dict(visible)
    for table, end in visible.items():
        if end.segment == removed.number:
            ends = [
                Cursor(segment.number, segment.table_ends[table])
                for segment in listed
                if segment.number < removed.number and table in segment.table_ends
            ]
            left[table] = max(ends, default=START)
    return left

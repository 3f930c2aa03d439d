"""Small tables' rows that were appended again at the head, so that old segments may go, sans-IO.

A side table that cannot be written (suspended, faulty) must not keep gigabytes of applied trades on
disk (DESIGN section 3 step 8).
"""

from __future__ import annotations

from collections.abc import Mapping

from pumpwatch.store.spool_read import START, Cursor


class Moves:
    """Which rows have a copy further on, and up to where they need not be kept any more."""

    def __init__(self) -> None:
        self._moving: dict[int, tuple[Cursor, int]] = {}
        self._moved: dict[int, Cursor] = {}

    def is_moving(self, table: int) -> bool:
        """True while the copies are on their way to the disk."""
        return table in self._moving

    def note(self, table: int, upto: Cursor, appended: int) -> None:
        """Everything before ``upto`` was appended again; it counts among the urgent records."""
        self._moving[table] = (upto, appended)

    def finish(self, written: int) -> None:
        """Copies that lie in a segment now count; ``written`` is how many urgent records do."""
        for table, (upto, appended) in list(self._moving.items()):
            if written >= appended:
                self._moved[table] = upto
                del self._moving[table]

    def covered(self, applied: Mapping[int, Cursor]) -> dict[int, Cursor]:
        """Up to where each table's records are applied, or lie further on a second time."""
        covered = dict(applied)
        for table, cursor in self._moved.items():
            covered[table] = max(cursor, covered.get(table, START))
        return covered

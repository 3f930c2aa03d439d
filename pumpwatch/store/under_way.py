"""Holes whose rows were brought and may not be in the table yet. Sans-IO.

A row that REST brings is old: that the table has all that came of before some moment says nothing
of it. Its hole is called filled once it lies in the spool (R3), seconds before it can be asked for;
where memory does not hold it either, an answer from the table lacks it in the meantime.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from pumpwatch.model import Gap

WITH_ROWS = ("filled", "lost")  # of one that is lost some rows may have been brought


class UnderWay:
    """What was brought, by when it was."""

    def __init__(self) -> None:
        self._brought: deque[tuple[int, Gap]] = deque()  # the oldest first

    def note(self, gaps: Iterable[Gap], now_ns: int) -> None:
        """Changed rows of the ledger; rows that closed one came before ``now_ns`` (our clock)."""
        self._brought.extend((now_ns, gap) for gap in gaps if gap.state in WITH_ROWS)

    def forget(self, visible_ns: int) -> None:
        """The table has all that came before this moment."""
        while self._brought and self._brought[0][0] < visible_ns:
            self._brought.popleft()

    def gaps(self) -> list[Gap]:
        """Those whose rows came later than what the table has, or may have."""
        return [gap for _, gap in self._brought]

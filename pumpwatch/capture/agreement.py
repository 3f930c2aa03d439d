"""Do two connections that carry the same symbols bring the same rows? Counted, never assumed.

Rows are counted per connection, symbol and span of exchange time. A span is compared once it is
long over, so that it does not matter which connection was faster.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Protocol

from pumpwatch._fast.intake import SPAN_SHIFT

SPANS_LATE = 3  # a span is read so many spans later: rows may be that late


class Counting(Protocol):
    """A connection's counts."""

    def take_tally(self, span: int) -> dict[int, int]:
        """``{instrument number: rows}`` of one span, which begins anew."""
        ...


class Agreement:
    """Compares the connections of one feed."""

    def __init__(self) -> None:
        self.differences = 0  # rows that came on one connection of a symbol and not on the other
        self._carried_since: dict[int, dict[int, int]] = {}  # connection, instrument: our clock
        self._last_span = 0

    def carry(self, connection: int, instruments: Mapping[int, int]) -> None:
        """From these times on (our clock) the connection carries these instruments."""
        self._carried_since.setdefault(connection, {}).update(instruments)

    def end(self, connection: int) -> None:
        """Its present span is not whole."""
        self._carried_since.pop(connection, None)

    def compare(self, connections: Mapping[int, Counting], now_ns: int) -> None:
        """Read the spans that are over since the last call."""
        newest = (now_ns >> SPAN_SHIFT) - SPANS_LATE
        oldest = max(self._last_span + 1, newest - 1)  # after a long stop the others are gone
        for span in range(oldest, newest + 1):
            self._last_span = span
            tallies = {number: one.take_tally(span) for number, one in connections.items()}
            for one, other in combinations(tallies, 2):
                self._compare(span, (one, tallies[one]), (other, tallies[other]))

    def _compare(
        self, span: int, one: tuple[int, dict[int, int]], other: tuple[int, dict[int, int]]
    ) -> None:
        begins_ns = span << SPAN_SHIFT
        ours, theirs = self._carried_since.get(one[0], {}), self._carried_since.get(other[0], {})
        for instrument, since_ns in ours.items():
            if max(since_ns, theirs.get(instrument, begins_ns)) < begins_ns:
                self.differences += abs(one[1].get(instrument, 0) - other[1].get(instrument, 0))

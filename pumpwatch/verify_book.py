"""What ``verify`` finds, and what the ledger says of it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from pumpwatch.model import Gap
from pumpwatch.store.gap_rows import SELECT_SQL, Questions, read_gap
from pumpwatch.venues.spec import FeedSpec


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is not as it should be; ``reason`` is empty where nothing explains it."""

    feed: str
    symbol: str
    check: str  # ids, times, ledger, minutes, venue
    what: str
    reason: str = ""


class Span(msgspec.Struct, frozen=True):
    """The exchange times that are looked at: from_ns <= time < to_ns."""

    from_ns: int
    to_ns: int


class Book:
    """The ledger's rows that may speak of a span, of one feed."""

    def __init__(self, gaps: Sequence[Gap]) -> None:
        self.gaps = list(gaps)

    def of(self, symbol: str) -> list[Gap]:
        """Rows of a symbol, and of the whole feed."""
        return [gap for gap in self.gaps if gap.symbol in (symbol, "*")]

    def of_missing_ids(self, symbol: str) -> list[Gap]:
        """Rows that say why ids are not there."""
        return [
            gap
            for gap in self.of(symbol)
            if gap.last_id and (gap.is_open or gap.state == "lost" or gap.reason == "not_offered")
        ]

    def explains_time(self, symbol: str, from_ns: int, to_ns: int) -> Gap | None:
        """A row that says that something of this span may be missing."""
        for gap in self.of(symbol):
            is_told = gap.is_open or gap.state == "lost"
            if is_told and gap.from_ns <= to_ns and from_ns <= (gap.to_ns or to_ns):
                return gap
        return None


async def read_book(sql: Questions, spec: FeedSpec) -> Book:
    """All rows of one feed. Raises ServerError."""
    rows = await sql.query_dicts(
        f"{SELECT_SQL} WHERE exchange = %s AND market_type = %s ORDER BY opened_at",
        [spec.exchange, spec.market_type],
    )
    return Book([read_gap(row) for row in rows])

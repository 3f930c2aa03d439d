"""What the HTTP interface says of a window's feeds."""

from __future__ import annotations

from typing import Protocol

from pumpwatch.config import FEED_NAMES
from pumpwatch.dashboard.models import InstrumentRow, WindowFeed
from pumpwatch.moments import iso_ns
from pumpwatch.store.window_model import FeedAnswer, WindowAnswer, WindowQuestion


class WindowAsker(Protocol):
    """Who is asked for windows; all raise ServerError and UsageError as Windows says."""

    async def head(self, question: WindowQuestion, rows_max: int) -> tuple[WindowAnswer, bool]:
        """At least the first ``rows_max`` rows, and whether there are more."""
        ...

    async def recent(
        self, symbol: str, feeds: tuple[str, ...], span_ns: int, rows_max: int
    ) -> WindowAnswer:
        """The newest rows of a symbol."""
        ...


def feeds_of(exchange: str | None, market_type: str | None) -> tuple[str, ...]:
    """Names of the feeds of an exchange, of a market type, or of both."""
    first = f"{exchange}_" if exchange else ""
    last = f"_{market_type}" if market_type else ""
    return tuple(name for name in FEED_NAMES if name.startswith(first) and name.endswith(last))


def feed_row(answer: FeedAnswer) -> WindowFeed:
    """One feed of a window."""
    return WindowFeed(
        feed=answer.feed,
        rows=answer.rows,
        source=answer.source,
        covered_from=iso_ns(answer.covered_from_ns) if answer.covered_from_ns else None,
        covered_to=iso_ns(answer.covered_to_ns) if answer.covered_to_ns else None,
        open_gaps=len(answer.open_gaps),
        instruments=[
            InstrumentRow(
                venue_symbol=one.instrument.venue_symbol, symbol=one.instrument.symbol,
                base=one.instrument.base, unit=one.instrument.unit, status=one.instrument.status,
                used=one.is_used, note=one.note,
            )
            for one in answer.instruments
        ],
        note=answer.note,
    )  # fmt: skip

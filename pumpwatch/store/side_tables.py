"""Rows of every table but trades, as spool records: quarantine, ledger, instruments, health.

A row's timestamp is fixed when its record is made, never at sending, and is unique per table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from pumpwatch.clock import Clock
from pumpwatch.model import FeedName, Gap, InstrumentState, Record
from pumpwatch.store.gap_rows import gap_row
from pumpwatch.store.instrument_rows import instrument_row
from pumpwatch.store.quarantine import RAW_CHARACTERS_MAX, REFUSED, Entry, Overflow, Quarantine
from pumpwatch.store.schema import TABLES
from pumpwatch.store.side_rows import side_row
from pumpwatch.store.spool import Spool


class SideTables:
    """Makes rows and hands them to the spool."""

    def __init__(self, spool: Spool, clock: Clock, feeds: Sequence[FeedName], folder: Path) -> None:
        self._spool = spool
        self._clock = clock
        self._feeds = feeds  # by feed number - 1
        self._last_ns: dict[str, int] = {}
        # Told of every state that is written: who answers questions keeps them in mind.
        self.on_instruments: Callable[[list[InstrumentState]], None] = lambda _: None
        self.quarantine = Quarantine(Overflow(folder), self._quarantine_row)

    def _unique_ns(self, table: str, at_ns: int) -> int:
        """A time that no other row of this table has: DEDUP must not fold two of them."""
        self._last_ns[table] = max(at_ns, self._last_ns.get(table, 0) + 1)
        return self._last_ns[table]

    def _append(self, table: str, lines: Iterable[bytes]) -> None:
        parts = list(lines)
        if parts:
            self._spool.append(
                Record(table=TABLES[table], feed=0, rows=len(parts), payload=b"".join(parts))
            )

    def keep(self, feed: FeedName, reason: str, raw: bytes, rows: int, detail: str = "") -> None:
        """Put a message that could not be read, or had refused rows, into quarantine."""
        self.quarantine.add(self._entry(feed, reason, raw, rows, detail))

    def _entry(self, feed: FeedName, reason: str, raw: bytes, rows: int, detail: str) -> Entry:
        return Entry(
            at_ns=self._unique_ns("quarantine", self._clock.wall_ns()),
            exchange=feed.exchange,
            market_type=feed.market_type,
            reason=reason,
            detail=detail,
            raw=raw.decode("utf-8", "backslashreplace"),
            rows=rows,
        )

    def refused_line(self, feed_number: int, line: bytes, message: str) -> None:
        """A line that the server refused goes to quarantine with the server's words.

        Afterwards no part of it lies in memory only: its segment may be released. One
        of the quarantine's own lines goes to a file, or it would be refused again for ever.
        """
        feed = self._feeds[feed_number - 1] if feed_number else _NO_FEED
        is_own = line.startswith(b"quarantine,")
        self.quarantine.add(self._entry(feed, REFUSED, line, 1, message), to_file=is_own)
        self.quarantine.flush()

    def _quarantine_row(self, entry: Entry) -> None:
        row = side_row(
            "quarantine",
            {
                "exchange": entry.exchange,
                "market_type": entry.market_type,
                "reason": entry.reason,
            },
            {"raw": entry.raw[:RAW_CHARACTERS_MAX], "detail": entry.detail, "rows": entry.rows},
            entry.at_ns,
        )
        self._append("quarantine", [row])

    def gaps(self, rows: Iterable[Gap]) -> None:
        """Write ledger rows; they go in front of the rows that showed the holes (R3)."""
        self._append("feed_gaps", map(gap_row, rows))

    def instruments(self, states: Iterable[InstrumentState]) -> None:
        """Write what instruments are from now on."""
        states = list(states)
        self._append("instruments", map(instrument_row, states))
        self.on_instruments(states)

    def listing_event(self, line: bytes) -> None:
        """A row of listing_events, as pumpwatch.listing makes it."""
        self._append("listing_events", [line])

    def operation(self, line: bytes) -> None:
        """A row of operations, as pumpwatch.store.operations makes it."""
        self._append("operations", [line])

    def close(self) -> None:
        """End the quarantine's overflow file."""
        self.quarantine.close()


class _NoFeed:
    exchange = ""
    market_type = ""


_NO_FEED = _NoFeed()

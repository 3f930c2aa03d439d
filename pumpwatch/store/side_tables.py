"""Rows of every table but trades, as spool records: quarantine, ledger, instruments, health.

A row's timestamp is fixed when its record is made, never at sending, and is unique per table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from pumpwatch.clock import Clock
from pumpwatch.config_upkeep import QuarantineConfig
from pumpwatch.model import FeedName, Gap, InstrumentState, Record
from pumpwatch.store.gap_rows import gap_row
from pumpwatch.store.instrument_rows import instrument_row
from pumpwatch.store.kept_messages import KeptMessages
from pumpwatch.store.message_files import KeptMessage, MessageFiles
from pumpwatch.store.quarantine import RAW_CHARACTERS_MAX, REFUSED, Entry, Overflow, Quarantine
from pumpwatch.store.quarantine_kinds import KindRow, Kinds
from pumpwatch.store.schema import TABLES
from pumpwatch.store.segment import MIB
from pumpwatch.store.side_rows import side_row
from pumpwatch.store.spool import Spool


class SideTables:
    """Makes rows and hands them to the spool."""

    def __init__(
        self,
        spool: Spool,
        clock: Clock,
        feeds: Sequence[FeedName],
        folder: Path,
        limits: QuarantineConfig | None = None,
        *,
        fsync_s: float = 1.0,
    ) -> None:
        """``folder`` is the quarantine's; ``fsync_s`` the rhythm of the spool."""
        limits = limits or QuarantineConfig()
        self._spool = spool
        self._clock = clock
        self._feeds = feeds  # by feed number - 1
        self._last_ns: dict[str, int] = {}
        # Told of every state that is written: who answers questions keeps them in mind.
        self.on_instruments: Callable[[list[InstrumentState]], None] = lambda _: None
        self.quarantine = Quarantine(Overflow(folder), self._quarantine_row)
        self.messages = KeptMessages(
            MessageFiles(folder), clock, feed_bytes_max=limits.disk_max_mib * MIB,
            keep_days=limits.keep_days, fsync_s=fsync_s,
        )  # fmt: skip
        self._kinds = Kinds(self._kind_row)

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

    def keep(self, feed: FeedName, reason: str, raw: bytes, rows: int, detail: str = "") -> bool:
        """Put a message that could not be read, or had refused rows, into quarantine.

        False: only its kind is told; there is no room for it as a whole.
        """
        at_ns = self._unique_ns("quarantine", self._clock.wall_ns())
        name = f"{feed.exchange}_{feed.market_type}"
        self.quarantine.rows[name] += rows
        self._kinds.add(
            KindRow(
                at_ns=at_ns, exchange=feed.exchange, market_type=feed.market_type, reason=reason,
                detail=detail, sample=raw, rows=rows,
            )
        )  # fmt: skip
        return self.messages.keep(name, KeptMessage(at_ns, reason, detail, rows, raw))

    def look(self) -> None:
        """Once a second: rows of the quarantine that have grown, and refused lines, to the disk."""
        self._kinds.look(self._clock.wall_ns())
        self.quarantine.flush()

    def _kind_row(self, row: KindRow) -> None:
        self._put(row, _text(row.sample), row.messages)

    def _quarantine_row(self, entry: Entry) -> None:
        self._put(entry, entry.raw, 1)

    def _put(self, row: KindRow | Entry, raw: str, messages: int) -> None:
        line = side_row(
            "quarantine",
            {"exchange": row.exchange, "market_type": row.market_type, "reason": row.reason},
            {
                "raw": raw[:RAW_CHARACTERS_MAX],
                "detail": row.detail,
                "rows": row.rows,
                "messages": messages,
            },
            row.at_ns,
        )
        self._append("quarantine", [line])

    def _entry(self, feed: FeedName, reason: str, raw: bytes, rows: int, detail: str) -> Entry:
        return Entry(
            at_ns=self._unique_ns("quarantine", self._clock.wall_ns()),
            exchange=feed.exchange,
            market_type=feed.market_type,
            reason=reason,
            detail=detail,
            raw=_text(raw),
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
        """Nothing more comes: the last counts, and the end of the overflow file."""
        self._kinds.end_minute()
        self.quarantine.close()


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")


class _NoFeed:
    exchange = ""
    market_type = ""


_NO_FEED = _NoFeed()

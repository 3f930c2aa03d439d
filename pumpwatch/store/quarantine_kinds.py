"""What the table ``quarantine`` says of messages: one row per kind and minute. Sans-IO.

A kind is a feed, a reason and what changed. Its first message of a minute is the row's sample, and
makes the row at once; the counts follow in the same row (DEDUP: its time and sample are its key).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import msgspec

MINUTE_NS = 60 * 10**9
AGAIN_NS = 10 * 10**9  # between two writings of a row whose counts grow
KINDS_MAX = 100  # rows of one feed and minute; more are counted in one row
OTHERS = "many kinds: see quarantine show"


class KindRow(msgspec.Struct, kw_only=True):
    """One row of the table as it is now."""

    at_ns: int  # of the sample
    exchange: str
    market_type: str
    reason: str
    detail: str
    sample: bytes
    messages: int = 1
    rows: int = 0

    @property
    def feed(self) -> str:
        """Its name."""
        return f"{self.exchange}_{self.market_type}"


class Kinds:
    """Counts, and tells ``to_table`` of rows that are new or have grown."""

    def __init__(self, to_table: Callable[[KindRow], None]) -> None:
        self._to_table = to_table
        self._minute = -1
        self._rows: dict[tuple[str, str, str], KindRow] = {}
        self._told_ns: dict[tuple[str, str, str], int] = {}
        self._grown: set[tuple[str, str, str]] = set()
        self._of_feed: Counter[str] = Counter()

    def add(self, row: KindRow) -> None:
        """One message more: ``row`` is what it would be alone."""
        if row.at_ns // MINUTE_NS != self._minute:
            self.end_minute()
            self._minute = row.at_ns // MINUTE_NS
        key = (row.feed, row.reason, row.detail)
        if key not in self._rows and self._of_feed[row.feed] >= KINDS_MAX:
            row.detail = OTHERS
            key = (row.feed, row.reason, OTHERS)
        known = self._rows.get(key)
        if known is None:
            self._of_feed[row.feed] += 1
            self._rows[key] = known = row
            self._tell(key, row.at_ns)
        else:
            known.messages += row.messages
            known.rows += row.rows
            self._grown.add(key)
            if row.at_ns - self._told_ns[key] >= AGAIN_NS:
                self._tell(key, row.at_ns)

    def look(self, now_ns: int) -> None:
        """Now and then: rows that have grown a while ago, and those of a minute that is over."""
        if now_ns // MINUTE_NS != self._minute:
            self.end_minute()
        for key in [one for one in self._grown if now_ns - self._told_ns[one] >= AGAIN_NS]:
            self._tell(key, now_ns)

    def end_minute(self) -> None:
        """Write what is not written, begin anew."""
        for key in list(self._grown):
            self._tell(key, self._told_ns[key])
        self._rows.clear()
        self._told_ns.clear()
        self._of_feed.clear()

    def _tell(self, key: tuple[str, str, str], now_ns: int) -> None:
        self._told_ns[key] = now_ns
        self._grown.discard(key)
        self._to_table(self._rows[key])

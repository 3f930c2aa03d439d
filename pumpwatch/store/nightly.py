"""The nightly proof: one line a day that says what yesterday's record is worth.

Each line carries the hash of the one before and of the day's certificates, and its own: a line that
is changed or taken away later shows. They stand in the log and in the table ``operations``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from pumpwatch.clock import Clock
from pumpwatch.moments import iso_ns
from pumpwatch.store.operations import OperationLog
from pumpwatch.store.partitions import DAY_NS, SqlAccess

OPERATION = "proof"
GOOD, OPEN = "good", "open"  # open: something of the day is not proven
DAYS_BACK_MAX = 7  # so many days that no daemon ran are made up for
OWN_HASH = re.compile(r"; this ([0-9a-f]{64})$")
PREVIOUS_HASH = re.compile(r"; previous ([0-9a-f]{64}|none);")
LAST_SQL = (
    "SELECT subject, detail FROM operations WHERE operation = %s AND result <> 'running'"
    " ORDER BY started_at DESC LIMIT 1"
)
PROOFS_SQL = (
    "SELECT started_at::long, subject, result, detail FROM operations WHERE operation = %s"
    " AND result <> 'running' ORDER BY started_at"
)
EVENTS_SQL = (
    "SELECT source, notice_id, symbol, state, certificate FROM listing_events"
    " WHERE coalesce(announced_at, detected_at) >= '{start}'"
    " AND coalesce(announced_at, detected_at) < '{end}'"
)
# A hole is of the day if rows of the day may be missing in it.
GAPS_SQL = (
    "SELECT state, missing, count() FROM feed_gaps"
    " WHERE coalesce(from_ts, opened_at) < '{end}' AND (to_ts IS NULL OR to_ts >= '{start}')"
)
TRADES_SQL = "SELECT count() FROM trades WHERE timestamp >= '{start}' AND timestamp < '{end}'"


class Upshot(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a day besides the tables."""

    backup: str  # "20260131T031000Z verified 2026-01-31T03:14:00Z", or why there is none
    is_backup_good: bool
    disk_days_left: float | None


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """One day, as it stands in the tables."""

    day: str  # 2026-01-31
    trades: int
    gaps: int
    filled: int  # of them: filled, or proved empty
    missing: int  # rows, where they could be counted
    unknown: int  # holes whose rows could not be counted
    windows: int
    windows_complete: int
    certificates_sha256: str
    upshot: Upshot

    @property
    def is_good(self) -> bool:
        """Nothing is missing, every window complete, a backup verified."""
        is_whole = not self.missing and not self.unknown
        return is_whole and self.windows == self.windows_complete and self.upshot.is_backup_good

    def line(self, previous: str) -> str:
        """The line, with its own hash at the end: of everything before "; this"."""
        unknown = f" and an unknown number in {self.unknown} holes" if self.unknown else ""
        days = self.upshot.disk_days_left
        text = (
            f"{self.day}: {self.trades} trades, missing {self.missing}{unknown}, gaps {self.gaps}"
            f" of which {self.filled} filled, windows {self.windows_complete} of {self.windows}"
            f" complete, backup {self.upshot.backup}, disk"
            f" {'-' if days is None else f'{days:.0f}'} days left;"
            f" certificates {self.certificates_sha256}; previous {previous or 'none'}"
        )
        return f"{text}; this {sha256(text)}"


def sha256(text: str) -> str:
    """In hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def own_hash(line: str) -> str:
    """The hash at the end of a line; empty where it is none or does not fit the line."""
    match = OWN_HASH.search(line)
    return match[1] if match and sha256(line[: match.start()]) == match[1] else ""


def broken_links(lines: Sequence[str]) -> list[str]:
    """What is wrong with a chain, oldest line first; a line each."""
    problems = []
    before: str | None = None  # what stood before the first line may have been taken elsewhere
    for line in lines:
        head = line.partition(",")[0]
        found = own_hash(line)
        if not found:
            problems.append(f"{head}: the line was changed: it does not fit its own hash")
        match = PREVIOUS_HASH.search(line)
        previous = "" if match is None else match[1]
        if before is not None and previous != before:
            problems.append(f"{head}: it does not follow the line that stands before it")
        before = found
    return problems


def days_due(now_ns: int, daily_of_day_ns: int, last_day: str) -> list[int]:
    """Beginnings of the days without a line, oldest first; a day's line is due the next morning."""
    today_ns = (now_ns - daily_of_day_ns) // DAY_NS * DAY_NS
    days = [today_ns - back * DAY_NS for back in range(DAYS_BACK_MAX, 0, -1)]
    if not last_day:
        return days[-1:]
    return [day_ns for day_ns in days if iso_ns(day_ns)[:10] > last_day]


class Nightly:
    """Writes what is due."""

    def __init__(
        self,
        sql: SqlAccess,
        operations: OperationLog,
        clock: Clock,
        *,
        daily_of_day_ns: int,
        upshot: Callable[[], Upshot],
        is_ready: Callable[[], bool] = lambda: True,
        told: Callable[[str], None] = lambda line: None,
    ) -> None:
        """``is_ready``: what earlier runs left is in the tables. ``told`` gets each new line."""
        self._sql = sql
        self._operations = operations
        self._clock = clock
        self._daily_of_day_ns = daily_of_day_ns
        self._upshot = upshot
        self._is_ready = is_ready
        self._told = told
        self._last: tuple[str, str] | None = None  # day and hash of the last line; None: not read

    def is_due(self) -> bool:
        """Whether a day has no line, as far as it is known."""
        if not self._is_ready():
            return False
        return self._last is None or bool(self._due(self._last[0]))

    def _due(self, last_day: str) -> list[int]:
        return days_due(self._clock.wall_ns(), self._daily_of_day_ns, last_day)

    async def run(self) -> list[str]:
        """Write the lines of all days that have none. Raises ServerError."""
        if self._last is None:
            rows = await self._sql.query(LAST_SQL, (OPERATION,))
            self._last = (str(rows[0][0]), own_hash(str(rows[0][1]))) if rows else ("", "")
            if rows:
                self._told(str(rows[0][1]))
        lines = []
        for day_ns in self._due(self._last[0]):
            proof = await read_day(self._sql, day_ns, self._upshot())
            if not self._last[0] and not proof.trades:
                continue  # a record that began today has nothing to say of yesterday
            line = proof.line(self._last[1])
            result = GOOD if proof.is_good else OPEN
            await self._operations.note(OPERATION, proof.day, result, line)
            self._last = (proof.day, own_hash(line))
            self._told(line)
            lines.append(line)
        if not self._last[0]:
            self._last = (iso_ns(self._clock.wall_ns() - self._daily_of_day_ns - DAY_NS)[:10], "")
        return lines


async def read_day(sql: SqlAccess, day_ns: int, upshot: Upshot) -> Proof:
    """What the tables say of one day. Raises ServerError."""
    start, end = iso_ns(day_ns), iso_ns(day_ns + DAY_NS)
    trades = await sql.query(TRADES_SQL.format(start=start, end=end))
    gaps = await sql.query(GAPS_SQL.format(start=start, end=end))
    events = await sql.query(EVENTS_SQL.format(start=start, end=end))
    closed = [row for row in gaps if row[0] in ("filled", "empty")]
    others = [row for row in gaps if row[0] not in ("filled", "empty")]
    return Proof(
        day=start[:10],
        trades=int(trades[0][0]),
        gaps=sum(int(count) for _, _, count in gaps),
        filled=sum(int(count) for _, _, count in closed),
        missing=sum(
            int(missing) * int(count) for _, missing, count in others if (missing or 0) > 0
        ),
        unknown=sum(int(count) for _, missing, count in others if missing is None or missing < 0),
        windows=len(events),
        windows_complete=sum(row[3] == "complete" for row in events),
        certificates_sha256=certificates_hash(events),
        upshot=upshot,
    )


def certificates_hash(events: Iterable[tuple[Any, ...]]) -> str:
    """Of a day's events: source, notice, coin and certificate, a line each, in order."""
    lines = sorted(
        f"{source}/{notice}/{coin} {certificate or ''}"
        for source, notice, coin, _, certificate in events
    )
    return sha256("\n".join(lines))

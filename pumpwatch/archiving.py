"""Once a day: holes that REST could not close are looked for in the venues' daily files.

Only the files of symbol-days with such a hole are fetched. What a file adds is stored (origin
archive), the hole is filled, and what the file does not have either is lost. A file that disagrees
with rows that we hold is kept as evidence in the log and nothing of it is believed; one that is not
there yet is asked for again the next day.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import structlog
import trio

from pumpwatch.capture.archive_fold import MARGIN_NS, Stored, fold
from pumpwatch.capture.feed_state import FeedState
from pumpwatch.capture.ledger import ARCHIVE
from pumpwatch.capture.open_gaps import AWAITING_ARCHIVE
from pumpwatch.capture.overlap import Listed
from pumpwatch.dashboard.actions import Action, ActionDesk
from pumpwatch.errors import PumpWatchError, UsageError, VenueError
from pumpwatch.model import Gap
from pumpwatch.rest import RestClient
from pumpwatch.store.gap_rows import Questions
from pumpwatch.store.maintenance import next_daily_ns
from pumpwatch.store.recount import ROWS_SQL
from pumpwatch.venues.archives import read_file
from pumpwatch.venues.spec import Allowance, ArchiveFile, RestTrade

if TYPE_CHECKING:
    from pumpwatch.daemon import Daemon

log = structlog.get_logger()

LOOK = "look_at_archives"
SECOND_NS = 10**9
HOUR_NS = 3600 * SECOND_NS
DAY_NS = 24 * HOUR_NS
DAY = timedelta(days=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FILES_PER_MINUTE = 20.0  # of one exchange: files are large, and nobody is in a hurry

Day = datetime  # its first instant in the file's own zone, as if that were UTC


class Tally(msgspec.Struct):
    """What one look came to."""

    files: int = 0
    rows: int = 0  # new ones
    filled: int = 0  # holes
    lost: int = 0
    waiting: int = 0  # whose file is not there yet
    disagreeing: int = 0  # whose file contradicts what is held

    def text(self) -> str:
        """In words."""
        return (
            f"{self.files} files, {self.rows} rows: {self.filled} holes filled, {self.lost} lost,"
            f" {self.waiting} wait for a file; {self.disagreeing} files disagree with what is held"
        )


def days_of(gap: Gap, archive: ArchiveFile) -> list[Day]:
    """Days whose files may hold a row of it."""
    return days_between(gap.from_ns, gap.to_ns + 1, archive)


def days_between(from_ns: int, to_ns: int, archive: ArchiveFile) -> list[Day]:
    """Days whose files may hold a row with from <= time < to."""
    shift_ns = archive.utc_offset_h * HOUR_NS
    first, last = (from_ns + shift_ns) // DAY_NS, (to_ns - 1 + shift_ns) // DAY_NS
    return [EPOCH + DAY * number for number in range(first, last + 1)]


def start_ns(day: Day, archive: ArchiveFile) -> int:
    """When a file's day begins."""
    return (day - EPOCH) // DAY * DAY_NS - archive.utc_offset_h * HOUR_NS


async def fetch_file(
    rest: RestClient, exchange: str, archive: ArchiveFile, venue_symbol: str, day: Day
) -> bytes:
    """A day's file, packed as the venue has it. Raises VenueError."""
    allowance = Allowance(key=f"{exchange}_archive", units=FILES_PER_MINUTE, per_s=60.0, burst=2.0)
    return await rest.get_url(url_of(archive, venue_symbol, day), allowance=allowance)


def url_of(archive: ArchiveFile, venue_symbol: str, day: Day) -> str:
    """Where the file is."""
    return (
        archive.url.replace("{symbol}", venue_symbol)
        .replace("{year}", f"{day:%Y}").replace("{month}", f"{day:%m}")
        .replace("{day}", f"{day:%d}")
    )  # fmt: skip


class Archiving:
    """Looks at daily files of all feeds; ``run`` it beside the capture."""

    def __init__(self, daemon: Daemon, rest: RestClient, sql: Questions) -> None:
        self._daemon, self._rest, self._sql = daemon, rest, sql
        self._config = daemon.config.archives
        named = dict(entry.split("=", 1) for entry in self._config.urls)
        self._archives: dict[str, ArchiveFile] = {}
        for feed in daemon.feeds:
            archive = feed.spec.archive
            if archive is not None:
                url = named.get(feed.spec.name, archive.url)
                self._archives[feed.spec.name] = msgspec.structs.replace(archive, url=url)
                feed.awaits_archive = True

    def file_of(self, feed: str) -> ArchiveFile | None:
        """Where a feed's daily files lie, with the settings' address; None: it has none."""
        return self._archives.get(feed)

    async def run(self) -> None:
        """Look once a day, until cancelled."""
        while True:
            now_ns = self._daemon.clock.wall_ns()
            await trio.sleep((next_daily_ns(now_ns, self._config.daily_at) - now_ns) / SECOND_NS)
            tally = await self.look()
            log.info("archives_looked_at", text=tally.text())

    async def look(self) -> Tally:
        """Look at every hole that awaits a file, symbol by symbol."""
        tally = Tally()
        waiting: defaultdict[tuple[str, str], list[Gap]] = defaultdict(list)
        for gap in self._daemon.ledger.open_gaps():
            if gap.state == AWAITING_ARCHIVE and gap.feed in self._archives:
                waiting[gap.feed, gap.symbol].append(gap)
        feeds = {feed.spec.name: feed for feed in self._daemon.feeds}
        for (name, symbol), gaps in sorted(waiting.items()):
            venue_symbol = feeds[name].venue_symbol(symbol)
            if venue_symbol is None:  # it is not listed now
                tally.waiting += len(gaps)
                continue
            try:
                await self._look_at(feeds[name], venue_symbol, gaps, tally)
            except PumpWatchError as error:
                tally.waiting += len(gaps)
                log.warning("archive_failed", feed=name, symbol=symbol, message=str(error))
        return tally

    async def _look_at(
        self, feed: FeedState, venue_symbol: str, gaps: list[Gap], tally: Tally
    ) -> None:
        """One symbol's holes. Raises VenueError, ServerError."""
        archive = self._archives[feed.spec.name]
        files: dict[Day, list[RestTrade] | None] = {}
        for day in sorted({day for gap in gaps for day in days_of(gap, archive)}):
            files[day] = await self._fetch(feed, archive, venue_symbol, day, gaps, tally)
        for gap in gaps:
            days = [files[day] for day in days_of(gap, archive)]
            rows = [row for some in days for row in some or []]
            if None in days:
                self._wait(feed, gap, tally)
            elif feed.ledger.find(gap.gap_id) is not None:
                await self._fold(feed, archive, venue_symbol, gap, rows, tally)

    async def _fetch(
        self, feed: FeedState, archive: ArchiveFile, venue_symbol: str, day: Day,
        gaps: Iterable[Gap], tally: Tally,
    ) -> list[RestTrade] | None:  # fmt: skip
        """A file's rows in and around the holes; None: there is no such file yet.

        Raises VenueError where the venue does not answer, or not with a file.
        """
        try:
            body = await fetch_file(self._rest, feed.spec.exchange, archive, venue_symbol, day)
        except VenueError as error:
            if error.retry:
                raise
            url = url_of(archive, venue_symbol, day)
            log.info("archive_not_there", feed=feed.spec.name, url=url, message=str(error))
            return None
        tally.files += 1
        spans = [(gap.from_ns - MARGIN_NS, gap.to_ns + MARGIN_NS) for gap in gaps]
        return await trio.to_thread.run_sync(
            partial(_rows_within, archive, body, feed.spec.time_step_ns, spans)
        )

    def _wait(self, feed: FeedState, gap: Gap, tally: Tally) -> None:
        days = self._config.wait_days
        if feed.clock.wall_ns() - gap.to_ns > days * 24 * HOUR_NS:
            feed.ledger.lost(gap.gap_id, f"{gap.reason}; no daily file within {days} days")
            tally.lost += 1
        else:
            tally.waiting += 1

    async def _fold(
        self, feed: FeedState, archive: ArchiveFile, venue_symbol: str, gap: Gap,
        rows: list[RestTrade], tally: Tally,
    ) -> None:  # fmt: skip
        low_ns, high_ns = gap.from_ns - MARGIN_NS, gap.to_ns + MARGIN_NS
        days = days_of(gap, archive)
        # No farther than the files reach.
        low_ns = max(low_ns, start_ns(days[0], archive))
        high_ns = min(high_ns, start_ns(days[-1] + DAY, archive) - 1)
        found = await self._sql.query_dicts(
            ROWS_SQL, [low_ns, high_ns, gap.exchange, gap.market_type, gap.symbol]
        )
        held = [
            Stored(one["trade_id"], one["exchange_ns"], one["side"], one["price"], one["quantity"])
            for one in found
        ]
        instrument = feed.instruments[venue_symbol]
        folded = fold(
            [row for row in rows if low_ns <= row.exchange_ns <= high_ns], held, instrument,
            gap.from_ns, gap.to_ns, by_id=archive.has_stream_ids,
        )  # fmt: skip
        if folded.alone:
            log.warning("archive_has_more", feed=gap.feed, symbol=gap.symbol, gap=gap.gap_id,
                        rows=folded.alone)  # fmt: skip
        if folded.disagreements:
            tally.disagreeing += 1
            tally.lost += 1
            log.error("archive_disagrees", feed=gap.feed, symbol=gap.symbol, gap=gap.gap_id,
                      examples=folded.disagreements)  # fmt: skip
            feed.ledger.lost(gap.gap_id, f"the daily file disagrees: {folded.disagreements[0]}")
            return
        self._take(feed, venue_symbol, gap, folded.missing, tally)

    def _take(
        self, feed: FeedState, venue_symbol: str, gap: Gap, missing: list[Listed], tally: Tally
    ) -> None:
        """Rows first, what is said of them behind (R3); no checkpoint in between."""
        ledger = feed.ledger
        has_numbers = any(row.trade.order_id for row in missing)
        if gap.last_id and has_numbers:
            low, high = gap.first_id, gap.last_id
            missing = [row for row in missing if low <= row.trade.order_id <= high]
        new, refused = feed.take_backfill(
            venue_symbol, missing, feed.clock.wall_ns(), is_archive=True
        )
        tally.rows += new
        ledger.note_rest(gap.gap_id, new)
        if not gap.last_id:
            if refused:
                ledger.lost(gap.gap_id, "rows of the daily file cannot be stored")
                tally.lost += 1
            elif new:
                ledger.fill(gap.gap_id, new, ARCHIVE)
                tally.filled += 1
            else:
                ledger.empty(gap.gap_id, ARCHIVE)
                tally.filled += 1
            return
        if not has_numbers and new == gap.missing:  # Gate spot: as many as the ids say
            ledger.fill_ids(gap.gap_id, gap.first_id, gap.last_id)
        feed.look()
        left = ledger.find(gap.gap_id)
        if left is not None:
            ledger.lost(gap.gap_id, f"{gap.reason}; not in the daily file")
        tally.filled += left is None
        tally.lost += left is not None


def _rows_within(
    archive: ArchiveFile, body: bytes, step_ns: int, spans: list[tuple[int, int]]
) -> list[RestTrade]:
    return [
        row
        for row in read_file(archive, body, step_ns)
        if any(low <= row.exchange_ns <= high for low, high in spans)
    ]


def offer_look(desk: ActionDesk, archiving: Callable[[], Archiving | None]) -> None:
    """Make it an action of the HTTP interface."""

    async def look(_arguments: Mapping[str, str]) -> str:
        running = archiving()
        if running is None:
            raise UsageError("archives are switched off: set archives.enabled = true")
        return (await running.look()).text()

    desk.add(LOOK, Action(help="Look into daily files now.", arguments={}, run=look))

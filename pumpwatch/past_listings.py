"""Listings of before we recorded: notices paged back, their trades from lists and daily files.

``listings backfill`` orders it; the daemon does it, behind everything else that asks a venue, and
goes on after a restart where it stood: what was done is in a journal, written after each step. Rows
go to archive_trades, which nothing ages out of. Nobody was there: a feed's grade is ``archive``.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec
import structlog
import trio

from pumpwatch.capture.archive_fold import Stored, not_held
from pumpwatch.capture.overlap import Listed
from pumpwatch.capture.past_span import PastReader, SpanRead
from pumpwatch.config import FEED_NAMES
from pumpwatch.dashboard.actions import Action, ActionDesk
from pumpwatch.errors import PumpWatchError, ServerError, UsageError
from pumpwatch.listing.board_client import BoardClient, BoardRefusedError, make_http
from pumpwatch.listing.events import ListingEvent
from pumpwatch.listing.evidence import Window
from pumpwatch.listing.looks import BITHUMB_PATH, PER_PAGE, UPBIT_PATH
from pumpwatch.listing.notices import NoticePage, read_bithumb_list, read_upbit_list
from pumpwatch.listing.pace import Pace, PaceRules
from pumpwatch.listing.past_notices import PastNotices
from pumpwatch.listing.window import KEPT_NS, windows_of
from pumpwatch.listing_publish import row_certificate
from pumpwatch.listing_view import past_instruments
from pumpwatch.model import Instrument
from pumpwatch.moments import iso_ns, parse_iso_ns
from pumpwatch.past_files import PastFiles
from pumpwatch.past_journal import ASK, ORDER, FeedHad, Journal, PastEvent, again_ns
from pumpwatch.past_publish import TABLE, publish_past
from pumpwatch.store.ilp_client import IlpSender, Outcome
from pumpwatch.store.partitions import wait_applied
from pumpwatch.store.side_rows import side_row
from pumpwatch.store.sql import Sql
from pumpwatch.venue_lists import values_of
from pumpwatch.venues import FEEDS_BY_NAME
from pumpwatch.whole_file import write_whole

if TYPE_CHECKING:
    from pumpwatch.daemon import Daemon

log = structlog.get_logger()

JOURNAL = "listing_backfill.json"
SOURCES = ("upbit", "bithumb")
PAGE_GAP_S = 2.0  # between two pages: the detectors ask the same boards
PAGES_MAX = 500
LAST_PRIORITY = (1e12, 0.0)  # holes and open windows go before
SENT_ROWS = 20_000  # a request
RETRY_S = 30.0  # after a venue or the database failed
DUE_POLL_S = 60.0
TRIES_MAX = 5  # of one event, then the next ones go on
ORIGIN = "archive"
OFF = "; its daily files are switched off (archives.enabled)"
READY_POLL_S = 0.5  # after the start, until venues can be asked
HELD_SQL = (
    "SELECT trade_id, timestamp::long AS exchange_ns, side, price, quantity FROM archive_trades"
    " WHERE timestamp >= cast(%s AS TIMESTAMP_NS) AND timestamp < cast(%s AS TIMESTAMP_NS)"
    " AND exchange = %s AND market_type = %s AND symbol = %s"
)
in_thread = trio.to_thread.run_sync


class PastListings:
    """One daemon's backfill of listings. ``run`` it beside the desk of listings."""

    def __init__(self, daemon: Daemon, sql: Sql, sender: IlpSender, rng: random.Random) -> None:
        self._daemon, self._sql, self._sender, self._rng = daemon, sql, sender, rng
        self._path = daemon.config.data_dir / JOURNAL
        self._journal: Journal | None = None
        self._wake = trio.Event()
        self._loaded = trio.Event()
        self._saving = trio.Lock()

    # --- orders -----------------------------------------------------------------------------------

    async def begin(self, since_ns: int, source: str) -> Journal:
        """Begin, or say where the same one stands; once it returns, a restart goes on with it.

        Raises UsageError, OSError.
        """
        if self._daemon.rest is None:
            raise UsageError(
                "listings backfill: nothing is recorded here, so no venue can be asked"
            )
        await self._loaded.wait()
        held = self._journal
        if held is not None and held.state != "done":
            if (held.since_ns, held.source) != (since_ns, source):
                since = iso_ns(held.since_ns)[:19]
                raise UsageError(f"listings backfill: one since {since} of {held.source} goes on")
            return held
        later = [] if held is None else [one for one in held.all_events() if one.again_ns]
        journal = self._journal = Journal(since_ns=since_ns, source=source, later=later)
        await self._save(journal)
        self._wake.set()
        return journal

    def standing(self) -> Journal | None:
        """The last one, or the one that goes on."""
        return self._journal

    # --- running ----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Go on where an earlier run ended, then wait for orders, until cancelled."""
        self._journal = await in_thread(self._load)
        self._loaded.set()
        while self._daemon.rest is None:  # noqa: ASYNC110 - nobody tells of it
            await trio.sleep(READY_POLL_S)
        while True:
            self._wake = trio.Event()
            if self._journal is not None and self._has_work(self._journal):
                try:
                    await self._work(self._journal)
                    continue
                except (PumpWatchError, OSError) as error:
                    self._journal.note = str(error)[:500]
                    log.warning("listing_backfill_waits", message=str(error))
                except Exception as error:  # it must not end the recording
                    self._journal.note = repr(error)[:500]
                    log.exception("listing_backfill_broken")
                await trio.sleep(RETRY_S)
                continue
            with trio.move_on_after(DUE_POLL_S):  # by the wall clock, which may be stepped
                await self._wake.wait()

    def _has_work(self, journal: Journal) -> bool:
        return journal.state != "done" or any(map(self._is_due, journal.all_events()))

    def _is_due(self, one: PastEvent) -> bool:
        return one.state == "waiting" or 0 < one.again_ns <= self._daemon.clock.wall_ns()

    def _load(self) -> Journal | None:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Journal)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("listing_backfill_unreadable", path=str(self._path), message=str(error))
            return None

    async def _save(self, journal: Journal) -> None:
        async with self._saving:
            await in_thread(write_whole, self._path, msgspec.json.encode(journal))

    async def _work(self, journal: Journal) -> None:
        if journal.state == "notices":
            await self._read_notices(journal)
        for one in journal.all_events():
            if self._is_due(one):
                journal.note = f"{one.event.symbol} of {iso_ns(one.event.announced_ns)[:16]}"
                await self._fetch_patiently(one)
                await self._save(journal)
        journal.state, journal.note = "done", ""
        await self._save(journal)
        stored = sum(one.state == "stored" for one in journal.events)
        log.info("listings_backfilled", source=journal.source, notices=journal.notices,
                 events=len(journal.events), stored=stored)  # fmt: skip

    # --- notices ----------------------------------------------------------------------------------

    async def _read_notices(self, journal: Journal) -> None:
        """Page by page; pages are read again after a restart, as notices move on them."""
        daemon = self._daemon
        board = daemon.config.listing.upbit if journal.source == "upbit" else (
            daemon.config.listing.bithumb
        )  # fmt: skip
        walk = PastNotices(journal.since_ns, self._is_known)
        found: list[ListingEvent] = []
        pace = Pace(PAGE_GAP_S, PaceRules(), self._rng)
        async with make_http(board.proxy_url) as http:
            client = BoardClient(journal.source, board.api_url, http, daemon.clock, PAGE_GAP_S)
            for number in range(1, PAGES_MAX + 1):
                journal.page = number
                page = await self._ask_page(journal, client, number, pace)
                is_full = len(page.notices) + len(page.refused) >= PER_PAGE
                # Bithumb has one page, and turns no others.
                is_full &= journal.source == "upbit"
                found += walk.take(page, daemon.clock.wall_ns(), is_full=is_full)
                journal.notices, journal.doubts = walk.notices, walk.doubts
                if walk.is_done:
                    break
            else:
                journal.doubts.append(f"not looked at: what stands behind page {PAGES_MAX}")
        known = {one.event.key for one in journal.events}
        journal.events += [PastEvent(event=one) for one in found if one.key not in known]
        journal.events.sort(key=lambda one: one.event.announced_ns)
        journal.state, journal.note = "events", ""
        await self._save(journal)

    def _is_known(self, key: tuple[str, str, str]) -> bool:
        assert self._daemon.listing is not None
        return self._daemon.listing.book.get(key) is not None

    async def _ask_page(
        self, journal: Journal, client: BoardClient, number: int, pace: Pace
    ) -> NoticePage:
        """One page, however often the board refuses. Raises VenueError for what is no refusal."""
        while True:
            try:
                if journal.source == "bithumb":
                    answer = await client.get(BITHUMB_PATH, {"count": str(PER_PAGE)})
                    return read_bithumb_list(answer.body)
                answer = await client.get(
                    UPBIT_PATH,
                    {"os": "web", "page": str(number), "per_page": str(PER_PAGE),
                     "category": "trade"},
                )  # fmt: skip
                pace.good()
                return read_upbit_list(answer.body)
            except BoardRefusedError as error:
                pause_s = pace.refused(error.retry_after_s)
                journal.note = f"page {number}: {error}; again in {pause_s:.0f} s"
                log.info("listing_backfill_refused", page=number, pause_s=pause_s)
                await trio.sleep(pause_s)

    # --- one event --------------------------------------------------------------------------------

    async def _fetch_patiently(self, one: PastEvent) -> None:
        """Tried again where the database or the disk failed; what still fails is told."""
        for _ in range(TRIES_MAX):
            try:
                await self._fetch(one)
            except (PumpWatchError, OSError) as error:
                one.error = str(error)[:300]
                log.warning("past_event_failed", event="/".join(one.event.key), message=one.error)
                await trio.sleep(RETRY_S)
            else:
                return
        one.again_ns = 0
        one.state = "stored" if one.bundle else "failed"

    async def _fetch(self, one: PastEvent) -> None:
        daemon, event = self._daemon, one.event
        settings = daemon.config.listing
        window = windows_of(event, before_s=settings.before_s, after_s=settings.after_s)[0]
        used = await past_instruments(daemon, self._sql, event.symbol, window)
        wanted = one.feeds_to_fetch()
        had: dict[str, list[FeedHad]] = {name: [] for name in FEED_NAMES}
        for row in one.feeds:
            if row.feed not in wanted:
                had[row.feed].append(row)
        async with trio.open_nursery() as nursery:
            for name in wanted:
                nursery.start_soon(self._fetch_feed, name, used[name], window, had[name])
        one.feeds = [row for name in FEED_NAMES for row in had[name]]
        await wait_applied(self._sql, TABLE)
        found = await publish_past(daemon, self._sql, event, window, used, had)
        one.event = event.revised(
            collected_trades=found.certificate.rows,
            exchanges_with_data=found.certificate.exchanges_with_data,
            certificate=row_certificate(found),
        )  # fmt: skip
        assert daemon.listing is not None
        daemon.listing.keep(one.event)
        one.state, one.bundle, one.error = "stored", found.place.name, ""
        one.again_ns = again_ns(
            one.feeds, window.at_ns + KEPT_NS, daemon.clock.wall_ns(), daemon.config.archives
        )
        log.info("past_event_stored", bundle=one.bundle, rows=found.certificate.rows)

    async def _fetch_feed(
        self, name: str, used: Sequence[Instrument], window: Window, had: list[FeedHad]
    ) -> None:
        """REST as far as it reaches, then the daily files, where they are switched on."""
        if not used:
            had.append(FeedHad(feed=name, text="no instrument of this coin is known"))
            return
        low_ns = window.at_ns - KEPT_NS
        high_ns = min(window.at_ns + KEPT_NS, self._daemon.clock.wall_ns())
        daemon, spec = self._daemon, FEEDS_BY_NAME[name]
        assert daemon.rest is not None
        has_key = daemon.config.feeds[name].api_key_file is not None
        for instrument in used:
            reader = PastReader(
                daemon.rest, spec, instrument, has_api_key=has_key, priority=LAST_PRIORITY
            )
            read = await reader.read(low_ns, high_ns)
            row = FeedHad(
                feed=name, symbol=instrument.symbol, from_list=len(read.rows),
                reached_ns=read.reached_ns, requests=read.requests, text=read.text,
            )  # fmt: skip
            await self._send(name, instrument, read.rows)
            if not read.is_whole:
                await self._add_files(name, instrument, low_ns, read, row)
            row.is_window_reached = row.reached_ns <= window.from_ns
            had.append(row)

    async def _add_files(
        self, name: str, instrument: Instrument, from_ns: int, read: SpanRead, row: FeedHad
    ) -> None:
        """What the list does not show, out of the venue's daily files."""
        archiving, rest = self._daemon.archiving, self._daemon.rest
        archive = None if archiving is None else archiving.file_of(name)
        if archive is None:
            has_none = FEEDS_BY_NAME[name].archive is None
            row.text += "; it has no daily files" if has_none else OFF
            return
        assert rest is not None
        files = PastFiles(rest, FEEDS_BY_NAME[name], archive, instrument)
        # Of the list's oldest instant some rows may be only in the file: it is read up to there.
        until_ns = read.rows[0].exchange_ns if read.rows else read.reached_ns
        found = await files.read(from_ns, until_ns, read.rows)
        rows = found.rows
        if not archive.has_stream_ids:  # its names are its own: an earlier try may hold the rows
            held = await self._held(name, instrument, from_ns, until_ns)
            rows = not_held(rows, held, instrument)
        await self._send(name, instrument, rows)
        row.lacks_file = found.lacks_file
        row.from_file = len(found.rows)
        if found.reached_ns < until_ns:
            row.reached_ns = found.reached_ns
        row.text = f"{row.text}; {found.text}" if found.text else ""

    async def _held(
        self, name: str, instrument: Instrument, from_ns: int, to_ns: int
    ) -> list[Stored]:
        exchange, _, market_type = name.partition("_")
        await wait_applied(self._sql, TABLE)
        found = await self._sql.query_dicts(
            HELD_SQL, [from_ns, to_ns, exchange, market_type, instrument.symbol]
        )
        return [Stored(**row) for row in found]

    async def _send(self, name: str, instrument: Instrument, rows: Sequence[Listed]) -> None:
        """Into archive_trades; the same rows again are the same rows. Raises ServerError."""
        received_ns = self._daemon.clock.wall_ns()
        for first in range(0, len(rows), SENT_ROWS):
            some = rows[first : first + SENT_ROWS]
            body = await in_thread(_lines, name, instrument, some, received_ns)
            verdict = await self._sender.send(body)
            if verdict.outcome is not Outcome.ACCEPTED:
                raise ServerError(f"{TABLE}: {verdict.message}")


def _lines(name: str, instrument: Instrument, rows: Sequence[Listed], received_ns: int) -> bytes:
    exchange, _, market_type = name.partition("_")
    lines = []
    for row in rows:
        trade = row.trade
        side, price, quantity = values_of(row, instrument)
        lines.append(
            side_row(
                TABLE,
                {"exchange": exchange, "market_type": market_type, "symbol": instrument.symbol,
                 "side": side, "origin": ORIGIN, "kind": trade.kind},
                {"price": price, "quantity": quantity, "trade_id": row.trade_id,
                 "sequence_number": trade.sequence_number},
                trade.exchange_ns,
                time_fields={"received_at": received_ns},
            )
        )  # fmt: skip
    return b"".join(lines)


def offer_past(desk: ActionDesk, past: PastListings) -> None:
    """Make them actions of the HTTP interface."""

    async def order(arguments: Mapping[str, str]) -> str:
        since_ns, source = parse_iso_ns(arguments["since"]), arguments.get("source") or SOURCES[0]
        if since_ns is None or since_ns <= 0:
            raise UsageError(f"since {arguments['since'][:40]!r}: allowed: ISO 8601 in UTC")
        if source not in SOURCES:
            raise UsageError(f"source {source[:40]!r}: allowed: {', '.join(SOURCES)}")
        return _told(await past.begin(since_ns, source))

    async def ask(_arguments: Mapping[str, str]) -> str:
        return _told(past.standing())

    desk.add(ORDER, Action(
        help="Fetch listings of before the recording: notices, and what is to be had of trades.",
        arguments={"since": "ISO 8601 in UTC", "source?": "upbit (the default) or bithumb"},
        run=order,
    ))  # fmt: skip
    desk.add(ASK, Action(help="How far that is.", arguments={}, run=ask))


def _told(journal: Journal | None) -> str:
    return msgspec.json.encode(journal).decode()

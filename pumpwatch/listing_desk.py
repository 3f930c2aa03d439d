"""Listings from detection to proof: windows, bundles, messages, the live stream, the command.

The composition of pumpwatch.listing with the rest of the daemon. Whatever fails here is logged and
tried again: the recording does not depend on it.
"""

from __future__ import annotations

import math
import subprocess
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import structlog
import trio

from pumpwatch.alert_book import Message
from pumpwatch.errors import PumpWatchError
from pumpwatch.listing.archive import Archive
from pumpwatch.listing.events import NOT_RECORDED, EventLog, ListingAlert, ListingEvent
from pumpwatch.listing.messages import Move, document, listed_text, proven_text
from pumpwatch.listing.signing import Signer, load_signer
from pumpwatch.listing.window import (
    KEPT_NS,
    REST_AFTER_NS,
    SECOND_NS,
    Decision,
    WindowBook,
    WindowLife,
)
from pumpwatch.listing_publish import Published, Publisher, row_certificate, verdict_of
from pumpwatch.listing_view import FeedView, view_feeds
from pumpwatch.report.write import REPORT_HTML
from pumpwatch.store.spool_files import START, Cursor
from pumpwatch.store.sql import Sql
from pumpwatch.venue_lists import Shown, ask_venue

if TYPE_CHECKING:
    from pumpwatch.daemon import Daemon

log = structlog.get_logger()

IDLE_S = 1.0
APPLIED_POLL_S = 0.05
APPLIED_S_MAX = 3.0  # of one look; the next one goes on waiting
VENUE_S_MAX = 15.0
KEY_AGAIN_S = 60.0
FACTS_S_MAX = 0.5  # of what a first message can do without
TRADES = 1  # the table's number
CAUSE = "listing"  # of a hole that a venue's list showed
MOVES_SQL = (
    "SELECT exchange, market_type, first(price), max(price), last(price) FROM trades"
    " WHERE timestamp >= cast(%s AS TIMESTAMP_NS) AND symbol IN ({}) "
)
LifeKey = tuple[tuple[str, str, str], str, int]


class ListingDesk:
    """One daemon's listings."""

    def __init__(
        self, daemon: Daemon, sql: Sql, refine: Callable[[Path], None] | None = None
    ) -> None:
        settings = daemon.config.listing
        self.archive = Archive(daemon.config.data_dir)
        self.book = WindowBook(before_s=settings.before_s, after_s=settings.after_s)
        self.log = EventLog(daemon.side, self._listed, self._revised, self._alerted)
        self._daemon = daemon
        self._sql = sql
        self._refine = refine
        self._publisher: Publisher | None = None
        self._shown: dict[LifeKey, dict[str, list[Shown]]] = {}
        self._asking: dict[tuple[LifeKey, str], trio.Event] = {}  # walks under way
        self._walks: trio.Nursery | None = None
        self._ends: dict[LifeKey, Cursor] = {}
        self._busy: set[LifeKey] = set()
        self._news: list[Sequence[ListingEvent]] = []
        self._wake = trio.Event()
        self._posts: list[tuple[str, str]] = []

    def coins(self) -> frozenset[str]:
        """Coins with an open window: their holes go before all others."""
        return self.book.coins(self._daemon.clock.wall_ns())

    # --- what the watch tells ---------------------------------------------------------------------

    def _listed(self, events: Sequence[ListingEvent]) -> None:
        self._daemon.seat.announce(document("listed", events))
        for event in events:
            self.book.put(event)
        self._news.append(events)
        self._wake.set()

    def _revised(self, event: ListingEvent) -> None:
        if event.state not in NOT_RECORDED and self.book.put(event):
            self._wake.set()

    def _alerted(self, alert: ListingAlert) -> None:
        body = f"{alert.text}\n{alert.title}\n{alert.url}".strip()
        self._posts.append((f"listings: {alert.kind.replace('_', ' ')}", body))
        self._wake.set()

    # --- running ----------------------------------------------------------------------------------

    async def run(self, events: Sequence[ListingEvent]) -> None:
        """Go on where earlier runs ended, then look at what is due, until cancelled."""
        data_dir = self._daemon.config.data_dir
        signer = await self._load_signer(data_dir)
        self._publisher = Publisher(self._sql, self.archive, data_dir, signer, self._refine)
        self._daemon.caretaker.bundles = self.archive
        for event in events:
            if event.state not in NOT_RECORDED:
                await trio.to_thread.run_sync(self._resume, event)
        async with trio.open_nursery() as nursery:
            self._walks = nursery
            nursery.start_soon(self._verify_all, events)
            while True:
                self._wake = trio.Event()
                self._start_due(nursery)
                with trio.move_on_after(self._pause_s()):
                    await self._wake.wait()

    async def _load_signer(self, data_dir: Path) -> Signer:
        """Without a key nothing is published; the windows wait."""
        while True:
            try:
                return await trio.to_thread.run_sync(load_signer, data_dir)
            except (PumpWatchError, OSError) as error:
                log.warning("listing_key_unusable", message=str(error))
                await self._guarded(
                    "message", self._post, "listings: no key to sign with", str(error)
                )
            await trio.sleep(KEY_AGAIN_S)

    async def _verify_all(self, events: Sequence[ListingEvent]) -> None:
        """Bundles of earlier runs, one after the other: retention wants to know."""
        for event in events:
            for window in self.book.windows(event):
                await self._guarded(
                    "verify", trio.to_thread.run_sync, self.archive.verify, event.key, window
                )

    async def _guarded(self, what: str, call: Callable[..., Awaitable[object]], *args: Any) -> None:
        """What fails here is logged; the recording goes on."""
        try:
            await call(*args)
        except Exception:
            log.exception("listing_part_failed", part=what)

    def _resume(self, event: ListingEvent) -> None:
        for window in self.book.windows(event):
            held = self.archive.published(event.key, window)
            if held is None:
                continue
            self.book.resume(
                WindowLife(
                    event.key, window, known_ns=event.detected_ns, state=held.state,
                    revision=held.revision, is_kept=held.kept_to_ns >= window.at_ns + KEPT_NS,
                )
            )  # fmt: skip
        self.book.put(event)

    def _pause_s(self) -> float:
        now_ns = self._daemon.clock.wall_ns()
        next_ns = self.book.next_ns(now_ns)
        wait_s = math.inf if next_ns is None else (next_ns - now_ns) / SECOND_NS
        return min(IDLE_S, max(wait_s, APPLIED_POLL_S))

    def _start_due(self, nursery: trio.Nursery) -> None:
        news, self._news = self._news, []
        posts, self._posts = self._posts, []
        for events in news:
            nursery.start_soon(self._guarded, "message", self._tell_listed, events)
        for title, body in posts:
            nursery.start_soon(self._guarded, "message", self._post, title, body)
        for life in self.book.due(self._daemon.clock.wall_ns()):
            key = _key(life)
            if key not in self._busy:
                self._busy.add(key)
                nursery.start_soon(self._guarded_look, life)

    async def _guarded_look(self, life: WindowLife) -> None:
        key = _key(life)
        try:
            await self._look(life)
        except PumpWatchError as error:
            log.warning("window_not_judged", event="/".join(life.key), message=str(error))
            life.next_ns = self._daemon.clock.wall_ns() + SECOND_NS
        except Exception:
            log.exception("window_broken", window="/".join(life.key))
            life.next_ns = self._daemon.clock.wall_ns() + 30 * SECOND_NS
        finally:
            self._busy.discard(key)

    # --- one look ---------------------------------------------------------------------------------

    async def _look(self, life: WindowLife) -> None:
        daemon = self._daemon
        if not daemon.ledger.is_loaded:
            life.look(daemon.clock.wall_ns(), None)
            return
        views = await view_feeds(daemon, self._sql, life.key[2], life.window)
        await self._ask_venues(life, views)
        asked = self._shown.get(_key(life), {})
        looks = [
            view.look(is_asked=_is_good(asked.get(view.feed)), is_applied=True) for view in views
        ]
        if any(look.lacks(life.window) for look in looks):
            self._ends.pop(_key(life), None)  # more rows are to come
        elif not await self._is_applied(_key(life)):
            looks = [msgspec.structs.replace(look, is_applied=False) for look in looks]
        decision = life.look(daemon.clock.wall_ns(), looks)
        if decision is not Decision.WAIT:
            await self._publish(life, views, decision)

    async def _ask_venues(self, life: WindowLife, views: Sequence[FeedView]) -> None:
        """One list of each feed, late enough to prove something; what failed is asked again.

        A walk that takes longer than a look goes on: begun anew each time, a busy coin's on a
        narrow budget would never end.
        """
        key = _key(life)
        if (
            self._daemon.rest is None
            or self._walks is None
            or self._daemon.clock.wall_ns() < life.window.to_ns + REST_AFTER_NS
        ):
            return
        shown = self._shown.setdefault(key, {})
        for view in views:
            is_due = view.used and view.state is not None and not _is_good(shown.get(view.feed))
            if is_due and (key, view.feed) not in self._asking:
                self._asking[key, view.feed] = trio.Event()
                self._walks.start_soon(self._ask_venue, life, view)
        with trio.move_on_after(VENUE_S_MAX):
            for view in views:
                if (key, view.feed) in self._asking:
                    await self._asking[key, view.feed].wait()

    async def _ask_venue(self, life: WindowLife, view: FeedView) -> None:
        daemon, key = self._daemon, _key(life)
        assert view.state is not None
        assert daemon.rest is not None
        has_key = daemon.config.feeds[view.feed].api_key_file is not None
        try:
            self._shown[key][view.feed] = [
                await ask_venue(
                    daemon.rest,
                    view.state.spec,
                    one,
                    life.window.from_ns,
                    life.window.to_ns,
                    daemon.clock.wall_ns(),
                    has_api_key=has_key,
                )
                for one in view.used
            ]
        except Exception:
            log.exception("venue_list_unread", feed=view.feed)
        finally:
            self._asking.pop((key, view.feed)).set()

    async def _is_applied(self, key: LifeKey) -> bool:
        """Whether the table has all that was received before its feeds were good; waits a bit."""
        daemon = self._daemon
        assert daemon.watch is not None
        if key not in self._ends:
            for feed in daemon.feeds:
                feed.flush()
            await daemon.spool.written()
            self._ends[key] = daemon.spool.files.table_ends().get(TRADES, START)
        with trio.move_on_after(APPLIED_S_MAX):
            while daemon.watch.applied.get(TRADES, START) < self._ends[key]:  # noqa: ASYNC110
                await trio.sleep(APPLIED_POLL_S)
            return True
        return False

    # --- publishing -------------------------------------------------------------------------------

    async def _publish(
        self, life: WindowLife, views: Sequence[FeedView], decision: Decision
    ) -> None:
        daemon = self._daemon
        assert self._publisher is not None
        assert daemon.listing is not None
        event = daemon.listing.book.get(life.key)
        assert event is not None
        now_ns = daemon.clock.wall_ns()
        is_complete = decision is Decision.COMPLETE or life.state == "complete"
        state: Literal["complete", "partial"] = "complete" if is_complete else "partial"
        found = await self._publisher.publish(
            life, event, views, self._shown.get(_key(life), {}), state, now_ns
        )
        if not isinstance(found, Published):
            for one in found:
                spec = next(v.state.spec for v in views if v.feed == one.feed and v.state)
                daemon.ledger.suspect(
                    spec, one.symbol, CAUSE, one.from_ns - 1, one.to_ns + 1,
                    f"{one.rows} rows of a listing's window are in the venue's list only",
                )  # fmt: skip
                self._shown[_key(life)].pop(one.feed, None)
            self._ends.pop(_key(life), None)
            return
        life.published(decision, now_ns)
        log.info("listing_published", bundle=found.place.name, state=found.certificate.state,
                 revision=found.certificate.revision, verdict=found.certificate.verdict,
                 rows=found.certificate.rows)  # fmt: skip
        await self._tell_published(life, event, found)
        await self._guarded(
            "frames", self._publisher.add_frames, daemon.answers.flight, found.place, life.window,
            views,
        )  # fmt: skip
        await trio.to_thread.run_sync(self.archive.verify, life.key, life.window)

    async def _tell_published(
        self, life: WindowLife, event: ListingEvent, found: Published
    ) -> None:
        certificate, daemon = found.certificate, self._daemon
        before = verdict_of(event)
        if life.window.kind == "announcement":
            assert daemon.listing is not None
            newest = daemon.listing.book.get(event.key) or event
            event = newest.revised(
                state=certificate.state, collected_trades=certificate.rows,
                exchanges_with_data=certificate.exchanges_with_data,
                certificate=row_certificate(found),
            )  # fmt: skip
            daemon.listing.keep(event)
        else:
            before = "" if certificate.revision == 1 else certificate.verdict
        told = document("published", [event], bundle=str(found.place), verdict=certificate.verdict,
                        window=certificate.window, rows=certificate.rows)  # fmt: skip
        if before != certificate.verdict:
            daemon.seat.announce(told)
            report = trio.Path(found.place / REPORT_HTML)
            where = f"report: {report}" if await report.exists() else f"bundle: {found.place}"
            title, body = proven_text(certificate, where, before)
            await self._post(title, body)
            await self._execute(told)

    # --- telling ----------------------------------------------------------------------------------

    async def _tell_listed(self, events: Sequence[ListingEvent]) -> None:
        """The command first, then people."""
        now_ns = self._daemon.clock.wall_ns()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._execute, document("listed", events))
            feeds: dict[str, list[str]] = {}
            symbols: dict[str, set[str]] = {}
            for feed in self._daemon.feeds:
                for one in feed.instruments.values():
                    feeds.setdefault(one.coin, []).append(feed.spec.name)
                    symbols.setdefault(one.coin, set()).add(one.symbol)
            moves = {}
            for event in events:
                moves[event.symbol] = await self._moves(
                    event, sorted(symbols.get(event.symbol, ()))
                )
            await self._post(*listed_text(events, feeds, moves, now_ns))

    async def _moves(self, event: ListingEvent, symbols: Sequence[str]) -> list[Move]:
        """What prices did since the announcement; [] where that is not known at once."""
        if not symbols:
            return []
        question = MOVES_SQL.format(", ".join(["%s"] * len(symbols)))
        with trio.move_on_after(FACTS_S_MAX):
            try:
                rows = await self._sql.query(question, [event.announced_ns, *symbols])
            except PumpWatchError as error:
                log.info("listing_moves_unknown", message=str(error))
                return []
            return [
                Move(feed=f"{exchange}_{market}", first=first, highest=high, last=last)
                for exchange, market, first, high, last in rows
            ]
        return []

    async def _post(self, title: str, body: str) -> None:
        daemon = self._daemon
        log.info("listing_message", title=title, body=body)
        if daemon.alerts is not None:
            await daemon.alerts.tell(
                Message(kind="listing", severity="page", rule="listing", subject="", title=title,
                        body=body, at_ns=daemon.clock.wall_ns())
            )  # fmt: skip

    async def _execute(self, told: bytes) -> None:
        """The command of [listing] exec, with the document on its standard input; no shell."""
        settings = self._daemon.config.listing
        if not settings.exec:
            return
        with trio.move_on_after(settings.exec_s_max) as scope:
            try:
                done = await trio.run_process(
                    list(settings.exec), stdin=told, capture_stdout=True, capture_stderr=True,
                    check=False,
                )  # fmt: skip
            except (OSError, subprocess.SubprocessError) as error:
                log.warning("listing_exec_failed", command=settings.exec[0], message=str(error))
                return
            log.info("listing_exec", command=settings.exec[0], exit_code=done.returncode,
                     stderr=done.stderr[-500:].decode("utf-8", "replace"))  # fmt: skip
        if scope.cancelled_caught:
            log.warning("listing_exec_ended", command=settings.exec[0],
                        message=f"it ran longer than {settings.exec_s_max} s")  # fmt: skip


def _key(life: WindowLife) -> LifeKey:
    return life.key, life.window.kind, life.window.at_ns


def _is_good(shown: list[Shown] | None) -> bool:
    return bool(shown) and not any(one.error for one in shown or ())

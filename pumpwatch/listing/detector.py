"""What is a new listing and what is not: answers of the boards in, events and alerts out.

Every trap of LISTINGS section 3 ends here: edits that lift an old notice to the top, delistings,
notices below the first page, the same notice on web and socket, several coins, a cold start, clocks
that differ. The event's time is its first publication, however late it is seen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

import msgspec

from pumpwatch.listing.events import EventBook, ListingAlert, ListingEvent
from pumpwatch.listing.notices import NS, Notice, NoticePage
from pumpwatch.listing.seen import Memory, SeenNotice, SourceMemory

DELAYS_KEPT = 100
# A publication that lies further ahead than clocks differ is a broken field (R20).
AHEAD_NS_MAX = 600 * NS
# Nothing older can become an event again, whatever is edited into the list.
FORGET_NS = 90 * 24 * 3600 * NS
FORGOTTEN_AT_ONCE = 200
MANUAL = "manual"
CHANNELS = ("upbit_web", "upbit_socket", "bithumb_web")


class Look(msgspec.Struct, frozen=True):
    """When a board was asked and had answered, by our clock; its own clock then, 0: not told."""

    sent_ns: int
    received_ns: int
    venue_ns: int = 0

    @property
    def latest_ns(self) -> int:
        """Now, by the clock that is ahead."""
        return max(self.received_ns, self.venue_ns)

    @property
    def board_ns(self) -> int:
        """Now, by the board's clock where it told."""
        return self.venue_ns or self.received_ns


class Findings(msgspec.Struct):
    """What follows from one look."""

    listed: list[list[ListingEvent]] = []  # new ones, the coins of a notice together
    revised: list[ListingEvent] = []
    alerts: list[ListingAlert] = []
    texts: list[str] = []  # numbers of Upbit's notices whose text should be read
    seeded: int = 0  # notices of a first look
    must_save: bool = False

    @property
    def events(self) -> list[ListingEvent]:
        """The new ones, in one list."""
        return [event for coins in self.listed for event in coins]


class Detector:
    """The notice boards; market lists are in markets.py. ``late_s_max``: older ones only alert."""

    def __init__(self, memory: Memory, book: EventBook, *, late_s_max: float) -> None:
        self.memory = memory
        self.book = book
        self.delays_ms: dict[str, deque[int]] = {}  # by channel: publication to detection
        self._late_ns_max = int(late_s_max * NS)
        self._by_alias = {
            source: {alias: notice for notice in board.notices for alias in notice.aliases}
            for source, board in memory.boards.items()
        }
        for event in book.all():
            self._know(event)

    def _know(self, event: ListingEvent) -> None:
        """A notice that the table knows is seen, also where the file does not know it."""
        if event.source not in ("upbit", "bithumb"):
            return
        names = self._by_alias.setdefault(event.source, {})
        known = names.get(f"id:{event.notice_id}", names.get(f"uuid:{event.notice_id}"))
        if known is None:
            uuid = (
                event.url.rpartition("id=")[2].partition("&")[0] if event.source == "upbit" else ""
            )
            aliases = [f"id:{event.notice_id}", f"uuid:{uuid or event.notice_id}"]
            known = SeenNotice(
                notice_id=event.notice_id, aliases=aliases, channels=list(CHANNELS),
                published_ns=event.announced_ns, edited_ns=event.announced_ns,
            )  # fmt: skip
            self._remember(event.source, known)
        if event.symbol not in known.symbols:
            known.symbols.append(event.symbol)

    # --- looks ------------------------------------------------------------------------------------

    def page(
        self,
        source: str,
        page: NoticePage,
        look: Look,
        view: str,
        *,
        is_full: bool,
        is_first: bool = True,
    ) -> Findings:
        """A list that was fetched. ``view`` names it; ``is_full``: there may be more behind it.

        The first look at a view only seeds. In a second view (all categories) of a board that is
        watched already, only what the first view would not have shown is seeded. ``is_first`` is
        false for a later page, which says nothing of what is newest.
        """
        findings = Findings()
        board = self._board(source)
        is_cold, is_first_view = not board.views, view not in board.views
        if is_first_view:
            board.views.append(view)
            findings.must_save = True
        if is_cold:
            board.since_ns = board.since_ns or look.board_ns
            sort_keys = [notice.sort_ns for notice in page.notices]
            board.floor_ns = min(sort_keys) if is_full and sort_keys else 0
        is_known = [self._find(notice) is not None for notice in page.notices]
        for place, notice in enumerate(page.notices):
            is_seed = is_cold or (is_first_view and not _is_trade(notice))
            # Where a notice is withdrawn, one from behind the page moves up to its end.
            is_from_below = notice.sort_ns < board.floor_ns and not any(is_known[place:])
            self._notice(notice, look, findings, is_old=is_seed or is_from_below)
            findings.seeded += is_seed
        if is_first:
            self.unchanged(source, look)
            self._forget(source, page, look)
        return findings

    def unchanged(self, source: str, look: Look) -> None:
        """The list is as it was at the last look."""
        board = self._board(source)
        board.looked_ns = max(board.looked_ns, look.sent_ns)

    def socket(self, notice: Notice, look: Look, *, is_created: bool) -> Findings:
        """A notice of Upbit's socket: it replays nothing, so what it calls created is new."""
        findings = Findings()
        board = self._board(notice.source)
        if not board.since_ns:
            board.since_ns = look.board_ns
            findings.must_save = True
        if is_created:
            notice = msgspec.structs.replace(notice, is_edited=False)
        self._notice(notice, look, findings, is_old=False)
        return findings

    def reaches_back(self, source: str, page: NoticePage) -> bool:
        """Whether a page shows at least one notice that an earlier look had seen already.

        To be asked before ``page()``. If it does not, notices may lie between the two looks.
        """
        names = self._by_alias.get(source, {})
        is_cold = not self._board(source).views
        return is_cold or any(alias in names for one in page.notices for alias in one.aliases)

    # --- one notice -------------------------------------------------------------------------------

    def _find(self, notice: Notice) -> SeenNotice | None:
        names = self._by_alias.get(notice.source, {})
        return next((names[alias] for alias in notice.aliases if alias in names), None)

    def _notice(self, notice: Notice, look: Look, findings: Findings, *, is_old: bool) -> None:
        known = self._find(notice)
        if known is not None:
            self._known(known, notice, look, findings)
            return
        findings.must_save = True
        reading = notice.read_title()
        known = SeenNotice(
            notice_id=notice.notice_id, aliases=list(notice.aliases),
            channels=[notice.channel], published_ns=notice.first_published_ns,
            edited_ns=notice.edited_ns, symbols=list(reading.symbols),
        )  # fmt: skip
        self._remember(notice.source, known)
        # An edit lifts notices from before our first look into the list's first page.
        is_lifted = (
            notice.is_edited and notice.first_published_ns < self._board(notice.source).since_ns
        )
        if is_old or is_lifted:
            return
        if reading.doubt:
            text = (
                f"{reading.doubt}: decide, and `listings add SYMBOL --at TIME` if it is a listing"
            )
            findings.alerts.append(_alert("ambiguous_title", notice, text, look))
        elif reading.symbols:
            self._listing(known, notice, look, findings)

    def _listing(self, known: SeenNotice, notice: Notice, look: Look, findings: Findings) -> None:
        symbols = known.symbols
        age_ns = min(look.received_ns, look.board_ns) - notice.first_published_ns
        if notice.first_published_ns > look.latest_ns + AHEAD_NS_MAX:
            text = f"published in the future: {', '.join(symbols)}; check it and the host's clock"
            findings.alerts.append(_alert("future", notice, text, look))
            return
        if age_ns > self._late_ns_max:
            text = (
                f"{', '.join(symbols)}: published {age_ns // NS} s ago, more than"
                f" listing.late_s_max; `listings add SYMBOL --at TIME` keeps it all the same"
            )
            findings.alerts.append(_alert("too_old", notice, text, look))
            return
        events = [
            ListingEvent(
                source=notice.source, notice_id=notice.notice_id, symbol=symbol,
                title=notice.title, url=notice.url, channel=notice.channel,
                announced_ns=notice.first_published_ns, detected_ns=look.received_ns,
                last_absent_ns=self._board(notice.source).looked_ns,
            )
            for symbol in symbols
        ]  # fmt: skip
        self._note_delay(notice, look)
        new = [event for event in events if self.book.put(event)]
        if new:
            findings.listed.append(new)
            self._want_text(known, notice, findings)

    def _known(self, known: SeenNotice, notice: Notice, look: Look, findings: Findings) -> None:
        """Seen before, on this channel or another: link the names, follow what an edit changes."""
        events = self.book.of_notice(notice.source, known.notice_id)
        if notice.channel not in known.channels:
            known.channels.append(notice.channel)
            self._link(known, notice)
            findings.must_save = True
            if events:
                self._note_delay(notice, look)
        if events:
            self._want_text(known, notice, findings)
        if notice.edited_ns <= known.edited_ns and notice.first_published_ns == known.published_ns:
            return
        known.edited_ns = max(notice.edited_ns, known.edited_ns)
        findings.must_save = True
        self._follow_time(known, notice, events, findings)
        added = [coin for coin in notice.read_title().symbols if coin not in known.symbols]
        if added:
            known.symbols += added
            text = (
                f"an edit makes it a KRW listing of {', '.join(added)}: decide, and"
                f" `listings add SYMBOL --at TIME` if it is one"
            )
            findings.alerts.append(_alert("edited_into_listing", notice, text, look))
        doubt = notice.read_title().doubt if events else ""
        if doubt:
            findings.alerts.append(_alert("edited_listing", notice, doubt, look))

    def _link(self, known: SeenNotice, notice: Notice) -> None:
        """One notice under all its names: the socket knows the uuid, the web the number too."""
        known.aliases += [alias for alias in notice.aliases if alias not in known.aliases]
        self._by_alias[notice.source].update((alias, known) for alias in known.aliases)

    def _follow_time(
        self, known: SeenNotice, notice: Notice, events: list[ListingEvent], findings: Findings
    ) -> None:
        """A board that moves the time of publication moves the event's window with it."""
        if notice.first_published_ns == known.published_ns:
            return
        known.published_ns = notice.first_published_ns
        for event in events:
            self._revise(event, findings, announced_ns=notice.first_published_ns, state="pending")

    def _want_text(self, known: SeenNotice, notice: Notice, findings: Findings) -> None:
        """Once for each edit; only the web knows the number to ask with."""
        if notice.channel == "upbit_web" and known.text_ns != notice.edited_ns:
            known.text_ns = notice.edited_ns
            findings.texts.append(notice.notice_id)
            findings.must_save = True

    def _revise(self, event: ListingEvent, findings: Findings, **changes: Any) -> None:
        revised = event.revised(**changes)
        self.book.put(revised)
        findings.revised.append(revised)
        findings.must_save = True

    # --- from elsewhere ---------------------------------------------------------------------------

    def opening(self, source: str, alias: str, openings: dict[str, int]) -> Findings:
        """When trading opens, by coin, as the text of a notice says now."""
        findings = Findings()
        known = self._by_alias.get(source, {}).get(alias)
        for event in self.book.of_notice(source, known.notice_id) if known else ():
            opening_ns = openings.get(event.symbol, 0)
            if opening_ns and opening_ns != event.opening_ns:
                self._revise(event, findings, opening_ns=opening_ns)
        return findings

    def add(self, symbol: str, announced_ns: int, now_ns: int, note: str) -> Findings:
        """A listing that a person names; the same coin and time twice is one event."""
        event = ListingEvent(
            source=MANUAL, notice_id=str(announced_ns), symbol=symbol,
            title=note or "added by hand", url="", channel=MANUAL,
            announced_ns=announced_ns, detected_ns=now_ns,
        )  # fmt: skip
        is_new = self.book.put(event)
        return Findings(listed=[[event]] if is_new else [], must_save=is_new)

    def looked_ns(self, source: str) -> int:
        """When the last good look at a board was asked; 0: never."""
        return self._board(source).looked_ns

    def published_ns(self, source: str, alias: str) -> int:
        """When a seen notice was first published; 0: not seen."""
        known = self._by_alias.get(source, {}).get(alias)
        return known.published_ns if known else 0

    def symbols(self, source: str, alias: str) -> list[str]:
        """The coins of a seen notice."""
        known = self._by_alias.get(source, {}).get(alias)
        return list(known.symbols) if known else []

    # --- memory -----------------------------------------------------------------------------------

    def snapshot(self) -> Memory:
        """What must be on disk."""
        self.memory.events = self.book.all()
        return self.memory

    def _board(self, source: str) -> SourceMemory:
        return self.memory.boards.setdefault(source, SourceMemory())

    def _remember(self, source: str, seen: SeenNotice) -> None:
        self._board(source).notices.append(seen)
        self._by_alias.setdefault(source, {}).update((alias, seen) for alias in seen.aliases)

    def _forget(self, source: str, page: NoticePage, look: Look) -> None:
        """Drop what is too old to matter and no longer shown, once there is much of it."""
        board = self._board(source)
        oldest_ns = look.board_ns - FORGET_NS - self._late_ns_max
        shown = {alias for notice in page.notices for alias in notice.aliases}
        kept = [
            one for one in board.notices if one.edited_ns >= oldest_ns or shown & set(one.aliases)
        ]
        if len(board.notices) - len(kept) >= FORGOTTEN_AT_ONCE:
            board.notices = kept
            self._by_alias[source] = {alias: one for one in kept for alias in one.aliases}

    def _note_delay(self, notice: Notice, look: Look) -> None:
        delays = self.delays_ms.setdefault(notice.channel, deque(maxlen=DELAYS_KEPT))
        delays.append((look.received_ns - notice.first_published_ns) // 1_000_000)


def missing_rows(
    memory: Iterable[ListingEvent], stored: Iterable[ListingEvent]
) -> list[ListingEvent]:
    """Events of the file that the table has not, or in a lower revision: to be written again."""
    book = EventBook(stored)
    return [event for event in memory if book.put(event)]


def _is_trade(notice: Notice) -> bool:
    """Whether Upbit's list of listings (category=trade) shows it too, as far as it says."""
    named = [category.lower() for category in notice.categories if category]
    return not named or any(category in ("거래", "trade") for category in named)


def _alert(kind: str, notice: Notice, text: str, look: Look) -> ListingAlert:
    return ListingAlert(
        kind=kind, source=notice.source, about=notice.notice_id, text=text, title=notice.title,
        url=notice.url, at_ns=look.received_ns,
    )  # fmt: skip

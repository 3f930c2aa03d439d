"""How each feed stands to a listing's window: instruments, watermarks, holes, applied rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from pumpwatch.capture.feed_state import FeedState
from pumpwatch.capture.ledger import PROOF_LAG_NS
from pumpwatch.config import FEED_NAMES, Config
from pumpwatch.listing.evidence import Window
from pumpwatch.listing.rows import read_coin, touches
from pumpwatch.listing.window import FeedLook
from pumpwatch.model import Gap, Instrument, InstrumentState, Watermark
from pumpwatch.store.sql import Sql
from pumpwatch.store.window_model import FeedAnswer, UsedInstrument
from pumpwatch.venues import FEEDS_BY_NAME

if TYPE_CHECKING:
    from pumpwatch.daemon import Daemon

# A list may name a new instrument so long after it began to trade.
LISTED_LATE_NS = 60 * 10**9


class FeedView(msgspec.Struct, kw_only=True):
    """One feed and a window."""

    feed: str
    state: FeedState | None  # None: it is not recorded
    instruments: tuple[UsedInstrument, ...]
    absence: str  # why no instrument is used, "" where one is
    watermarks: tuple[Watermark, ...] = ()
    open_gaps: tuple[Gap, ...] = ()

    @property
    def used(self) -> list[Instrument]:
        """Instruments whose rows are the window's."""
        return [one.instrument for one in self.instruments if one.is_used]

    @property
    def ids(self) -> str:
        """What an id of it proves."""
        return FEEDS_BY_NAME[self.feed].ids.value

    def look(self, *, is_asked: bool, is_applied: bool) -> FeedLook:
        """For the window's life."""
        return FeedLook(
            feed=self.feed, is_listed=bool(self.used),
            followed_ns=min((mark.to_ns for mark in self.watermarks), default=0),
            open_gaps=len(self.open_gaps), is_asked=is_asked, is_applied=is_applied,
        )  # fmt: skip

    def answer(self, window: Window, rows: int) -> FeedAnswer:
        """For the certificate: the rows are the table's, and all that came is applied."""
        return FeedAnswer(
            feed=self.feed, instruments=self.instruments, rows=rows,
            covered_from_ns=window.from_ns, covered_to_ns=window.to_ns,
            open_gaps=self.open_gaps, note=self.absence,
        )  # fmt: skip


async def view_feeds(daemon: Daemon, sql: Sql, coin: str, window: Window) -> list[FeedView]:
    """All twelve. Raises ServerError where the instruments cannot be read."""
    stored: dict[str, list[InstrumentState]] = {}
    for state in await read_coin(sql, coin):
        stored.setdefault(state.instrument.feed, []).append(state)
    feeds = {feed.spec.name: feed for feed in daemon.feeds}
    views = []
    for name in FEED_NAMES:
        feed = feeds.get(name)
        used = choose(_known(feed, coin, stored.get(name, ())), window)
        view = FeedView(
            feed=name,
            state=feed,
            instruments=used,
            absence=_absence(daemon.config, feed, name, used),
        )
        if feed is not None and view.used:
            now_ns = daemon.clock.wall_ns()
            view.watermarks = tuple(watermark(feed, one, now_ns) for one in view.used)
            view.open_gaps = tuple(_open_gaps(daemon.ledger.open_gaps(name), view.used, window))
        views.append(view)
    return views


async def past_instruments(
    daemon: Daemon, sql: Sql, coin: str, window: Window
) -> dict[str, list[Instrument]]:
    """Each feed's of a window that nobody recorded: when they were listed is not known."""
    stored = await read_coin(sql, coin)
    feeds = {feed.spec.name: feed for feed in daemon.feeds}
    found = {}
    for name in FEED_NAMES:
        of_feed = [state for state in stored if state.instrument.feed == name]
        known = [
            msgspec.structs.replace(state, first_seen_ns=0)
            for state in _known(feeds.get(name), coin, of_feed)
        ]
        found[name] = [one.instrument for one in choose(known, window) if one.is_used]
    return found


def _known(
    feed: FeedState | None, coin: str, stored: Sequence[InstrumentState]
) -> list[InstrumentState]:
    """The table's, and what the venue has listed since the table was written."""
    found = {state.instrument.venue_symbol: state for state in stored}
    for one in feed.instruments.values() if feed is not None else ():
        if one.coin == coin and one.venue_symbol not in found:
            found[one.venue_symbol] = InstrumentState(
                instrument=one, valid_from_ns=0, first_seen_ns=0
            )
    return [found[name] for name in sorted(found)]


def choose(states: Sequence[InstrumentState], window: Window) -> tuple[UsedInstrument, ...]:
    """Which instruments of a coin traded in a window; one of each symbol."""
    chosen: dict[str, UsedInstrument] = {}
    for state in sorted(states, key=lambda s: s.instrument.status == "ended"):
        one = state.instrument
        note = ""
        if one.status == "prelaunch":
            note = "prelaunch: it did not trade yet"
        elif one.status == "ended" and state.valid_from_ns < window.from_ns:
            note = "ended before"
        elif state.first_seen_ns >= window.to_ns + LISTED_LATE_NS:
            note = "listed later"
        is_used = not note and one.symbol not in chosen
        if not note and not is_used:
            note = f"the same as {chosen[one.symbol].instrument.venue_symbol}"
        used = UsedInstrument(
            instrument=one, first_seen_ns=state.first_seen_ns, is_used=is_used,
            note=note or (f"1 {one.base} = {one.unit} {one.coin}" if one.unit > 1 else ""),
        )  # fmt: skip
        chosen[one.symbol if is_used else one.venue_symbol + " (unused)"] = used
    return tuple(chosen.values())


def _absence(
    config: Config, feed: FeedState | None, name: str, used: Sequence[UsedInstrument]
) -> str:
    if any(one.is_used for one in used):
        return ""
    if feed is None:
        return f"not recorded: feeds.{name}.enabled = false"
    for one in used:
        refused = feed.refused.get(one.instrument.venue_symbol)
        return f"refused: {refused}" if refused else one.note
    settings = config.feeds[name]
    narrowed = "" if settings.symbols == ("*",) else ", or excluded by its symbols setting"
    return f"not listed against {', '.join(settings.quotes)}{narrowed}"


def watermark(feed: FeedState, instrument: Instrument, now_ns: int) -> Watermark:
    """Until when nothing of an instrument was missed on connections that carried it (R10)."""
    proof_ns = feed.coverage.proof_ns(instrument.venue_symbol)
    return Watermark(
        feed=feed.spec.name, symbol=instrument.symbol, to_ns=max(0, proof_ns - PROOF_LAG_NS),
        proof="alive" if proof_ns else "", at_ns=now_ns,
    )  # fmt: skip


def _open_gaps(gaps: Sequence[Gap], used: Sequence[Instrument], window: Window) -> list[Gap]:
    symbols = {one.symbol for one in used} | {"*"}
    return [
        gap for gap in gaps
        if gap.symbol in symbols and touches(gap, window.from_ns, window.to_ns)
    ]  # fmt: skip


def names_of(views: Sequence[FeedView]) -> Mapping[tuple[str, str], str]:
    """What each feed calls the coin's symbols."""
    return {(view.feed, one.symbol): one.venue_symbol for view in views for one in view.used}


def units_of(views: Sequence[FeedView]) -> Mapping[tuple[str, str], int]:
    """How many coins one base of each feed's symbols is."""
    return {(view.feed, one.symbol): one.unit for view in views for one in view.used}

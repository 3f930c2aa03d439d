"""The life of an event's windows: pending, complete once all is proven, else partial. Sans I/O.

A window is complete when every feed that lists the coin was followed past its end, no hole in it is
open, the venue's own list was asked for it, and its rows are applied. Whatever misses then is
declared: a hole that is closed as lost makes a feed incomplete, but not the window. What is not so
far ``PARTIAL_NS`` after it might be is published as partial and looked at again, for ever slower.
Nothing here knows when the process was started: a window is what the event says.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum

import msgspec

from pumpwatch.listing.events import Key, ListingEvent
from pumpwatch.listing.evidence import Window, WindowKind

SECOND_NS = 10**9
PARTIAL_NS = 60 * SECOND_NS  # after the window's end, or after we knew of it
REST_AFTER_NS = 5 * SECOND_NS  # a venue's list proves what lies so far behind (R2, R10)
# How long to wait for the next look, by how long it is due.
PACES_NS = (
    (PARTIAL_NS, SECOND_NS),
    (600 * SECOND_NS, 5 * SECOND_NS),
    (3600 * SECOND_NS, 60 * SECOND_NS),
)
# The coin, BTC and ETH are kept for so long around the window; rows may be so late.
KEPT_NS, KEPT_LATE_NS = 3600 * SECOND_NS, 60 * SECOND_NS
PACE_LAST_NS = 600 * SECOND_NS
MOST_NS = 7 * 86_400 * SECOND_NS  # then nobody fills a hole any more
UNREAD = "what the feeds have of it could not be read"


class FeedLook(msgspec.Struct, frozen=True, kw_only=True):
    """How one feed stands to a window, at one moment."""

    feed: str
    is_listed: bool = True  # it has an instrument of the coin
    followed_ns: int = 0  # until when the least followed of its instruments was, exchange time
    open_gaps: int = 0  # in the window
    is_applied: bool = True  # all that was received before the window's end is in the table
    is_asked: bool = True  # the venue's list was read at least ``REST_AFTER_NS`` after the end

    def lacks(self, window: Window) -> str:
        """What is still to come; "": nothing."""
        if not self.is_listed:
            return ""
        if self.followed_ns < window.to_ns:
            return f"{self.feed}: not followed to the end of the window"
        if self.open_gaps:
            return f"{self.feed}: {self.open_gaps} open holes"
        if not self.is_asked:
            return f"{self.feed}: the venue's list was not read yet"
        if not self.is_applied:
            return f"{self.feed}: rows are not applied yet"
        return ""


class Decision(Enum):
    """What a look at a window comes to."""

    WAIT = "wait"
    PARTIAL = "partial"
    COMPLETE = "complete"
    KEEP = "keep"  # the hour after it is over: what is kept around it is whole now


class WindowLife:
    """One window of one event."""

    def __init__(
        self, key: Key, window: Window, *, known_ns: int, state: str = "pending",
        revision: int = 0, is_kept: bool = False,
    ) -> None:  # fmt: skip
        """``known_ns``: when it was detected; the rest as it is published already."""
        self.key = key
        self.window = window
        self.state = state
        self.revision = revision
        self.is_kept = is_kept
        self.kept_ns = window.at_ns + KEPT_NS + KEPT_LATE_NS
        self.missing: list[str] = []
        self.next_ns = window.to_ns if state != "complete" else self.kept_ns
        self._due_ns = max(window.to_ns, known_ns)

    @property
    def is_open(self) -> bool:
        """Whether it is looked at: its coin's holes go before all others."""
        return self.state != "complete"

    def is_over(self, now_ns: int) -> bool:
        """Whether no look can change it any more."""
        if self.state == "pending" or not self.is_kept:
            return False
        return not self.is_open or now_ns > self._due_ns + MOST_NS

    def look(self, now_ns: int, feeds: Sequence[FeedLook] | None) -> Decision:
        """Judge it by what the feeds have; None: that could not be read."""
        if now_ns < self.window.to_ns:
            return Decision.WAIT
        is_keeping = self.state != "pending" and not self.is_kept and now_ns >= self.kept_ns
        if not self.is_open:
            self.next_ns = max(self.kept_ns, now_ns + PACE_LAST_NS)
            return Decision.KEEP if is_keeping else Decision.WAIT
        late_ns = now_ns - self._due_ns
        pace_ns = next((pace for until, pace in PACES_NS if late_ns < until), PACE_LAST_NS)
        self.next_ns = now_ns + pace_ns
        told = [UNREAD] if feeds is None else [feed.lacks(self.window) for feed in feeds]
        self.missing = [one for one in told if one]
        if not feeds and not self.missing:
            self.missing = [UNREAD]
        if not self.missing:
            return Decision.COMPLETE
        if late_ns >= PARTIAL_NS and self.state != "partial":
            return Decision.PARTIAL
        return Decision.KEEP if is_keeping else Decision.WAIT

    def published(self, decision: Decision, now_ns: int) -> None:
        """Its bundle is in place, with what is kept around it up to ``now_ns``."""
        if decision is not Decision.KEEP:
            self.state = decision.value
        self.revision += 1
        self.is_kept = now_ns >= self.kept_ns
        if not self.is_open:
            self.next_ns = self.kept_ns


def windows_of(event: ListingEvent, *, before_s: int, after_s: int) -> list[Window]:
    """Around the announcement, and around the opening of trading where the notice tells it."""
    moments: list[tuple[WindowKind, int]] = [
        ("announcement", event.announced_ns or event.detected_ns)
    ]
    if event.opening_ns and event.opening_ns != moments[0][1]:
        moments.append(("opening", event.opening_ns))
    return [
        Window(
            kind=kind, at_ns=at_ns, from_ns=at_ns - before_s * SECOND_NS,
            to_ns=at_ns + after_s * SECOND_NS + 1,
        )
        for kind, at_ns in moments
    ]  # fmt: skip


class WindowBook:
    """All windows that are looked at."""

    def __init__(self, *, before_s: int, after_s: int) -> None:
        self._before_s = before_s
        self._after_s = after_s
        self._lives: dict[tuple[Key, WindowKind], WindowLife] = {}

    def windows(self, event: ListingEvent) -> list[Window]:
        """An event's, as it is now."""
        return windows_of(event, before_s=self._before_s, after_s=self._after_s)

    def put(self, event: ListingEvent) -> list[WindowLife]:
        """An event is new, or its times have changed; returns the windows that are new.

        One that was moved is cut anew; what was published of the old one stays where it is.
        """
        fresh = []
        for window in self.windows(event):
            held = self._lives.get((event.key, window.kind))
            if held is None or held.window != window:
                life = WindowLife(event.key, window, known_ns=event.detected_ns)
                self._lives[event.key, window.kind] = life
                fresh.append(life)
        return fresh

    def resume(self, life: WindowLife) -> None:
        """As it was published in an earlier run."""
        self._lives[life.key, life.window.kind] = life

    def due(self, now_ns: int) -> list[WindowLife]:
        """To be looked at now, the oldest first."""
        found = [
            life for life in self._lives.values()
            if life.next_ns <= now_ns and not life.is_over(now_ns)
        ]  # fmt: skip
        return sorted(found, key=lambda life: life.window.to_ns)

    def next_ns(self, now_ns: int) -> int | None:
        """When the next look is due; None: no window is open."""
        lives = [life for life in self._lives.values() if not life.is_over(now_ns)]
        return min((life.next_ns for life in lives), default=None)

    def coins(self, now_ns: int) -> frozenset[str]:
        """Coins with an open window: their holes are closed before all others."""
        return frozenset(
            life.key[2]
            for life in self._lives.values()
            if life.is_open and life.window.from_ns <= now_ns and not life.is_over(now_ns)
        )

    def lives(self, keys: Iterable[Key]) -> list[WindowLife]:
        """The windows of some events."""
        wanted = set(keys)
        return [life for life in self._lives.values() if life.key in wanted]

"""Past notices of a board, page by page, as events. Sans I/O.

A board sorts by the last change, newest first: a notice that was edited since stands on an earlier
page than its age says, and none older than a page's last change can follow it.
"""

from __future__ import annotations

from collections.abc import Callable

from pumpwatch.listing.events import Key, ListingEvent
from pumpwatch.listing.notices import NoticePage

CHANNEL = "backfill"


class PastNotices:
    """One walk back to ``since_ns``; ``is_known`` says which events need no second look."""

    def __init__(self, since_ns: int, is_known: Callable[[Key], bool]) -> None:
        self.notices = 0
        self.doubts: list[str] = []  # titles that a person must read
        self.is_done = False
        self._since_ns = since_ns
        self._is_known = is_known
        self._seen: set[str] = set()  # notices move to the next page while the walk goes on

    def take(self, page: NoticePage, now_ns: int, *, is_full: bool) -> list[ListingEvent]:
        """The page's listings that nobody knows yet; sets ``is_done`` behind the last page."""
        self.doubts += [f"an entry cannot be read: {reason}" for reason in page.refused]
        events = []
        for notice in page.notices:
            is_wanted = self._since_ns <= notice.first_published_ns <= now_ns
            if notice.notice_id in self._seen or not is_wanted:
                continue
            self._seen.add(notice.notice_id)
            self.notices += 1
            reading = notice.read_title()
            if reading.doubt:
                self.doubts.append(f"{notice.notice_id} {notice.title!r}: {reading.doubt}")
            for symbol in reading.symbols:
                event = ListingEvent(
                    source=notice.source, notice_id=notice.notice_id, symbol=symbol,
                    title=notice.title, url=notice.url, channel=CHANNEL,
                    announced_ns=notice.first_published_ns, detected_ns=now_ns, state="historic",
                )  # fmt: skip
                if not self._is_known(event.key):
                    events.append(event)
        newest_ns = max((notice.sort_ns for notice in page.notices), default=0)
        self.is_done = not is_full or newest_ns < self._since_ns
        return events

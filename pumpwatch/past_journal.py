"""Where a backfill of listings stands: written by the daemon, shown by ``listings backfill``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from pumpwatch.config import FEED_NAMES
from pumpwatch.config_upkeep import ArchivesConfig
from pumpwatch.listing.events import ListingEvent
from pumpwatch.store.maintenance import next_daily_ns
from pumpwatch.store.partitions import DAY_NS

ORDER, ASK = "backfill_listings", "backfilled_listings"


class FeedHad(msgspec.Struct, kw_only=True):
    """What was to be had of one instrument, an hour before to an hour after."""

    feed: str
    symbol: str = ""
    from_list: int = 0  # rows
    from_file: int = 0
    reached_ns: int = 0  # from here on it is what the venue shows, without a hole
    is_window_reached: bool = False
    requests: int = 0
    lacks_file: bool = False  # a day's file was not to be had
    text: str = ""  # why not all of it


class PastEvent(msgspec.Struct, kw_only=True):
    """One event of the journal, and what was to be had of it."""

    event: ListingEvent
    state: Literal["waiting", "stored", "failed"] = "waiting"
    bundle: str = ""
    error: str = ""
    feeds: list[FeedHad] = []
    again_ns: int = 0  # files that were not out are asked for again then; 0: not any more

    def feeds_to_fetch(self) -> set[str]:
        """All of them at first, then those of which a file was not out."""
        if self.state != "stored":
            return set(FEED_NAMES)
        return {had.feed for had in self.feeds if had.lacks_file}


class Journal(msgspec.Struct, kw_only=True):
    """Where a backfill stands."""

    since_ns: int
    source: str
    state: Literal["notices", "events", "done"] = "notices"
    page: int = 1  # to ask next
    notices: int = 0
    doubts: list[str] = []
    note: str = ""  # what it waits for
    events: list[PastEvent] = []
    later: list[PastEvent] = []  # of earlier orders, with files that were not out then

    def all_events(self) -> list[PastEvent]:
        """Of this order and of earlier ones."""
        return [*self.events, *self.later]


def again_ns(feeds: Sequence[FeedHad], to_ns: int, now_ns: int, archives: ArchivesConfig) -> int:
    """When to ask again for files that were not out; 0: there are none, or they are late.

    ``to_ns``: the end of the span that they are wanted for.
    """
    if not any(had.lacks_file for had in feeds):
        return 0
    next_ns = next_daily_ns(now_ns, archives.daily_at)
    return next_ns if next_ns - to_ns <= (archives.wait_days + 1) * DAY_NS else 0


def read_journal(text: str) -> Journal | None:
    """What the daemon answered; None: there never was one."""
    return msgspec.json.decode(text, type=Journal | None)

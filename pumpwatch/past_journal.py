"""Where a backfill of listings stands: written by the daemon, shown by ``listings backfill``."""

from __future__ import annotations

from typing import Literal

import msgspec

from pumpwatch.listing.events import ListingEvent

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
    text: str = ""  # why not all of it


class PastEvent(msgspec.Struct, kw_only=True):
    """One event of the journal, and what was to be had of it."""

    event: ListingEvent
    state: Literal["waiting", "stored", "failed"] = "waiting"
    bundle: str = ""
    error: str = ""
    feeds: list[FeedHad] = []


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


def read_journal(text: str) -> Journal | None:
    """What the daemon answered; None: there never was one."""
    return msgspec.json.decode(text, type=Journal | None)

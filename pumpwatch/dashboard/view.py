"""What the page needs of the daemon: how it stands, and where to leave what it finds."""

from __future__ import annotations

from collections import deque
from typing import Protocol

import trio

from pumpwatch.rates import TimesBySource
from pumpwatch.standing import Standing, TablesStanding


class SeatView(Protocol):
    """The seat (seat.py), seen from the page."""

    standing: Standing
    looked: trio.Event  # set and replaced each time ``standing`` is, and with an announcement
    announced: deque[bytes]  # listings as JSON documents, newest last
    announcements: int  # so far
    history: deque[tuple[int, ...]]  # rows a second by feed, newest last
    query_times: TimesBySource
    tables: TablesStanding | None
    page_clients: int
    page_requests: dict[str, int]

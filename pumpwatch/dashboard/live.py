"""Server-sent events: a document a second, encoded once for all who listen; listings at once."""

from __future__ import annotations

import msgspec
import trio

from pumpwatch.dashboard.view import SeatView
from pumpwatch.health import Health, judge
from pumpwatch.standing import Standing

KEEPALIVE_S = 15.0


class First(msgspec.Struct, frozen=True, kw_only=True):
    """What a page needs once: rows a second of each feed, oldest first."""

    feeds: list[str]
    history: list[tuple[int, ...]]


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """What a page needs each second."""

    standing: Standing
    health: Health


class Live:
    """The stream's documents."""

    def __init__(self, seat: SeatView) -> None:
        self._seat = seat
        self._encoded_of: Standing | None = None
        self._encoded = b""

    def first(self) -> bytes:
        """The event ``first``."""
        feeds = [feed.feed for feed in self._seat.standing.feeds]
        return _event("first", First(feeds=feeds, history=list(self._seat.history)))

    def moment(self) -> bytes:
        """The event ``moment``, encoded once per look."""
        standing = self._seat.standing
        if standing is not self._encoded_of:
            self._encoded = _event("moment", Moment(standing=standing, health=judge(standing)))
            self._encoded_of = standing
        return self._encoded

    def events(self) -> Events:
        """Events for one listener, for as long as it listens."""
        return Events(self, self._seat)


class Events:
    """An iterator and no generator: a listener that goes leaves nothing to be closed."""

    def __init__(self, live: Live, seat: SeatView) -> None:
        self._live = live
        self._seat = seat
        self._sent: Standing | None = None
        self._told = seat.announcements

    def __aiter__(self) -> Events:
        return self

    async def __anext__(self) -> bytes:
        """The next event; a slow listener skips what it missed."""
        if self._sent is None:
            self._sent = self._seat.standing
            return b"retry: 2000\n\n" + self._live.first() + self._live.moment()
        with trio.move_on_after(KEEPALIVE_S):
            while self._seat.standing is self._sent and self._seat.announcements == self._told:
                await self._seat.looked.wait()
        news = self._seat.announcements - self._told
        if news:
            self._told += news
            return b"".join(_frame("listing", one) for one in list(self._seat.announced)[-news:])
        if self._seat.standing is self._sent:
            return b": nothing new\n\n"
        self._sent = self._seat.standing
        return self._live.moment()


def _event(name: str, document: object) -> bytes:
    return _frame(name, msgspec.json.encode(document))


def _frame(name: str, document: bytes) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + document + b"\n\n"

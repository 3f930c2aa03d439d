"""Instruments that share a connection, and the connections that carry them one after the other.

A connection whose end is announced is not left before its successor has delivered (R12). For that
time there are two; the repeats fold. An end that nobody announced is a hole until the next
connection is subscribed, unless another one carries the symbols.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Protocol

import structlog
import trio

from pumpwatch.capture.connection import Connection
from pumpwatch.capture.feed_state import ConnectionState, FeedState
from pumpwatch.capture.pacing import Backoff
from pumpwatch.errors import VenueError
from pumpwatch.model import Instrument
from pumpwatch.venues.spec import Target

log = structlog.get_logger()

ALONE_MAX = 20  # refused symbols of a connection that are asked for one by one
MUTE_S = 30.0  # a connection is so old before it is replaced for bringing nothing of a symbol
STEADY_S = 60.0  # a connection that lived this long starts again without a penalty
HANDOVER_S = 30.0  # for every symbol that trades to come on the successor, too
HANDOVER_SHARE = 0.8  # of the time that the venue gave: closing takes its part
OVERLAP_S_MIN = 1.0
LOOK_S = 0.1
# Two connections are not equally fast: a row of just before the successor was whole is no sign.
LEAD_NS = 500_000_000


class Dialler(Protocol):
    """Where the next connection goes, when it is its turn."""

    async def target(self) -> Target:
        """Wait for the turn, ask the venue where it must be asked. Raises VenueError."""
        ...


class Slot:
    """A place for some instruments; ``run`` keeps it connected until ``stop``."""

    def __init__(
        self,
        number: int,
        feed: FeedState,
        dialler: Dialler,
        rng: random.Random,
        stop: trio.Event,
        instruments: Iterable[Instrument],
    ) -> None:
        self.number = number
        self.members = {one.venue_symbol: one for one in instruments}
        self._feed = feed
        self._dialler = dialler
        self._rng = rng
        self._stop = stop
        self._lives: list[_Life] = []  # oldest first; two only while one takes over
        self._resting: ConnectionState | None = None  # shown while nothing is connected
        self._over = trio.Event()  # the stop, or no members left
        self._hurry = trio.Event()  # ends the pause before the next connection
        self._reconnects = 0

    # --- symbols that come and go -----------------------------------------------------------------

    def add(self, instruments: Iterable[Instrument]) -> None:
        """Carry these too."""
        fresh = {one.venue_symbol: one for one in instruments}
        self.members.update(fresh)
        for life in self._lives:
            life.connection.add(fresh)
        self._show_wanted()

    def ask_again(self, venue_symbols: Iterable[str]) -> None:
        """Members that the venue refused; it may have changed its mind.

        A few are asked for one by one: where one that begins to trade waited for the refusals of
        the others, its first trades would run out of the venue's list.
        """
        names = sorted(name for name in venue_symbols if name in self.members)
        parts = [[name] for name in names] if len(names) <= ALONE_MAX else [names]
        for life in self._lives[-1:]:
            for some in parts:
                life.connection.add(some)

    def replace(self, mute: str) -> None:
        """Nothing of a member comes, though it trades: another connection takes over.

        Not before this one has had a while, so that a mute venue is not dialled without end.
        """
        for life in self._lives[-1:]:
            self._feed.coverage.leave(life.connection.number, [mute])
            age_ns = self._feed.clock.wall_ns() - life.connection.settled_ns
            is_settled = life.connection.settled_ns and age_ns >= MUTE_S * 1e9
            if is_settled and not life.connection.leaving.is_set():
                log.warning("connection_mute", feed=self._feed.spec.name, connection=self.number,
                            symbol=mute)  # fmt: skip
                life.connection.replace(f"nothing of {mute} comes")

    @property
    def is_renewing(self) -> bool:
        """A successor is about to take over, or is not even subscribed."""
        return len(self._lives) != 1 or not self._lives[0].connection.settled_ns

    def renew(self) -> None:
        """Another connection takes over, as before an end that the venue plans."""
        for life in self._lives[-1:]:
            if life.connection.settled_ns and not life.connection.leaving.is_set():
                life.connection.replace("somebody asked for another one")

    def leave(self, venue_symbols: Iterable[str]) -> None:
        """Carry these no more."""
        gone = [name for name in venue_symbols if self.members.pop(name, None) is not None]
        if gone:
            for life in self._lives:
                life.connection.leave(gone)
            self._show_wanted()
        if not self.members:
            self._over.set()
            self._hurry.set()

    def _show_wanted(self) -> None:
        for life in self._lives:
            life.connection.shown.wanted = len(self.members)

    # --- connections ------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep connected; returns when all is closed, after the stop or without members."""
        async with trio.open_nursery() as watch:
            watch.start_soon(self._watch_stop)
            async with trio.open_nursery() as lives:
                lives.start_soon(self._end_all)
                await self._keep_connected(lives)
            watch.cancel_scope.cancel()

    async def _keep_connected(self, nursery: trio.Nursery) -> None:
        backoff = Backoff(self._rng)
        old: _Life | None = None
        while not self._over.is_set():
            life = self._begin()
            started_s = trio.current_time()
            nursery.start_soon(self._live, life)
            if old is not None and not old.ended.is_set():
                nursery.start_soon(self._hand_over, old, life)
            await life.connection.leaving.wait()
            if trio.current_time() - started_s > STEADY_S:
                backoff.reset()
            if not life.ended.is_set():
                old = life  # its end is announced: the next one takes over
                continue
            self._reconnects += 1
            self._hurry = trio.Event()
            if self._over.is_set():
                return
            with trio.move_on_after(backoff.next_s()):
                await self._hurry.wait()
                backoff.reset()

    def dial_now(self) -> None:
        """The venue answers again: whoever waits to dial waits no longer."""
        self._hurry.set()

    async def _watch_stop(self) -> None:
        await self._stop.wait()
        self._over.set()
        self._hurry.set()

    async def _end_all(self) -> None:
        await self._over.wait()
        for life in self._lives:
            life.stop.set()

    def _begin(self) -> _Life:
        shown = self._resting or ConnectionState(number=self.number)
        if self._resting is None:
            self._feed.connections.append(shown)
        self._resting = None
        shown.wanted = len(self.members)
        shown.reconnects = self._reconnects
        child = random.Random(self._rng.getrandbits(64))
        stop = trio.Event()
        life = _Life(Connection(self._feed, self.members.values(), shown, child, stop), stop)
        self._lives.append(life)
        return life

    async def _live(self, life: _Life) -> None:
        """One connection from its turn to its end."""
        connection = life.connection
        try:
            target = await self._find_target(life)
            if target is not None:
                await connection.run(target)
        except VenueError as error:
            connection.shown.error = str(error)
            log.warning("connection_ended", feed=self._feed.spec.name, connection=self.number,
                        message=str(error))  # fmt: skip
        self._lives.remove(life)
        if self._lives:
            self._feed.connections.remove(connection.shown)
        else:
            self._resting = connection.shown
            connection.shown.state = "waiting"
        life.ended.set()
        connection.leaving.set()

    async def _find_target(self, life: _Life) -> Target | None:
        """None where the stop came first."""
        target: Target | None = None
        failure: VenueError | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_when, life.stop, nursery.cancel_scope)
            try:
                target = await self._dialler.target()
            except VenueError as error:
                failure = error
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
        return target

    async def _hand_over(self, old: _Life, new: _Life) -> None:
        """End the old connection when the new one has shown all that trades (R12).

        At the deadline what did not come is not believed: it is a hole from the old one's end until
        it comes. A new one that is not even subscribed then ends nothing.
        """
        planned = old.connection.planned
        within_s = planned.within_s * HANDOVER_SHARE if planned and planned.within_s else HANDOVER_S
        deadline_s = trio.current_time() + within_s
        whole_s: float | None = None
        while not old.ended.is_set() and not new.ended.is_set():
            now_s = trio.current_time()
            if new.connection.settled_ns and whole_s is None:
                whole_s = now_s
            if whole_s is not None and now_s >= whole_s + OVERLAP_S_MIN:
                unmet = self._unmet(old.connection, new.connection)
                if not unmet or now_s >= deadline_s:
                    self._end_old(old, new, unmet)
                    return
            await trio.sleep(LOOK_S)

    def _unmet(self, old: Connection, new: Connection) -> list[str]:
        """Symbols that came on the old one since the new one is whole, and not on the new one."""
        since_ns = new.settled_ns
        table = self._feed.table
        return [
            table.name(number)
            for number in old.intake.heard_since(since_ns + LEAD_NS)
            if new.intake.heard_ns(number) < since_ns and table.name(number) in self.members
        ]

    def _end_old(self, old: _Life, new: _Life, unmet: list[str]) -> None:
        feed = self._feed
        if unmet:
            log.warning("handover_incomplete", feed=feed.spec.name, connection=self.number,
                        symbols=len(unmet), first=unmet[:5])  # fmt: skip
            feed.doubt(new.connection.number, unmet)
        else:
            feed.replacements += 1
            log.info("connection_replaced", feed=feed.spec.name, connection=self.number)
        old.stop.set()


class _Life:
    def __init__(self, connection: Connection, stop: trio.Event) -> None:
        self.connection = connection
        self.stop = stop
        self.ended = trio.Event()


async def _cancel_when(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()

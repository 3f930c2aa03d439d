"""Pausing, resuming and renewing a feed while the daemon runs (``feeds pause|resume|renew``).

A paused feed has closed its connections by handshake, what they brought is stored; it stays away
until it is resumed or the daemon starts again. A renewed one has new connections in the place of
the old ones, each of which ended only when its successor had delivered.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

import structlog
import trio

from pumpwatch.capture.feed_state import FeedState
from pumpwatch.dashboard.actions import Action, ActionDesk
from pumpwatch.errors import UsageError

log = structlog.get_logger()


class FeedSwitch:
    """One feed's switch: ``run`` it in place of the feed."""

    def __init__(self, feed: FeedState, stop: trio.Event) -> None:
        self._feed = feed
        self._stop = stop
        self._is_on = True
        self._changed = trio.Event()

    async def run(self, record: Callable[[trio.Event], Awaitable[None]]) -> None:
        """Call ``record`` with an event that ends it, again after each pause, until the stop."""
        while not self._stop.is_set():
            if not self._is_on:
                self._feed.state = "paused"
                self._feed.pause()
                await self._wait()
                continue
            end = trio.Event()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._set_at_end, end)
                self._feed.connections.clear()
                await record(end)
                nursery.cancel_scope.cancel()

    async def _set_at_end(self, end: trio.Event) -> None:
        while self._is_on and not self._stop.is_set():
            await self._wait()
        end.set()
        await trio.sleep_forever()

    async def _wait(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_after, self._stop, nursery.cancel_scope)
            await self._changed.wait()
            nursery.cancel_scope.cancel()

    def renew(self) -> int:
        """New connections, one after the other; returns how many. Raises UsageError."""
        if not self._is_on:
            raise UsageError(f"feed {self._feed.spec.name}: it is paused")
        return self._feed.renew()

    def turn(self, *, on: bool) -> bool:
        """Turn it; returns False where it stood so already."""
        if on == self._is_on:
            return False
        self._is_on = on
        log.warning("feed_resumed" if on else "feed_paused", feed=self._feed.spec.name)
        changed, self._changed = self._changed, trio.Event()
        changed.set()
        return True


async def _cancel_after(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


def offer_switches(desk: ActionDesk, switches: Mapping[str, FeedSwitch]) -> None:
    """Make ``pause_feed``, ``resume_feed``, ``renew_feed`` actions of the HTTP interface."""

    def turning(*, on: bool) -> Callable[[Mapping[str, str]], Awaitable[str]]:
        async def turn(arguments: Mapping[str, str]) -> str:
            name = _feed_of(arguments, switches)
            changed = switches[name].turn(on=on)
            word = "resumed" if on else "paused"
            await trio.lowlevel.checkpoint()
            return f"{name} is {word}" if changed else f"{name} was {word} already"

        return turn

    async def renew(arguments: Mapping[str, str]) -> str:
        name = _feed_of(arguments, switches)
        await trio.lowlevel.checkpoint()
        return f"{name}: {switches[name].renew()} connections get a successor, one after the other"

    wanted = {"feed": "which one, as okx_spot"}
    desk.add(
        "pause_feed",
        Action(help="Close a feed's connections until it is resumed.", arguments=wanted,
               run=turning(on=False)),
    )  # fmt: skip
    desk.add(
        "resume_feed",
        Action(help="Record a paused feed again.", arguments=wanted, run=turning(on=True)),
    )
    desk.add(
        "renew_feed",
        Action(help="Replace a feed's connections; each ends when its successor has delivered.",
               arguments=wanted, run=renew),
    )  # fmt: skip


def _feed_of(arguments: Mapping[str, str], switches: Mapping[str, FeedSwitch]) -> str:
    name = arguments["feed"]
    if name not in switches:
        raise UsageError(f"feed {name[:40]!r}: {_known(list(switches))}")
    return name


def _known(names: Sequence[str]) -> str:
    return f"no such feed is recorded; there are {', '.join(names)}"

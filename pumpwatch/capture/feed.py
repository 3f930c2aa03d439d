"""One feed: its instruments, shared out over connections that are made again for ever."""

from __future__ import annotations

import random
from collections.abc import Callable

import structlog
import trio

from pumpwatch.capture.connection import Connection
from pumpwatch.capture.feed_state import ConnectionState, FeedState
from pumpwatch.capture.instruments import fetch_instruments
from pumpwatch.capture.plan import plan_connections
from pumpwatch.config import FeedConfig
from pumpwatch.errors import VenueError
from pumpwatch.model import Instrument
from pumpwatch.rest import RestClient
from pumpwatch.venues.spec import connection_target

log = structlog.get_logger()

BACKOFF_S_MIN = 0.2
BACKOFF_S_MAX = 30.0
STEADY_S = 60.0  # a connection that lived this long starts again without a penalty
LIST_RETRY_S_MAX = 15.0


class Backoff:
    """Growing, jittered pauses between tries."""

    def __init__(self, rng: random.Random, limit_s: float = BACKOFF_S_MAX) -> None:
        self._rng = rng
        self._limit_s = limit_s
        self._failures = 0

    def next_s(self) -> float:
        """The pause after one more failure: doubling, half of it by chance."""
        delay_s = min(self._limit_s, BACKOFF_S_MIN * 2**self._failures)
        self._failures = min(self._failures + 1, 16)
        return delay_s * self._rng.uniform(0.5, 1.0)

    def reset(self) -> None:
        """A success."""
        self._failures = 0


class ConnectPacer:
    """Lets an exchange's connections start no faster than it allows; shared by both its feeds."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._next_s = 0.0

    async def turn(self) -> None:
        """Wait for this connection's turn."""
        now_s = trio.current_time()
        at_s = max(now_s, self._next_s)
        self._next_s = at_s + self._interval_s
        await trio.sleep_until(at_s)


async def run_feed(
    feed: FeedState,
    config: FeedConfig,
    rest: RestClient,
    pacer: ConnectPacer,
    rng: random.Random,
    stop: trio.Event,
    krw_coins: Callable[[], tuple[set[str] | None, set[str] | None]],
    on_instruments: Callable[[FeedState, list[Instrument]], None],
) -> None:
    """Record a feed until ``stop``; what fails here fails for this feed only, and is tried again."""
    instruments: list[Instrument] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_cancel_on_stop, stop, nursery.cancel_scope)
        instruments = await _list_until_had(feed, config, rest, rng, krw_coins)
        nursery.cancel_scope.cancel()
    if stop.is_set():
        return
    feed.add_instruments(instruments)
    on_instruments(feed, instruments)
    plan = plan_connections(
        feed.spec, instruments,
        connections_max=config.connections_max, redundancy=config.redundancy,
    )  # fmt: skip
    feed.left_out = list(plan.left_out)
    if plan.left_out:
        log.warning("symbols_left_out", feed=feed.spec.name, symbols=len(plan.left_out))
    feed.state = "running"
    async with trio.open_nursery() as nursery:
        for number, members in enumerate(plan.connections):
            shown = ConnectionState(number=number, wanted=len(members))
            feed.connections.append(shown)
            child = random.Random(rng.getrandbits(64))
            nursery.start_soon(
                _keep_connected, feed, config, rest, pacer, child, stop, tuple(members), shown
            )
    feed.state = "stopped"


async def _cancel_on_stop(stop: trio.Event, scope: trio.CancelScope) -> None:
    await stop.wait()
    scope.cancel()


async def _list_until_had(
    feed: FeedState,
    config: FeedConfig,
    rest: RestClient,
    rng: random.Random,
    krw_coins: Callable[[], tuple[set[str] | None, set[str] | None]],
) -> list[Instrument]:
    """The instrument list, asked for until the venue gives one with something to record."""
    backoff = Backoff(rng, LIST_RETRY_S_MAX)
    while True:
        try:
            instruments = await fetch_instruments(feed.spec, rest, config, krw_coins())
        except VenueError as error:
            feed.state, feed.error = "failing", str(error)
            log.warning("instruments_failed", feed=feed.spec.name, message=str(error))
        else:
            if instruments:
                feed.error = ""
                return instruments
            feed.state = "failing"
            feed.error = "no instrument matches symbols and quotes"
            log.warning("no_instruments", feed=feed.spec.name, symbols=list(config.symbols))
        await trio.sleep(backoff.next_s())


async def _keep_connected(
    feed: FeedState,
    config: FeedConfig,
    rest: RestClient,
    pacer: ConnectPacer,
    rng: random.Random,
    stop: trio.Event,
    instruments: tuple[Instrument, ...],
    shown: ConnectionState,
) -> None:
    backoff = Backoff(rng)
    while not stop.is_set():
        started_s = trio.current_time()
        try:
            await pacer.turn()
            if stop.is_set():
                return
            target = await connection_target(feed.spec, rest, config, rng)
            await Connection(feed, instruments, shown, rng, stop).run(target)
        except VenueError as error:
            shown.error = str(error)
            log.warning("connection_ended", feed=feed.spec.name, connection=shown.number,
                        message=str(error))  # fmt: skip
        if stop.is_set():
            return
        if trio.current_time() - started_s > STEADY_S:
            backoff.reset()
        shown.reconnects += 1
        shown.state = "waiting"
        with trio.move_on_after(backoff.next_s()):
            await stop.wait()

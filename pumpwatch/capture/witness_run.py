"""Listens to a feed's other stream for a few symbols, and holds its ids against ours.

A sample is enough: what it is for is a stream that fell silent as a whole, or for some symbols, and
which symbols changes every ten minutes. Busy ones prove themselves, and would cost too much here.
"""

from __future__ import annotations

import random
from typing import Any

import structlog
import trio
from trio_websocket import (
    ConnectionClosed,
    HandshakeError,
    WebSocketConnection,
    wrap_client_stream,
)

from pumpwatch.capture import connection
from pumpwatch.capture.id_witness import IdWitness
from pumpwatch.capture.pacing import Backoff
from pumpwatch.capture.silence import SilenceWatch
from pumpwatch.config import FeedConfig
from pumpwatch.errors import VenueError
from pumpwatch.venues.spec import WitnessStream

log = structlog.get_logger()

REDRAW_S = 600.0
RATE_MAX = 20.0  # rows a second of a symbol that is listened to
LOOK_S = 1.0
CHOOSE_S = 30.0  # until symbols are carried, or some are quiet enough
CONNECT_TIMEOUT_S = 15.0
RETRY_S_MAX = 300.0
MESSAGE_BYTES_MAX = 64 * 1024
FAILURES = (VenueError, HandshakeError, ConnectionClosed, OSError, trio.TooSlowError,
            trio.BrokenResourceError, trio.ClosedResourceError)  # fmt: skip


class WitnessRun:
    """One feed's; ``run`` it beside the comparisons."""

    def __init__(
        self, watch: SilenceWatch, stream: WitnessStream, config: FeedConfig, count: int,
        rng: random.Random,
    ) -> None:  # fmt: skip
        self.told = 0  # messages that told of a new id
        self.found = 0  # symbols that had fallen silent
        self._watch, self._feed = watch, watch.feed
        self._stream, self._count, self._rng = stream, count, rng
        self._proxy_url = config.proxy_url
        self._url = stream.url_beside(config.websocket_url or self._feed.spec.websocket_url)

    async def run(self) -> None:
        """Until cancelled; what fails is tried again, it holds nobody up."""
        if not self._url or not self._count:
            return
        backoff = Backoff(self._rng, RETRY_S_MAX)
        while True:
            names = self._choose()
            if not names:
                await trio.sleep(CHOOSE_S)
                continue
            try:
                with trio.move_on_after(REDRAW_S):
                    await self._listen(names, backoff)
            except* FAILURES as group:
                pause_s = backoff.next_s()
                log.info("witness_failed", feed=self._feed.spec.name, again_s=round(pause_s, 1),
                         message=repr(group.exceptions[0])[:200])  # fmt: skip
                await trio.sleep(pause_s)

    def _choose(self) -> list[str]:
        feed = self._feed
        carried = [name for name in feed.coverage.wanted if feed.coverage.since_ns(name)]
        quiet = sorted(name for name in carried if self._watch.rate(name) <= RATE_MAX)
        return self._rng.sample(quiet, min(self._count, len(quiet)))

    async def _listen(self, names: list[str], backoff: Backoff) -> None:
        witness = IdWitness(names)
        stream: Any
        with trio.fail_after(CONNECT_TIMEOUT_S):
            stream, host, resource = await connection.open_stream(self._url, self._proxy_url)
        try:
            async with trio.open_nursery() as nursery:
                with trio.fail_after(CONNECT_TIMEOUT_S):
                    socket = await wrap_client_stream(
                        nursery, stream, host, resource, max_message_size=MESSAGE_BYTES_MAX
                    )
                    await socket.send_message(self._stream.subscribe.render(tuple(names), 1, 0))
                backoff.reset()
                nursery.start_soon(self._read, socket, witness)
                while all(self._watch.rate(name) <= RATE_MAX for name in names):
                    await trio.sleep(LOOK_S)
                    self._look(witness)
                nursery.cancel_scope.cancel()  # others are chosen
        finally:
            # trio-websocket leaves the stream of a refused handshake open.
            with trio.move_on_after(1.0, shield=True):
                await trio.aclose_forcefully(stream)

    async def _read(self, socket: WebSocketConnection, witness: IdWitness) -> None:
        while True:
            message = await socket.get_message()
            data = message.encode() if isinstance(message, str) else message
            ids = self._stream.read(data)
            if ids is not None:
                witness.tell(ids.venue_symbol, ids.last_id, self._feed.clock.wall_ns())

    def _look(self, witness: IdWitness) -> None:
        feed = self._feed
        self.told += witness.told
        witness.told = 0
        for one in witness.behind(self._seen_to, feed.coverage.proof_ns):
            if not feed.coverage.since_ns(one.venue_symbol):
                continue  # it is not carried now, and that is known
            if self._watch.open_mute(one.venue_symbol, max(1, one.last_id - one.seen_to)):
                self.found += 1

    def _seen_to(self, venue_symbol: str) -> int:
        number = self._feed.table.number(venue_symbol)
        return 0 if number is None else int(self._feed.table.position(number)[1])

"""One WebSocket connection: the venue's session in its shell of sockets and timers."""

from __future__ import annotations

from collections.abc import Callable

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_server_stream

from pumpwatch.clock import Clock
from pumpwatch.sim.market import Market
from pumpwatch.sim.outgoing import SharedStream
from pumpwatch.sim.venue import (
    Action,
    Answer,
    End,
    Refuse,
    Send,
    Session,
    Subscribe,
    Unsubscribe,
    Upgrade,
    Venue,
)

CLOSE_TIMEOUT_S = 3.0  # for the client to answer our close frame
MESSAGE_BYTES_MAX = 1024 * 1024
OPCODE_PING, OPCODE_PONG = 0x9, 0xA
SERVER_PING = b"\x89\x04ping"


class Connection:
    """A client's connection to one feed, from its request to its end."""

    def __init__(
        self, number: int, venue: Venue, clock: Clock, on_subscribed: Callable[[], None]
    ) -> None:
        self.number = number
        self.venue = venue
        self.session: Session | None = None
        self.link: SharedStream | None = None
        self._clock = clock
        self._on_subscribed = on_subscribed
        self._heard_s = self._pong_s = 0.0
        self._verdicts: list[Action] = []  # found between two messages
        self._wake = trio.Event()

    async def run(
        self, stream: trio.abc.Stream, head: bytes, upgrade: Upgrade, stopping: trio.Event
    ) -> None:
        """Shake hands, obey the session, close. Returns when the connection is gone."""
        link = self.link = SharedStream(stream, head)
        end_of_head = head.find(b"\r\n\r\n") + 4
        opened = self.venue.open_session(upgrade, trio.current_time())
        try:
            async with trio.open_nursery() as nursery:
                request = await wrap_server_stream(
                    nursery, link, max_message_size=MESSAGE_BYTES_MAX
                )
                if isinstance(opened, Answer):
                    self.venue.counts.refused[f"handshake {opened.status}"] += 1
                    await request.reject(opened.status, body=opened.body)
                else:
                    socket = await request.accept()
                    self.session = opened
                    self._heard_s = self._pong_s = trio.current_time()
                    link.on_frame = self._frame_came
                    link.on_delivered = self._delivered
                    link.scan_rest(head[end_of_head:])
                    nursery.start_soon(link.run_writer)
                    nursery.start_soon(self._watch, socket)
                    nursery.start_soon(self._close_on, stopping, socket)
                    await self._obey(socket, opened)
                nursery.cancel_scope.cancel()
        except* ConnectionClosed:
            pass
        finally:
            for market in (self.venue.market, *self.venue.siblings):
                market.drop(link)
            with trio.move_on_after(1.0, shield=True):
                await trio.aclose_forcefully(stream)

    async def _obey(self, socket: WebSocketConnection, session: Session) -> None:
        counts = self.venue.counts
        counts.connects += 1
        try:
            await self._act(socket, session.opened(trio.current_time()))
            while True:
                message = await socket.get_message()
                counts.messages_in += 1
                self._heard_s = trio.current_time()
                text = message if isinstance(message, str) else message.decode("utf-8", "replace")
                await self._act(socket, session.received(text, trio.current_time()))
        except ConnectionClosed:
            return

    async def _act(self, socket: WebSocketConnection, actions: list[Action]) -> None:
        assert self.session is not None
        assert self.link is not None
        counts, dialect = self.venue.counts, self.session.dialect
        for action in actions:
            match action:
                case Send(text=text):
                    await socket.send_message(text)
                case Subscribe(instrument=instrument):
                    market = self._market_of(instrument.venue_symbol)
                    market.subscribe(self.link, dialect, instrument, self._clock.wall_ns())
                    self._on_subscribed()
                case Unsubscribe(instrument=instrument):
                    self._market_of(instrument.venue_symbol).unsubscribe(
                        self.link, dialect, instrument
                    )
                case Refuse(why=why):
                    counts.refused[why] += 1
                case End(code=code, reason=reason, why=why):
                    if why:
                        counts.violations[why] += 1
                    with trio.move_on_after(CLOSE_TIMEOUT_S):
                        await socket.aclose(code, reason)
                    return

    def _market_of(self, venue_symbol: str) -> Market:
        for market in (self.venue.market, *self.venue.siblings):
            if venue_symbol in market.by_name:
                return market
        raise AssertionError(venue_symbol)

    def _frame_came(self, opcode: int) -> None:
        assert self.session is not None
        now_s = trio.current_time()
        if opcode == OPCODE_PONG:
            self._pong_s = now_s
        elif opcode == OPCODE_PING:
            self._heard_s = now_s
        self._verdicts += self.session.frame_came(opcode, now_s)
        if self._verdicts:
            self._wake.set()

    def _delivered(self, rows: int) -> None:
        self.venue.counts.delivered += rows

    async def _watch(self, socket: WebSocketConnection) -> None:
        """The venue's pings, and its verdicts on a client that is silent or rude."""
        assert self.session is not None
        assert self.link is not None
        keepalive, scaled = self.session.keepalive, self.venue.scaled
        started_s = trio.current_time()
        next_ping_s = started_s + scaled(keepalive.server_ping_s)
        while True:
            now_s = trio.current_time()
            deadlines = []
            if keepalive.server_ping_s:
                if now_s >= next_ping_s:
                    next_ping_s += scaled(keepalive.server_ping_s)
                    await self.link.send_all(SERVER_PING)
                deadlines += [
                    (next_ping_s, ""),
                    (self._pong_s + scaled(keepalive.pong_within_s), "no pong"),
                ]
            if keepalive.client_silence_s:
                deadlines.append((self._heard_s + scaled(keepalive.client_silence_s), "silence"))
            if keepalive.needs_subscription_s and not self.session.subscribed:
                deadlines.append(
                    (started_s + scaled(keepalive.needs_subscription_s), "no subscription")
                )
            if keepalive.life_s:
                deadlines.append((started_s + scaled(keepalive.life_s), "age"))
            for deadline_s, why in deadlines:
                if why and trio.current_time() >= deadline_s:
                    self._verdicts.append(End(keepalive.code, keepalive.reason or why, why))
            if self._verdicts:
                await self._act(socket, self._verdicts)
                return
            self._wake = trio.Event()
            with trio.move_on_at(min((at for at, _ in deadlines), default=float("inf"))):
                await self._wake.wait()

    async def _close_on(self, stopping: trio.Event, socket: WebSocketConnection) -> None:
        await stopping.wait()
        with trio.move_on_after(CLOSE_TIMEOUT_S):
            await socket.aclose(1001, "going away")

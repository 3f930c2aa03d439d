"""One WebSocket connection: the venue's session in its shell of sockets and timers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_server_stream

from pumpwatch.clock import Clock
from pumpwatch.sim.market import Market
from pumpwatch.sim.outgoing import SharedStream, single_chunk
from pumpwatch.sim.timers import Timers
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

HANDSHAKE_S = 5.0  # the request's head is here already: longer means that it is no good one
CLOSE_TIMEOUT_S = 3.0  # for the client to answer our close frame
MESSAGE_BYTES_MAX = 1024 * 1024
GONE = (ConnectionClosed, trio.BrokenResourceError, trio.ClosedResourceError)


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
        self._verdicts: list[Action] = []  # found between two messages
        self._wake = trio.Event()

    # --- faults -----------------------------------------------------------------------------------

    @property
    def subscribed(self) -> list[str]:
        """The venue's names of what it carries."""
        return [] if self.session is None else list(self.session.subscribed)

    async def cut(self, how: str) -> None:
        """End it without a word."""
        if self.link is not None:
            await self.link.cut(how)

    def silence(self, *, is_deaf: bool) -> None:
        """Send nothing more; deaf: read nothing either."""
        if self.link is not None:
            self.link.silence(is_deaf=is_deaf)

    def resume(self) -> None:
        """The end of a silence."""
        if self.link is not None:
            self.link.resume()

    async def announce_end(self, within_s: float, texts: Sequence[str] | None = None) -> None:
        """Say so (``texts``: other than the venue's words for it), and close it then."""
        if self.session is None or self.link is None:
            return
        for text in self.session.farewell() if texts is None else texts:
            self.link.push(single_chunk(text))
        await trio.sleep(within_s)
        self._verdicts.append(End(self.session.keepalive.code, "planned", "planned end"))
        self._wake.set()

    # --- its life ---------------------------------------------------------------------------------

    async def run(
        self, stream: trio.abc.Stream, head: bytes, upgrade: Upgrade, stopping: trio.Event
    ) -> None:
        """Shake hands, obey the session, close. Returns when the connection is gone."""
        link = self.link = SharedStream(stream, head)
        opened = self.venue.open_session(upgrade, trio.current_time())
        try:
            async with trio.open_nursery() as nursery:
                socket = await self._shake_hands(nursery, link, opened)
                if socket is not None and isinstance(opened, Session):
                    self.session = opened
                    await self._serve(nursery, socket, link, head, stopping)
                nursery.cancel_scope.cancel()
        except* GONE:
            pass
        finally:
            for market in (self.venue.market, *self.venue.siblings):
                market.drop(link)

    async def _shake_hands(
        self, nursery: trio.Nursery, link: SharedStream, opened: Session | Answer
    ) -> WebSocketConnection | None:
        with trio.move_on_after(HANDSHAKE_S):
            request = await wrap_server_stream(nursery, link, max_message_size=MESSAGE_BYTES_MAX)
            if isinstance(opened, Session):
                return await request.accept()
            self.venue.counts.refused[f"handshake {opened.status}"] += 1
            await request.reject(opened.status, body=opened.body)
        return None

    async def _serve(
        self,
        nursery: trio.Nursery,
        socket: WebSocketConnection,
        link: SharedStream,
        head: bytes,
        stopping: trio.Event,
    ) -> None:
        assert self.session is not None
        session = self.session
        timers = Timers(session.keepalive, self.venue.scaled, trio.current_time())

        def frame_came(opcode: int, payload: bytes) -> None:
            now_s = trio.current_time()
            timers.frame_came(opcode, payload, now_s)
            self._verdicts += session.frame_came(opcode, now_s)
            self._wake.set()

        def delivered(rows: int) -> None:
            self.venue.counts.delivered += rows
            timers.told(trio.current_time())

        link.on_frame, link.on_delivered = frame_came, delivered
        link.spell = self.venue.spell_anew
        link.scan_rest(head[head.find(b"\r\n\r\n") + 4 :])
        nursery.start_soon(link.run_writer)
        nursery.start_soon(self._watch, socket, timers)
        nursery.start_soon(self._close_on, stopping, socket)
        await self._obey(socket, session, timers)

    async def _obey(self, socket: WebSocketConnection, session: Session, timers: Timers) -> None:
        counts = self.venue.counts
        counts.connects += 1
        await self._act(socket, session.opened(trio.current_time()))
        while True:
            timers.set_bare(trio.current_time(), is_bare=not session.subscribed)
            self._wake.set()
            message = await socket.get_message()
            counts.messages_in += 1
            now_s = trio.current_time()
            timers.heard(now_s)
            text = message if isinstance(message, str) else message.decode("utf-8", "replace")
            is_refusing = now_s < self.venue.refuses_until_s
            actions = session.refusal(text) if is_refusing else []
            await self._act(socket, actions or session.received(text, now_s))

    async def _act(self, socket: WebSocketConnection, actions: list[Action]) -> None:
        assert self.session is not None
        assert self.link is not None
        counts, dialect = self.venue.counts, self.session.dialect
        is_ending = any(isinstance(action, End) for action in actions)
        for action in actions:
            match action:
                case Send(text=text) if is_ending:
                    await socket.send_message(text)  # what is queued is given up at the end
                case Send(text=text):
                    self.link.push(single_chunk(text))
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

    async def _watch(self, socket: WebSocketConnection, timers: Timers) -> None:
        """The venue's pings, and its verdicts on a client that is silent or rude."""
        assert self.link is not None
        while True:
            self._wake = trio.Event()
            payload = timers.ping_due(trio.current_time())
            if payload is not None:
                await self.link.send_all(bytes((0x89, len(payload))) + payload)
            verdict = timers.verdict(trio.current_time())
            if verdict is not None:
                self._verdicts.append(verdict)
            if self._verdicts:
                await self._act(socket, self._verdicts)
                return
            with trio.move_on_at(timers.next_s()):
                await self._wake.wait()

    async def _close_on(self, stopping: trio.Event, socket: WebSocketConnection) -> None:
        await stopping.wait()
        with trio.move_on_after(CLOSE_TIMEOUT_S):
            await socket.aclose(1001, "going away")

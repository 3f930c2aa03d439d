"""One connection from dialling to its end: socket + tap + session."""

from __future__ import annotations

import random
import ssl
from collections.abc import Iterable
from urllib.parse import urlsplit

import structlog
import trio
from trio_websocket import (
    ConnectionClosed,
    HandshakeError,
    WebSocketConnection,
    wrap_client_stream,
)
from wsproto.utilities import LocalProtocolError

from pumpwatch._fast.intake import Intake
from pumpwatch.capture.feed_state import FLUSH_BYTES, ConnectionState, FeedState
from pumpwatch.capture.session import (
    Fault,
    Notice,
    PlannedEnd,
    Session,
    Subscribed,
    SymbolRefused,
)
from pumpwatch.capture.tap import PACE_S, Tap
from pumpwatch.capture.tls import TlsStream
from pumpwatch.dialling import ProxyRefusedError, address_of, open_tcp
from pumpwatch.errors import FeedSilentError, VenueError
from pumpwatch.model import Instrument
from pumpwatch.trust import system_roots
from pumpwatch.venues.spec import Target

log = structlog.get_logger()

CONNECT_TIMEOUT_S = 15.0
PAUSE_BLAME_S = 10.0  # an end so soon after a pause in our reading is its doing (R9)
CLOSE_TIMEOUT_S = 5.0  # for the venue's answer to our close: what it sent before is still read
LATE_S = 1.0  # so late for a deadline, we have not been reading either (R9)
PASSES_TO_READ = 3  # of the scheduler: what has arrived is read by then, where the reader waits
PASSES_TO_ANSWER = 4  # of the scheduler: a ping that was handed up before is answered by then
SEND_TIMEOUT_S = 10.0  # a request that the venue's window does not take: the connection is dead


async def open_stream(url: str, proxy_url: str | None = None) -> tuple[trio.abc.Stream, str, str]:
    """Connect to ws:// or wss://; returns the stream, the Host header and the resource."""
    parts = urlsplit(url)
    name, port = address_of(parts)
    host = name if parts.port is None else f"{name}:{port}"
    resource = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    transport = await open_tcp(name, port, proxy_url)
    if parts.scheme != "wss":
        return transport, host, resource
    stream = TlsStream(transport, system_roots("socket"), name)
    try:
        await stream.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(transport)
        raise
    return stream, host, resource


class Connection:
    """A life of one connection; a new object is made for the next one.

    ``stop`` ends it by handshake, or at once while it is not open yet. ``leaving`` is set when
    something is to take its place: the venue announced its end, or it has ended.
    """

    def __init__(
        self,
        feed: FeedState,
        instruments: Iterable[Instrument],
        shown: ConnectionState,
        rng: random.Random,
        stop: trio.Event,
    ) -> None:
        self.shown = shown
        self.leaving = trio.Event()
        self.planned: PlannedEnd | None = None
        self.settled_ns = 0  # when the venue had taken or refused all that was asked at the start
        self.intake = Intake(feed.road)
        self.number = 0  # among the feed's; 0: it is not open yet
        self._feed = feed
        self._wanted = dict.fromkeys(instrument.venue_symbol for instrument in instruments)
        self._rng = rng
        self._stop = stop
        self._wake = trio.Event()
        self._closed: trio.Event | None = None  # None: we have not begun to close
        self._error: VenueError | None = None
        self._session: Session  # both are made by ``run``
        self._tap: Tap

    # --- symbols that come and go -----------------------------------------------------------------

    def add(self, venue_symbols: Iterable[str]) -> None:
        """Subscribe these too, at once where it is open; the refused ones are asked for again."""
        venue_symbols = list(venue_symbols)
        self._wanted.update(dict.fromkeys(venue_symbols))
        if self.number:
            self._session.add(venue_symbols)
            self._wake.set()

    def replace(self, reason: str) -> None:
        """Have a successor made, and end when it has taken over."""
        self.planned = PlannedEnd(reason, 0.0)
        self.leaving.set()

    def leave(self, venue_symbols: Iterable[str]) -> None:
        """Want these no more."""
        venue_symbols = list(venue_symbols)
        for name in venue_symbols:
            self._wanted.pop(name, None)
        if self.number:
            self._feed.coverage.leave(self.number, venue_symbols)
            self._session.leave(venue_symbols)
            self.shown.subscribed = len(self._session.subscribed)
            self._wake.set()

    # --- life -------------------------------------------------------------------------------------

    async def run(self, target: Target) -> None:
        """Dial, subscribe, read until the stop. Raises VenueError for any other end."""
        shown = self.shown
        shown.state = "connecting"
        found = await self._dial(target)
        if found is None:
            return
        stream, host, resource = found
        self._session = Session(
            self._feed.spec, self._wanted, rng=self._rng, clock=self._feed.clock,
            keepalive=target.keepalive,
        )  # fmt: skip
        tape = self._feed.open_tape()
        self._tap = Tap(
            stream, self.intake, self._feed.sink, self._feed.clock, self._on_chunk, tape
        )  # fmt: skip
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._cancel_on_stop, nursery.cancel_scope)
                try:
                    with trio.fail_after(CONNECT_TIMEOUT_S):
                        socket = await wrap_client_stream(
                            nursery, self._tap, host, resource,  # type: ignore[arg-type]
                            extra_headers=[(k.encode(), v.encode()) for k, v in target.headers],
                        )  # fmt: skip
                except trio.TooSlowError as error:
                    raise VenueError(f"{self._feed.spec.name}: no handshake in time") from error
                self._begin()
                nursery.start_soon(self._send_due, socket)
                nursery.start_soon(self._close_on_stop, socket)
                await self._read_to_end(socket)
                nursery.cancel_scope.cancel()
        except* (VenueError, HandshakeError, ConnectionClosed, LocalProtocolError) as group:
            raise self._venue_error(group) from None
        finally:
            if tape is not None:
                tape.is_closed = True
            self._end()
            with trio.move_on_after(1.0, shield=True):
                await trio.aclose_forcefully(stream)
        if self._error is not None:
            raise self._error

    async def _dial(self, target: Target) -> tuple[trio.abc.Stream, str, str] | None:
        """The stream, the Host header and the resource; None where the stop came first."""
        found: tuple[trio.abc.Stream, str, str] | None = None
        failure: VenueError | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._cancel_on_stop, nursery.cancel_scope)
            try:
                with trio.fail_after(CONNECT_TIMEOUT_S):
                    found = await open_stream(target.url, target.proxy_url)
            except (OSError, ssl.SSLError, trio.BrokenResourceError, trio.TooSlowError) as error:
                failure = VenueError(f"{self._feed.spec.name}: cannot connect: {error!r}")
                failure.__cause__ = error
            except ProxyRefusedError as error:
                failure = VenueError(f"{self._feed.spec.name}: {error}")
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
        return found

    async def _cancel_on_stop(self, scope: trio.CancelScope) -> None:
        """Nobody waits for a connection that is not open yet."""
        await self._stop.wait()
        if not self.number:
            scope.cancel()

    def _begin(self) -> None:
        self.number = self._feed.opened(self.intake)
        self.shown.state = "open"
        self.shown.opened_ns = self._feed.clock.wall_ns()

    def _end(self) -> None:
        now_s = trio.current_time()
        self._on_chunk(now_s)
        if self.number:
            blamed_s = self._tap.paused_until_s + PAUSE_BLAME_S
            is_ours = self._tap.is_paused or now_s < blamed_s
            cause = "handover" if self._stop.is_set() else "backpressure" if is_ours else "cut"
            self._feed.ended(self.number, cause)
        self.shown.subscribed = 0
        self.shown.state = "closed"

    def _venue_error(self, group: BaseExceptionGroup[Exception]) -> VenueError:
        """The first of what our tasks or trio-websocket's reader task raised."""
        found: BaseException = group
        while isinstance(found, BaseExceptionGroup):
            found = found.exceptions[0]
        if isinstance(found, HandshakeError):
            return VenueError(f"{self._feed.spec.name}: no handshake: {found!r}")
        return found if isinstance(found, VenueError) else VenueError(repr(found))

    async def _read_to_end(self, socket: WebSocketConnection) -> None:
        """The reader task of trio-websocket does the reading; data frames never come up here.

        Where we close, trio-websocket ends this wait at once, although the reading goes on until
        the venue's answer: that is waited for.
        """
        try:
            while True:
                await socket.get_message()
        except ConnectionClosed as closed:
            if self._closed is not None:
                await self._closed.wait()
            if self._tap.error is not None:
                self._error = self._tap.error
            elif self._error is None and not self._stop.is_set():
                reason = closed.reason
                told = "without a close frame" if reason is None else f"{reason.code} {reason.name}"
                self._error = VenueError(f"{self._feed.spec.name}: closed by the venue: {told}")

    async def _send_due(self, socket: WebSocketConnection) -> None:
        """Requests and pings when they are due; the verdict that the connection is dead."""
        while True:
            self._wake = trio.Event()
            texts = await self._texts_due()
            for event in self._session.take_events():
                self._act_on(event)
            if self._session.is_ended:
                await self._close(socket)
                return
            for text in texts:
                try:
                    with trio.fail_after(SEND_TIMEOUT_S):
                        await socket.send_message(text)
                except trio.TooSlowError as error:
                    raise VenueError(f"{self._feed.spec.name}: sending takes too long") from error
                except ConnectionClosed:
                    return
            deadline_s = self._session.next_deadline_s()
            with trio.move_on_at(deadline_s):
                await self._wake.wait()
            if trio.current_time() > deadline_s + LATE_S:
                self._session.suspend_verdict(True)

    async def _texts_due(self) -> list[str]:
        """What is to be sent now; nothing where the venue is given up.

        It is not while the socket holds what we have not read: the answer may lie there (R9).
        """
        is_read = False
        while True:
            self._session.suspend_verdict(self._tap.is_paused)
            try:
                return self._session.due(trio.current_time())
            except FeedSilentError as error:
                if is_read:
                    self._error = error
                    self._session.end()
                    return []
            await self._read_what_came()
            is_read = True

    async def _read_what_came(self) -> None:
        """Wait until the reader has emptied the socket once, or stands waiting before it."""
        tap, times_empty = self._tap, self._tap.times_empty
        while not tap.is_paused:
            received = self.intake.bytes_received
            for _ in range(PASSES_TO_READ):
                await trio.lowlevel.checkpoint()
            is_waiting = tap.is_waiting and self.intake.bytes_received == received
            if is_waiting or tap.times_empty > times_empty:
                return
            await trio.sleep(PACE_S)

    async def _close_on_stop(self, socket: WebSocketConnection) -> None:
        await self._stop.wait()
        self.shown.state = "closing"
        await self._close(socket)

    async def _close(self, socket: WebSocketConnection) -> None:
        """Close by handshake: what the venue sent before its answer is read and kept."""
        if self._closed is not None:
            return
        self._closed = trio.Event()
        # trio-websocket would answer a ping that comes now, and fail: nothing may follow a close.
        self._tap.is_closing = True
        for _ in range(PASSES_TO_ANSWER):
            await trio.lowlevel.checkpoint()
        with trio.move_on_after(CLOSE_TIMEOUT_S):
            await socket.aclose(1000)
        self._closed.set()

    def _on_chunk(self, now_s: float) -> None:
        """After each read: flush a large buffer, and see to what is no trade."""
        intake, feed, shown = self.intake, self._feed, self.shown
        shown.messages = intake.messages
        shown.trades = intake.trades
        shown.last_received_ns = feed.road.last_receive_ns
        self._session.heard(now_s)
        if intake.has_news:
            messages, quarantine = intake.take_kept()
            feed.take_quarantine(quarantine)
            feed.take_news(intake.take_news())
            for message in messages:
                for event in self._session.receive(message, now_s):
                    self._act_on(event)
            if not self.settled_ns and self._session.is_settled:
                self.settled_ns = feed.clock.wall_ns()
            self._wake.set()
        if feed.rows.size_bytes >= FLUSH_BYTES:
            feed.flush()

    def _act_on(self, event: object) -> None:
        name = self._feed.spec.name
        match event:
            case Subscribed(symbols=symbols):
                self.shown.subscribed = len(self._session.subscribed)
                self._feed.carried(self.number, symbols)
            case SymbolRefused(symbol=symbol, reason=reason):
                if self._feed.refuse(symbol, reason):
                    log.warning("symbol_refused", feed=name, symbol=symbol, reason=reason)
            case PlannedEnd(reason=reason):
                log.info("planned_end", feed=name, connection=self.shown.number, reason=reason)
                self.planned = event
                self.leaving.set()
            case Fault(text=text):
                self._error = VenueError(f"{name}: {text}")
                self._stop_soon()
            case Notice(text=text):
                log.info("venue_notice", feed=name, text=text[:300])

    def _stop_soon(self) -> None:
        self._session.end()
        self._wake.set()

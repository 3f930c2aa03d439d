"""One connection's conversation, sans I/O: what to send when, and what the venue's replies mean.

``due`` gives the texts to send now, ``receive`` takes what is no trade, ``take_events`` what time
alone brought about. Times are seconds of one monotonic clock.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable
from math import inf
from typing import assert_never

import msgspec

from pumpwatch.capture.subscriptions import ANSWER_S, Subscriptions
from pumpwatch.clock import Clock
from pumpwatch.errors import FeedSilentError
from pumpwatch.venues.spec import FeedSpec, Keepalive, Pace, Reply, ReplyKind, fill

LIFE_SHARES = (0.90, 0.99)  # of the venue's age limit; spread, so that not all end at once
SUSPENDED_LOOK_S = 1.0  # how soon the end of a pause is noticed
NOTICES_MAX = 50  # told of one connection: a venue that chatters must not fill the log
SAMPLE_CHARS = 200

# What reading a message of an unexpected shape can raise.
STRANGE = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError,
           msgspec.MsgspecError)  # fmt: skip


class Subscribed(msgspec.Struct, frozen=True):
    """The venue took these symbols."""

    symbols: tuple[str, ...]


class SymbolRefused(msgspec.Struct, frozen=True):
    """The venue will not send this symbol."""

    symbol: str
    reason: str


class PlannedEnd(msgspec.Struct, frozen=True):
    """The venue will end the connection, at the latest in ``within_s`` (0: not said)."""

    reason: str
    within_s: float


class Fault(msgspec.Struct, frozen=True):
    """This connection is of no use any more."""

    text: str


class Notice(msgspec.Struct, frozen=True):
    """Something for the log."""

    text: str


Event = Subscribed | SymbolRefused | PlannedEnd | Fault | Notice


class Pacer:
    """When the next message may go, and the next request among the messages."""

    def __init__(self, pace: Pace) -> None:
        self.message_s = -inf
        self._pace = pace
        self._requests_s: deque[float] = deque(maxlen=pace.requests_max)

    @property
    def request_s(self) -> float:
        """Requests keep within a window of their own."""
        if not self._pace.requests_max or len(self._requests_s) < self._pace.requests_max:
            return self.message_s
        return max(self.message_s, self._requests_s[0] + self._pace.window_s)

    def sent(self, now_s: float, *, is_request: bool) -> None:
        """A message goes now."""
        self.message_s = now_s + self._pace.interval_s
        if is_request:
            self._requests_s.append(now_s)


class Session:
    """Subscribes, keeps alive and judges one connection; the first ``due`` is its beginning."""

    def __init__(
        self,
        spec: FeedSpec,
        venue_symbols: Iterable[str],
        *,
        rng: random.Random,
        clock: Clock,
        keepalive: Keepalive | None = None,
    ) -> None:
        self.is_ended = False
        self._spec = spec
        self._keepalive = keepalive or spec.keepalive
        self._rng = rng
        self._clock = clock
        self._pacer = Pacer(spec.pace)
        self._symbols = Subscriptions(spec.subscribe, venue_symbols, rng)
        self._events: list[Event] = []
        self._last_id = 0
        self._notices = 0
        self._now_s = -inf  # of the last ``due``; -inf: not begun
        self._heard_s = -inf
        self._ping_s = self._life_end_s = inf
        self._pings_open = 0
        self._is_welcome = not spec.subscribe.awaits_welcome
        self._welcome_by_s = inf  # inf: not awaited (any more)
        self._is_suspended = self._is_resuming = False

    @property
    def subscribed(self) -> set[str]:
        """The venue symbols that the venue took."""
        return self._symbols.subscribed

    @property
    def is_settled(self) -> bool:
        """The venue has taken or refused every symbol."""
        return self._symbols.is_settled

    def add(self, venue_symbols: Iterable[str]) -> None:
        """Subscribe these too; the next ``due`` asks for them."""
        self._symbols.add(venue_symbols)

    def leave(self, venue_symbols: Iterable[str]) -> None:
        """Ask for these no more, where the venue can be told so."""
        self._symbols.leave(venue_symbols)

    # --- time -------------------------------------------------------------------------------------

    def due(self, now_s: float) -> list[str]:
        """The texts to send now, in order; the caller sends them at once.

        Raises FeedSilentError when the connection is dead.
        """
        if self.is_ended:
            return []
        if self._now_s == -inf:
            self._begin(now_s)
        elif self._is_resuming:
            self._restart_clocks(now_s)
        self._now_s = now_s
        self._look_at_clocks(now_s)
        texts = []
        while (text := self._next_text(now_s)) is not None:
            texts.append(text)
        return texts

    def next_deadline_s(self) -> float:
        """When ``due`` must be asked again even if nothing comes: later than it was asked last."""
        if self.is_ended:
            return inf
        talk_s = min(max(self._ping_s, self._pacer.message_s), self._request_s(), self._life_end_s)
        if self._is_suspended:
            return min(talk_s, self._now_s + SUSPENDED_LOOK_S)
        silent_s = self._heard_s + self._keepalive.silence_s
        return min(talk_s, silent_s, self._welcome_by_s, self._symbols.answer_by_s)

    def heard(self, now_s: float) -> None:
        """Bytes came, whatever they are."""
        self._heard_s = now_s

    def suspend_verdict(self, is_suspended: bool) -> None:
        """R9: while our own reading is paused, what does not come is not the venue's fault.

        Pings go on; afterwards every clock that waits for the venue starts anew.
        """
        if self._is_suspended and not is_suspended:
            self._is_resuming = True
        self._is_suspended = is_suspended

    def end(self) -> None:
        """Send nothing more."""
        self.is_ended = True

    def take_events(self) -> list[Event]:
        """What time brought about since the last call: a planned end, a fault."""
        events, self._events = self._events, []
        return events

    def _begin(self, now_s: float) -> None:
        self._heard_s = now_s
        if self._keepalive.ping is not None:
            self._ping_s = now_s + self._keepalive.interval_s
        if self._spec.life_s:
            self._life_end_s = now_s + self._spec.life_s * self._rng.uniform(*LIFE_SHARES)
        if not self._is_welcome:
            self._welcome_by_s = now_s + ANSWER_S

    def _restart_clocks(self, now_s: float) -> None:
        self._is_resuming = False
        self._heard_s = now_s
        self._pings_open = 0
        if self._welcome_by_s < inf:
            self._welcome_by_s = now_s + ANSWER_S
        self._symbols.restart_clocks(now_s)

    def _look_at_clocks(self, now_s: float) -> None:
        name, keepalive = self._spec.name, self._keepalive
        if now_s >= self._life_end_s:
            self._life_end_s = inf
            self._events.append(PlannedEnd("near the age at which the venue ends it", 0.0))
        if self._is_suspended:
            return
        if now_s >= self._heard_s + keepalive.silence_s:
            raise FeedSilentError(f"{name}: not a byte for {keepalive.silence_s:g} s")
        if now_s >= self._ping_s and self._pings_open >= keepalive.unanswered_max:
            raise FeedSilentError(f"{name}: {self._pings_open} pings unanswered")
        if now_s >= self._welcome_by_s:
            self._welcome_by_s = inf
            self._events.append(Fault(f"no welcome within {ANSWER_S:g} s"))
        if why := self._symbols.ask_overdue(now_s):
            self._events.append(Fault(why))

    def _request_s(self) -> float:
        """When the next request may go; inf: there is none."""
        return max(self._symbols.ready_s, self._pacer.request_s) if self._is_welcome else inf

    def _next_text(self, now_s: float) -> str | None:
        ping = self._keepalive.ping
        is_request = False
        if ping is not None and now_s >= max(self._ping_s, self._pacer.message_s):
            self._ping_s = now_s + self._keepalive.interval_s
            self._pings_open += 1
            text = fill(ping, self._next_id(), self._unix_s())
        elif now_s >= self._request_s():
            is_request = True
            text = self._symbols.next_text(now_s, self._next_id(), self._unix_s())
        else:
            return None
        self._pacer.sent(now_s, is_request=is_request)
        return text

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def _unix_s(self) -> int:
        return self._clock.wall_ns() // 1_000_000_000

    # --- replies ----------------------------------------------------------------------------------

    def receive(self, message: bytes, now_s: float) -> list[Event]:
        """Take a message that holds no trade. Never raises, whatever it is."""
        reply = self._read(message)
        match reply.kind:
            case ReplyKind.ACCEPTED:
                symbols = self._symbols.accepted(reply, now_s)
                return [Subscribed(symbols)] if symbols else []
            case ReplyKind.REFUSED:
                return self._refused(reply)
            case ReplyKind.BUSY:
                self._symbols.busy(reply, now_s)
                return self._notice(f"asked too fast: {reply.text}")
            case ReplyKind.PONG:
                self._pings_open = 0
                return []
            case ReplyKind.WELCOME:
                self._is_welcome = True
                self._welcome_by_s = inf
                return []
            case ReplyKind.PLANNED_END:
                return [PlannedEnd(reply.text, reply.within_s)]
            case ReplyKind.FAULT:
                return [Fault(reply.text)]
            case ReplyKind.NOTICE:
                return self._notice(reply.text)
            case _:
                assert_never(reply.kind)

    def _read(self, message: bytes) -> Reply:
        text = message.decode("utf-8", "replace")
        try:
            document = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError):
            document = text
        try:
            return self._spec.read_reply(document)
        except STRANGE as error:
            sample = " ".join(text[:SAMPLE_CHARS].split())
            return Reply(ReplyKind.NOTICE, text=f"not understood ({error!r}): {sample}")

    def _refused(self, reply: Reply) -> list[Event]:
        symbols = self._symbols.refused(reply)
        if symbols is None:
            return self._notice(f"refused: {reply.text}")
        events: list[Event] = [SymbolRefused(symbol, reply.text) for symbol in symbols]
        if symbols and self._symbols.is_barren:
            events.append(Fault(f"all symbols were refused, the last with: {reply.text}"))
        return events

    def _notice(self, text: str) -> list[Event]:
        if not text or self._notices == NOTICES_MAX:
            return []
        self._notices += 1
        return [Notice(text)]

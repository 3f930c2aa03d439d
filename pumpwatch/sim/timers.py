"""When a venue pings, and when it gives a client up. No clock in here: times are told."""

from __future__ import annotations

import math
from collections.abc import Callable

from pumpwatch.sim.venue import End, Keepalive

OPCODE_PING, OPCODE_PONG = 0x9, 0xA


class Timers:
    """One connection's deadlines; all times in seconds of one clock."""

    def __init__(
        self, keepalive: Keepalive, scaled: Callable[[float], float], now_s: float
    ) -> None:
        self._keepalive = keepalive
        self._scaled = scaled
        self._started_s = self._heard_s = self._bare_s = now_s
        self._pings: list[tuple[bytes, float]] = []  # without an answer: payload, when
        self._made = 0
        self._next_ping_s = math.inf
        if keepalive.server_ping_s:
            self._next_ping_s = now_s + scaled(keepalive.server_ping_s)

    def heard(self, now_s: float) -> None:
        """A message came from the client."""
        self._heard_s = now_s

    def told(self, now_s: float) -> None:
        """Something went to the client."""
        if self._keepalive.counts_both_ways:
            self._heard_s = now_s

    def frame_came(self, opcode: int, payload: bytes, now_s: float) -> None:
        """A ping is a sign of life; a pong answers the ping with its payload and those before."""
        if opcode == OPCODE_PING:
            self._heard_s = now_s
        elif opcode == OPCODE_PONG:
            known = [ping for ping, _ in self._pings]
            if payload in known:
                del self._pings[: known.index(payload) + 1]

    def set_bare(self, now_s: float, *, is_bare: bool) -> None:
        """Whether nothing is subscribed."""
        if not is_bare:
            self._bare_s = math.inf
        elif self._bare_s == math.inf:
            self._bare_s = now_s

    def ping_due(self, now_s: float) -> bytes | None:
        """The payload of a ping to be sent now."""
        if now_s < self._next_ping_s:
            return None
        self._next_ping_s += self._scaled(self._keepalive.server_ping_s)
        self._made += 1
        payload = b"%d" % self._made
        self._pings.append((payload, now_s))
        return payload

    def verdict(self, now_s: float) -> End | None:
        """How the venue ends the connection now, if it does."""
        for deadline_s, why in self._deadlines():
            if now_s >= deadline_s:
                return End(self._keepalive.code, self._keepalive.reason or why, why)
        return None

    def next_s(self) -> float:
        """When there is something to do, if nothing comes before."""
        return min(self._next_ping_s, *(deadline_s for deadline_s, _ in self._deadlines()))

    def _deadlines(self) -> list[tuple[float, str]]:
        keepalive = self._keepalive
        oldest_ping_s = self._pings[0][1] if self._pings else math.inf
        return [
            (since_s + self._scaled(limit_s), why)
            for since_s, limit_s, why in (
                (oldest_ping_s, keepalive.pong_within_s, "no pong"),
                (self._heard_s, keepalive.client_silence_s, "silence"),
                (self._bare_s, keepalive.needs_subscription_s, "no subscription"),
                (self._started_s, keepalive.life_s, "age"),
            )
            if limit_s
        ] or [(math.inf, "")]

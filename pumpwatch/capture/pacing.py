"""When to dial: growing pauses after failures, and no faster than an exchange allows."""

from __future__ import annotations

import random

import trio

BACKOFF_S_MIN = 0.2
BACKOFF_S_MAX = 30.0


class Backoff:
    """Growing, jittered pauses between tries."""

    def __init__(self, rng: random.Random, limit_s: float = BACKOFF_S_MAX) -> None:
        self._rng = rng
        self._limit_s = limit_s
        self._failures = 0

    def next_s(self) -> float:
        """The pause after one more failure: doubling, half of it by chance."""
        delay_s = min(self._limit_s, BACKOFF_S_MIN * 2.0**self._failures)
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

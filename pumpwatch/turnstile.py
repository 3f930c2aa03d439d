"""Who may ask next: the allowance of one key, shared by all who ask under it.

``Budget`` decides in plain numbers, ``Turnstile`` lets tasks through in order of priority.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import inf
from typing import TYPE_CHECKING

import structlog
import trio

if TYPE_CHECKING:
    from pumpwatch.venues.spec import Allowance

log = structlog.get_logger()

PAUSE_S_MIN = 1.0  # after a first "too many" that names no time; doubles up to:
PAUSE_S_MAX = 120.0
IN_FLIGHT_MAX = 16  # per key: a venue that hangs takes no more sockets than this
UNITS_ERROR = 1e-6  # of adding and taking away fractional weights

# Lower goes first; a number stands for a tuple of one.
Priority = float | tuple[float, ...]


class Budget:
    """What may still be asked under one key. Seconds of any one clock come in with each call.

    Two limits hold at once. ``units`` in any span of ``per_s``, as the venue counts: a request
    may reach it at any moment between sending and answer, so its units come back ``per_s`` after
    the answer. And a bucket of ``burst``, filled at units ÷ per_s, so that they are not all asked
    for at once. A request heavier than a whole limit goes when that limit is untouched.
    """

    def __init__(self, allowance: Allowance) -> None:
        self.closed_until_s = -inf
        self._allowance = allowance
        self._step_s = allowance.per_s / allowance.units  # in which the bucket gains one unit
        self._bucket_full_at_s = -inf
        self._in_flight = 0
        self._answered: deque[tuple[float, float]] = deque()  # units and when they come back
        self._used = 0.0  # of ``units``: in flight and answered
        self._refused_in_a_row = 0
        self._last_closed_s = -inf

    def opens_at_s(self, now_s: float, weight: float) -> float:
        """When a request may go, as far as is known now; inf: not before an answer comes."""
        self._give_back(now_s)
        if self._in_flight >= IN_FLIGHT_MAX:
            return inf
        missing = self._allowance.burst - min(weight, self._allowance.burst)
        bucket_s = self._bucket_full_at_s - missing * self._step_s
        return max(self.closed_until_s, bucket_s, self._window_opens_at_s(weight))

    def _window_opens_at_s(self, weight: float) -> float:
        units = self._allowance.units
        lacking = self._used + min(weight, units) - units
        at_s = -inf
        for back_at_s, back in self._answered:
            if lacking <= UNITS_ERROR:
                break
            at_s, lacking = back_at_s, lacking - back
        return at_s if lacking <= UNITS_ERROR else inf

    def _give_back(self, now_s: float) -> None:
        while self._answered and self._answered[0][0] <= now_s:
            self._used -= self._answered.popleft()[1]

    def send(self, now_s: float, weight: float) -> None:
        """A request goes out."""
        self._in_flight += 1
        self._used += weight
        self._bucket_full_at_s = max(now_s, self._bucket_full_at_s) + weight * self._step_s

    def end(self, now_s: float, weight: float) -> None:
        """Its answer came, or nobody waits for it any more."""
        self._in_flight -= 1
        self._answered.append((now_s + self._allowance.per_s, weight))

    def accept(self, sent_s: float) -> None:
        """The venue answered a request as such: the next pause starts small again."""
        if sent_s >= self._last_closed_s:
            self._refused_in_a_row = 0

    def refuse(self, now_s: float, sent_s: float, for_s: float | None) -> None:
        """The venue answered "too many"; ``for_s`` None: it did not say for how long.

        Requests that were under way when the key closed are one refusal together.
        """
        if sent_s >= self._last_closed_s:
            self._refused_in_a_row += 1
            self._last_closed_s = now_s
        if for_s is None:
            doublings = min(self._refused_in_a_row - 1, 16)
            for_s = min(PAUSE_S_MAX, PAUSE_S_MIN * 2**doublings)
        self.closed_until_s = max(self.closed_until_s, now_s + for_s)


class _Waiter:
    def __init__(self) -> None:
        self.woken = trio.Event()


class Turnstile:
    """One key's budget and who waits for it; the counters are for status and metrics."""

    def __init__(self, allowance: Allowance) -> None:
        self.key = allowance.key
        self.requests = 0
        self.waits = 0  # requests that could not go at once
        self.refusals = 0
        self._budget = Budget(allowance)
        self._queue: list[tuple[tuple[float, ...], int, _Waiter]] = []
        self._numbers = itertools.count()

    @property
    def banned_until_s(self) -> float:
        """On trio's clock; -inf: never was."""
        return self._budget.closed_until_s

    @property
    def waiting(self) -> int:
        """Requests in the queue now."""
        return len(self._queue)

    @asynccontextmanager
    async def turn(self, weight: float, priority: Priority) -> AsyncIterator[float]:
        """Wait until a request may go, first by priority, then by arrival; gives the time.

        The request is counted as under way until the block ends.
        """
        await self._wait(weight, priority)
        now_s = trio.current_time()
        self.requests += 1
        self._budget.send(now_s, weight)  # no checkpoint since the wait: nobody came between
        self._wake_next()
        try:
            yield now_s
        finally:
            self._budget.end(trio.current_time(), weight)
            self._wake_next()

    async def _wait(self, weight: float, priority: Priority) -> None:
        waiter = _Waiter()
        order = priority if isinstance(priority, tuple) else (priority,)
        entry = (order, next(self._numbers), waiter)
        heapq.heappush(self._queue, entry)
        has_waited = False
        try:
            while True:
                at_s = inf  # only the first in the queue looks at the clock
                if self._queue[0] is entry:
                    at_s = self._budget.opens_at_s(trio.current_time(), weight)
                    if at_s <= trio.current_time():
                        break
                if not has_waited:
                    has_waited = True
                    self.waits += 1
                waiter.woken = trio.Event()
                with trio.move_on_at(at_s):
                    await waiter.woken.wait()
        except BaseException:
            self._leave(entry)
            self._wake_next()
            raise
        self._leave(entry)

    def _leave(self, entry: tuple[tuple[float, ...], int, _Waiter]) -> None:
        if self._queue[0] is entry:
            heapq.heappop(self._queue)
        else:
            self._queue.remove(entry)
            heapq.heapify(self._queue)

    def _wake_next(self) -> None:
        if self._queue:
            self._queue[0][2].woken.set()

    def accept(self, sent_s: float) -> None:
        """A request was answered as such."""
        self._budget.accept(sent_s)

    def refuse(self, sent_s: float, status: int, for_s: float | None) -> float:
        """A request was one too many; returns for how long the key is closed from now, in s."""
        now_s = trio.current_time()
        was_open = self._budget.closed_until_s <= now_s
        self.refusals += 1
        self._budget.refuse(now_s, sent_s, for_s)
        closed_s = self._budget.closed_until_s - now_s
        if was_open:
            log.warning("rest_closed", budget=self.key, status=status, for_s=round(closed_s, 1))
        return closed_s

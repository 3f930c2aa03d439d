"""Which symbols were asked for, which answers are out, and what to ask next. Sans I/O.

Every symbol stands in exactly one open request until it is subscribed or refused, so none is lost
whatever a venue answers. Times are seconds of one monotonic clock.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import inf

from pumpwatch.venues.spec import Reply, Subscribe

ANSWER_S = 10.0  # venues answer within milliseconds; what is unanswered then is asked again
ASKS_MAX = 3  # of one request without any answer: then the connection is of no use
BUSY_S_MIN = 1.0  # the first pause after "too fast"; doubled each time
BUSY_S_MAX = 60.0  # OKX counts by the hour: asking more often only prolongs it
REFUSALS_WITHOUT_ID = 2  # such a reply may be about something else: believed the second time
ID_MAX, TIME_MAX = 10**9, 10**10  # the longest that are filled in


@dataclass(eq=False)
class _Request:
    """Symbols that are asked for together.

    They only become fewer: a late answer to an earlier sending never accepts more than was asked.
    """

    symbols: dict[str, None]  # those without an answer, in order
    sendings: int = 0
    refusals: int = 0
    answer_by_s: float = inf  # inf: it waits to be sent


class Subscriptions:
    """The symbols of one connection on their way from wanted to subscribed or refused."""

    def __init__(self, how: Subscribe, symbols: Iterable[str], rng: random.Random) -> None:
        self.subscribed: set[str] = set()
        self._how = how
        self._rng = rng
        self._by_name: dict[str, str] = {}
        self._waiting: deque[_Request] = deque()
        self._request_of: dict[str, _Request] = {}
        self._leaving: dict[str, None] = {}  # to be told that they are wanted no more
        self._unanswered: dict[str, _Request] = {}  # sendings by id, oldest first
        self._busy_s = BUSY_S_MIN
        self._busy_until_s = -inf
        self.add(symbols)

    # --- what is wanted ---------------------------------------------------------------------------

    def add(self, symbols: Iterable[str]) -> None:
        """Want these too; those that are subscribed or asked for already stay as they are."""
        fresh = [
            symbol
            for symbol in dict.fromkeys(symbols)
            if symbol not in self.subscribed and symbol not in self._request_of
        ]
        for symbol in fresh:
            self._by_name[self._how.spell(symbol)] = symbol
            self._by_name[symbol] = symbol
            self._leaving.pop(symbol, None)
        for some in share(self._how, fresh):
            request = _Request(dict.fromkeys(some))
            self._waiting.append(request)
            self._request_of.update(dict.fromkeys(some, request))

    def leave(self, symbols: Iterable[str]) -> None:
        """Want these no more. What was asked already may still be subscribed by the venue."""
        for symbol in symbols:
            if symbol in self._request_of:
                self._settle(symbol)
            self.subscribed.discard(symbol)
            if self._how.leave_text:
                self._leaving[symbol] = None

    @property
    def is_settled(self) -> bool:
        """Every symbol is subscribed or refused."""
        return not self._request_of

    # --- asking -----------------------------------------------------------------------------------

    @property
    def ready_s(self) -> float:
        """When the next request may go; inf: none waits."""
        return self._busy_until_s if self._waiting or self._leaving else inf

    @property
    def answer_by_s(self) -> float:
        """When the first unanswered request must be looked at; inf: none is out."""
        return min((request.answer_by_s for request in self._unanswered.values()), default=inf)

    @property
    def is_barren(self) -> bool:
        """All symbols were refused."""
        return not self._request_of and not self.subscribed

    def next_text(self, now_s: float, request_id: int, unix_s: int) -> str:
        """The request whose turn it is; only when ``ready_s`` says so.

        Whether the venue heard that a symbol is wanted no more does not matter: what comes of it
        is recorded like the rest.
        """
        if not self._waiting:
            some = next(share(self._how, self._leaving))
            for symbol in some:
                del self._leaving[symbol]
            return self._how.render(some, request_id, unix_s, leaves=True)
        request = self._waiting.popleft()
        request.sendings += 1
        request.answer_by_s = now_s + ANSWER_S
        self._unanswered[str(request_id)] = request
        return self._how.render(tuple(request.symbols), request_id, unix_s)

    def ask_overdue(self, now_s: float) -> str:
        """Ask again what is unanswered for too long; returns why that is hopeless, or ""."""
        why = ""
        for request in list(self._unanswered.values()):
            if now_s < request.answer_by_s:
                continue
            sendings = request.sendings
            self._put_back(request)
            if sendings < ASKS_MAX:
                request.sendings = sendings
            else:
                count, first = len(request.symbols), next(iter(request.symbols))
                why = f"no answer to {sendings} requests for {count} symbols from {first} on"
        return why

    def restart_clocks(self, now_s: float) -> None:
        """Answers may have come while nobody read: their time begins anew."""
        for request in self._unanswered.values():
            if request.answer_by_s < inf:
                request.answer_by_s = now_s + ANSWER_S

    # --- answers ----------------------------------------------------------------------------------

    def accepted(self, reply: Reply, now_s: float) -> tuple[str, ...]:
        """The symbols that are subscribed from now on."""
        named = self._named(reply)
        if named is None:
            answered = self._answered(reply)
            named = tuple(answered.symbols) if answered else ()
        for symbol in named:
            request = self._settle(symbol)
            if request.answer_by_s < inf:
                request.answer_by_s = now_s + ANSWER_S  # it is being worked on
        if named:
            self.subscribed.update(named)
            self._busy_s = BUSY_S_MIN
        return named

    def refused(self, reply: Reply) -> tuple[str, ...] | None:
        """The symbols that the venue will not have; None: the reply is about no open request.

        The good ones of the request stay: they are asked for again without the named one, or in
        halves until the bad one is alone.
        """
        named = self._named(reply)
        if named is not None and not self._is_echo(named):
            if named and self._how.is_atomic:
                self._answered(reply)
            for symbol in named:
                holder = self._settle(symbol)
                if self._how.is_atomic:
                    self._put_back(holder)
            return named
        request = self._answered(reply)
        if request is None or not request.symbols:
            return None
        request.refusals += 1
        symbols = tuple(request.symbols)
        if len(symbols) > 1:
            self._halve(request)
        elif reply.request_id or request.refusals >= REFUSALS_WITHOUT_ID:
            self._settle(symbols[0])
            return symbols
        else:
            self._put_back(request)
        return ()

    def busy(self, reply: Reply, now_s: float) -> None:
        """The same request again, and all others too, after a pause that grows each time."""
        request = self._answered(reply)
        if request is not None:
            self._put_back(request)
        self._busy_until_s = now_s + self._busy_s * self._rng.uniform(0.5, 1.0)
        self._busy_s = min(2 * self._busy_s, BUSY_S_MAX)

    def _named(self, reply: Reply) -> tuple[str, ...] | None:
        """The symbols that the reply names and that wait for it; None: it names none of ours."""
        ours = [self._by_name[name] for name in reply.symbols if name in self._by_name]
        if not ours:
            return None
        return tuple(symbol for symbol in dict.fromkeys(ours) if symbol in self._request_of)

    def _is_echo(self, named: tuple[str, ...]) -> bool:
        """A refusal of a whole request that repeats all its symbols: it blames none."""
        if len(named) < 2 or not self._how.is_atomic:
            return False
        return set(named) == self._request_of[named[0]].symbols.keys()

    def _answered(self, reply: Reply) -> _Request | None:
        """The sending that a reply answers: by id, by the symbols it names, else the oldest."""
        key = reply.request_id
        if not key:
            named = self._named(reply)
            meant = self._request_of[named[0]] if named else None
            keys = (key for key, one in self._unanswered.items() if meant in (None, one))
            key = next(keys, "")
        return self._unanswered.pop(key, None)

    def _settle(self, symbol: str) -> _Request:
        """Its fate is known. Returns the request in which it stood."""
        request = self._request_of.pop(symbol)
        del request.symbols[symbol]
        if not request.symbols:
            self._close(request)
        return request

    def _close(self, request: _Request) -> None:
        """Nothing of it waits any more; answers that it still gets are taken for what they are."""
        if request in self._waiting:
            self._waiting.remove(request)
        request.answer_by_s = inf
        if not self._how.is_atomic:  # answered by symbol: there is no last answer to wait for
            stale = [key for key, one in self._unanswered.items() if one is request]
            for key in stale:
                del self._unanswered[key]

    def _put_back(self, request: _Request) -> None:
        """It waits for its turn again, as if it had not been asked."""
        if request.symbols and request not in self._waiting:
            self._waiting.append(request)
        request.sendings = 0
        request.answer_by_s = inf

    def _halve(self, request: _Request) -> None:
        symbols = tuple(request.symbols)
        request.symbols = {}
        self._close(request)
        middle = len(symbols) // 2
        for some in (symbols[:middle], symbols[middle:]):
            half = _Request(dict.fromkeys(some))
            self._waiting.append(half)
            self._request_of.update(dict.fromkeys(some, half))


def share(how: Subscribe, symbols: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """Symbols for one request each: as many as its number and its length in bytes allow."""
    empty_bytes = len(how.render((), ID_MAX, TIME_MAX).encode())
    some: list[str] = []
    size_bytes = empty_bytes
    for symbol in symbols:
        arg_bytes = len(how.render_arg(symbol).encode()) + 1  # and its comma
        is_full = len(some) == how.symbols_per_request_max
        if some and (is_full or size_bytes + arg_bytes > how.text_bytes_max):
            yield tuple(some)
            some, size_bytes = [], empty_bytes
        some.append(symbol)
        size_bytes += arg_bytes
    if some:
        yield tuple(some)

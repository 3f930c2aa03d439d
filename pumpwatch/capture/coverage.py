"""Which connections carry which symbols, and what proves it. Sans I/O.

A connection carries a symbol from the venue's acknowledgement on. It proves that nothing of the
symbol was missed up to what was read from it (R10, ``covered`` only): what came
after a moment on one unbroken connection came after everything that was sent before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable


class Coverage:
    """One feed's symbols, by their names on the wire; connections are numbers."""

    def __init__(self) -> None:
        self.wanted: set[str] = set()
        self._carriers: defaultdict[str, set[int]] = defaultdict(set)
        self._carried: defaultdict[int, set[str]] = defaultdict(set)
        self._doubted: defaultdict[int, set[str]] = defaultdict(set)
        self._read_ns: dict[int, int] = {}
        self._proof_ns: dict[str, int] = {}  # of symbols that nothing carries
        self._since_ns: dict[str, int] = {}  # carried without a break

    # --- what connections tell --------------------------------------------------------------------

    def carry(self, connection: int, symbols: Iterable[str], at_ns: int) -> list[str]:
        """The venue sends these on this connection; returns those that nothing carried before."""
        fresh = []
        for symbol in symbols:
            if not self._carriers[symbol]:
                fresh.append(symbol)
                self._since_ns[symbol] = at_ns
            self._carriers[symbol].add(connection)
            self._carried[connection].add(symbol)
            self._doubted[connection].discard(symbol)
        self.read(connection, at_ns)
        return fresh

    def read(self, connection: int, at_ns: int) -> None:
        """All that the venue had sent on it by then was read."""
        self._read_ns[connection] = at_ns

    def doubt(self, connection: int, symbols: Iterable[str]) -> list[str]:
        """The venue said that it sends these here, but nothing came: not carried until it does.

        Returns the wanted ones that nothing carries then.
        """
        symbols = list(symbols)
        self._doubted[connection].update(symbols)
        return self._let_go(connection, symbols)

    def doubted(self, connection: int) -> list[str]:
        """Symbols of which a first row here is waited for."""
        return sorted(self._doubted[connection])

    def leave(self, connection: int, symbols: Iterable[str]) -> None:
        """We asked the venue to send these no more."""
        symbols = list(symbols)
        self._doubted[connection].difference_update(symbols)
        self._let_go(connection, symbols)

    def end(self, connection: int) -> list[str]:
        """The connection is gone; returns the wanted symbols that nothing carries now."""
        orphans = self._let_go(connection, sorted(self._carried[connection]))
        self._carried.pop(connection, None)
        self._doubted.pop(connection, None)
        self._read_ns.pop(connection, None)
        return orphans

    def _let_go(self, connection: int, symbols: Iterable[str]) -> list[str]:
        orphans = []
        for symbol in symbols:
            if connection not in self._carriers[symbol]:
                continue
            self._carriers[symbol].remove(connection)
            self._carried[connection].discard(symbol)
            if not self._carriers[symbol]:
                self._proof_ns[symbol] = self._read_ns.get(connection, 0)
                del self._since_ns[symbol]
                if symbol in self.wanted:
                    orphans.append(symbol)
        return orphans

    # --- what is asked ----------------------------------------------------------------------------

    @property
    def subscribed(self) -> int:
        """How many wanted symbols something carries: all of them, or the feed is unhealthy."""
        return sum(1 for symbol in self.wanted if self._carriers.get(symbol))

    @property
    def missing(self) -> list[str]:
        """Wanted symbols that nothing carries."""
        return sorted(symbol for symbol in self.wanted if not self._carriers.get(symbol))

    def carriers(self, symbol: str) -> int:
        """How many connections carry it."""
        return len(self._carriers.get(symbol, ()))

    def since_ns(self, symbol: str) -> int:
        """From when on it is carried without a break (our clock); 0: it is not."""
        return self._since_ns.get(symbol, 0)

    def proof_ns(self, symbol: str) -> int:
        """Until when nothing of it was missed, since it is carried (our clock); 0: not known.

        What a venue made shortly before may have been under way still: whoever compares this with
        exchange time leaves it a margin.
        """
        carriers = self._carriers.get(symbol)
        if not carriers:
            return self._proof_ns.get(symbol, 0)
        return max(self._read_ns.get(connection, 0) for connection in carriers)

    def alive_ns(self) -> int:
        """Until when every connection with symbols is known to have been read; 0: there is none."""
        reads = [self._read_ns.get(number, 0) for number, some in self._carried.items() if some]
        return min(reads, default=0)

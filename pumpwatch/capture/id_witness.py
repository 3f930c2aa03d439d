"""Another stream of the venue that tells which ids there are: what ours should have brought by now.

Ids that count up show a hole as soon as a later trade comes. A stream that falls silent shows
none: then only somebody else's word for a newer id tells that there was a trade. Sans I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

GRACE_NS = 5 * 10**9  # aggregated trades may be faster than single ones, by far less than that


class Behind(NamedTuple):
    """Nothing up to this id came."""

    venue_symbol: str
    seen_to: int  # 0: nothing ever came
    last_id: int


class _Owed(NamedTuple):
    last_id: int
    told_ns: int  # our clock


class IdWitness:
    """What was told of some symbols. Times are ours, in ns."""

    def __init__(self, venue_symbols: Iterable[str]) -> None:
        self.told = 0  # messages
        self._newest = dict.fromkeys(venue_symbols, 0)
        self._owed: dict[str, _Owed] = {}

    def tell(self, venue_symbol: str, last_id: int, now_ns: int) -> None:
        """There are trades up to this id."""
        if last_id <= self._newest.get(venue_symbol, last_id):
            return  # not asked for, or an older word
        self.told += 1
        self._newest[venue_symbol] = last_id
        self._owed.setdefault(venue_symbol, _Owed(last_id, now_ns))

    def behind(self, seen_to: Callable[[str], int], read_ns: Callable[[str], int]) -> list[Behind]:
        """Symbols of which we have read for long enough, and it did not come; each told once.

        ``read_ns``: up to when all that came for the symbol has been read.
        """
        found = []
        for name, owed in list(self._owed.items()):
            seen = seen_to(name)
            if seen >= owed.last_id:
                del self._owed[name]
                if seen < self._newest[name]:
                    self._owed[name] = _Owed(self._newest[name], read_ns(name))
            elif read_ns(name) - owed.told_ns >= GRACE_NS:
                del self._owed[name]
                found.append(Behind(name, seen, self._newest[name]))
        return found

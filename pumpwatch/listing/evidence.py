"""What a window's rows, the venue's own lists and the ledger tell: the certificate's facts."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

Ids = tuple[int, int]  # both included
WindowKind = Literal["announcement", "opening"]


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """A listing's span: ``from_ns`` <= exchange time < ``to_ns``, ns since 1970 UTC."""

    kind: WindowKind
    at_ns: int
    from_ns: int
    to_ns: int


class RestCheck(msgspec.Struct, frozen=True, kw_only=True):
    """What the venue's list of past trades said of the window when it was asked."""

    asked_ns: int
    shown: int = 0  # rows of the window in its answers
    missing: int = 0  # of them not held
    different: int = 0  # held with another side, price or quantity
    reaches: bool = False  # it goes back to before the window
    error: str = ""


# A row may stand so far off its id's place: a later id with an earlier time.
NEAR_NS = 5 * 10**9


class SymbolRows:
    """One instrument's rows, taken as they stream by; numbers are the venue's order numbers."""

    def __init__(self) -> None:
        self.count = 0
        self.first_trade_id = ""
        self.last_trade_id = ""
        self.id_before = 0  # the highest of a row before the window
        self.id_after = 0  # the lowest of a row after it
        self._ids = array("q")
        self._near = array("q")  # of rows around the window

    def take(self, row: Mapping[str, Any], window: Window) -> None:
        """A row of the window, or within ``NEAR_NS`` of it; its time is ns."""
        number = int(row["sequence_number"])
        if row["timestamp"] < window.from_ns:
            self.id_before = max(self.id_before, number)
            self._near.append(number)
        elif row["timestamp"] >= window.to_ns:
            self.id_after = min(self.id_after or number, number)
            self._near.append(number)
        else:
            self.count += 1
            self.first_trade_id = self.first_trade_id or str(row["trade_id"])
            self.last_trade_id = str(row["trade_id"])
            if number:
                self._ids.append(number)

    def note_around(self, id_before: int, id_after: int) -> None:
        """The nearest order numbers of rows farther outside; 0: there is none."""
        self.id_before = max(self.id_before, id_before)
        if id_after:
            self.id_after = min(self.id_after or id_after, id_after)

    @property
    def first_id(self) -> int:
        """The lowest order number in the window; 0: there is none."""
        return min(self._ids, default=0)

    @property
    def last_id(self) -> int:
        """The highest."""
        return max(self._ids, default=0)

    @property
    def _bounds(self) -> Ids:
        """Every number from here to there must be held, the window's neighbours with it."""
        first, last = self.first_id, self.last_id
        low, high = first or self.id_before, last or self.id_after
        if self.id_before and first:
            low = max(1, min(self.id_before, first - 1))
        if self.id_after and last:
            high = max(self.id_after, last + 1)
        return low or high, high or low

    def touches(self, ids: Ids) -> bool:
        """Whether these ids may lie in the window or at its edges."""
        low, high = self._bounds
        return ids[0] <= high and ids[1] >= low

    def jumps(self) -> list[Ids]:
        """Numbers that no row has, from the window's predecessor to its successor."""
        low, high = self._bounds
        found: list[Ids] = []
        expected = low
        for number in sorted({*self._ids, *self._near, self.id_before, self.id_after}):
            if number < expected:
                continue
            if number > high:
                break
            if number > expected:
                found.append((expected, number - 1))
            expected = number + 1
        if expected <= high:
            found.append((expected, high))
        return found if low else []


def without(ranges: Iterable[Ids], taken: Iterable[Ids]) -> list[Ids]:
    """What of ``ranges`` lies in none of ``taken``."""
    left = list(ranges)
    for low, high in taken:
        parts: list[Ids] = []
        for first, last in left:
            if high < first or last < low:
                parts.append((first, last))
                continue
            if first < low:
                parts.append((first, low - 1))
            if high < last:
                parts.append((high + 1, last))
        left = parts
    return left

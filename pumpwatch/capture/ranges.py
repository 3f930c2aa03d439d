"""Sets of ids as sorted, disjoint ranges ``(first, last)``. Sans I/O."""

from __future__ import annotations

from collections.abc import Iterable

Ids = tuple[int, int]  # first and last, both included
ENDLESS = 2**64  # above every id


def size(ranges: Iterable[Ids]) -> int:
    """How many ids."""
    return sum(last - first + 1 for first, last in ranges)


def common(ours: Iterable[Ids], theirs: Iterable[Ids]) -> list[Ids]:
    """The ids that are in both."""
    theirs = list(theirs)
    both = [
        (max(first, low), min(last, high))
        for first, last in ours
        for low, high in theirs
        if max(first, low) <= min(last, high)
    ]
    return sorted(both)


def without(ours: Iterable[Ids], theirs: Iterable[Ids]) -> list[Ids]:
    """The ids of the first that are not in the second."""
    left = list(ours)
    for low, high in theirs:
        pieces = []
        for first, last in left:
            pieces += [(first, min(last, low - 1)), (max(first, high + 1), last)]
        # A range that the other does not touch came back whole, once: the second piece is empty.
        left = [(first, last) for first, last in pieces if first <= last]
    return left

"""Spans of time, ``[(from_ns, to_ns)]``, ascending and apart: joined, cut, compared."""

from __future__ import annotations

from collections.abc import Iterator

Spans = list[tuple[int, int]]


def common(some: Spans, others: Spans) -> Iterator[tuple[int, int]]:
    """What both have."""
    for low, high in some:
        for other_low, other_high in others:
            if max(low, other_low) < min(high, other_high):
                yield max(low, other_low), min(high, other_high)


def covers(spans: Spans, from_ns: int, to_ns: int) -> bool:
    """Whether one of them has all of it."""
    return any(low <= from_ns and to_ns <= high for low, high in spans)


def joined(spans: Spans) -> Spans:
    """Those that touch become one; any order will do, and empty ones are nothing."""
    whole: Spans = []
    for low, high in sorted(spans):
        if whole and low <= whole[-1][1]:
            whole[-1] = (whole[-1][0], max(whole[-1][1], high))
        elif low < high:
            whole.append((low, high))
    return whole


def without(spans: Spans, from_ns: int, to_ns: int) -> Spans:
    """They without [from, to)."""
    if from_ns >= to_ns:
        return spans
    rest: Spans = []
    for low, high in spans:
        if low < from_ns:
            rest.append((low, min(high, from_ns)))
        if high > to_ns:
            rest.append((max(low, to_ns), high))
    return rest

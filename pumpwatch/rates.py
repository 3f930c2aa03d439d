"""Rates over the last seconds and quantiles of lags, sans-IO."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from itertools import accumulate

LAG_BUCKETS_S = tuple(
    round(base * 10.0**power, 6)
    for power in (-3, -2, -1, 0, 1, 2)
    for base in (1, 1.25, 1.6, 2, 2.5, 3.2, 4, 5, 6.4, 8)
)


class Rate:
    """Rows a second over the last ``span_s`` seconds of a growing total."""

    def __init__(self, span_s: float = 10.0) -> None:
        self._span_s = span_s
        self._seen: deque[tuple[float, int]] = deque()

    def note(self, now_s: float, total: int) -> float:
        """Take the total in; returns the rate now."""
        self._seen.append((now_s, total))
        while len(self._seen) > 2 and self._seen[1][0] <= now_s - self._span_s:
            self._seen.popleft()
        then_s, then = self._seen[0]
        return (total - then) / (now_s - then_s) if now_s > then_s else 0.0


class LagHistogram:
    """Lags in seconds, weighted by rows, in buckets 1.25 times apart (1 ms to 800 s)."""

    def __init__(self) -> None:
        self.rows = [0] * (len(LAG_BUCKETS_S) + 1)
        self.sum_s = 0.0

    def note(self, lag_s: float, rows: int) -> None:
        """Count rows that became visible ``lag_s`` after they were received."""
        self.rows[bisect_right(LAG_BUCKETS_S, lag_s)] += rows
        self.sum_s += lag_s * rows

    def quantile(self, share: float) -> float | None:
        """The upper edge of the bucket in which the share (0 ... 1) is reached; None without rows.

        Lags beyond the last edge count as the last edge.
        """
        total = sum(self.rows)
        if not total:
            return None
        for index, reached in enumerate(accumulate(self.rows)):
            if reached and reached >= share * total:
                return LAG_BUCKETS_S[min(index, len(LAG_BUCKETS_S) - 1)]
        raise AssertionError("a share of all rows is reached by all rows")


class TimesBySource:
    """How long answers took, by where they came from (memory, sql)."""

    def __init__(self) -> None:
        self.by_source: dict[str, LagHistogram] = {}

    def note(self, source: str, seconds: float) -> None:
        """Count one answer."""
        self.by_source.setdefault(source, LagHistogram()).note(seconds, 1)

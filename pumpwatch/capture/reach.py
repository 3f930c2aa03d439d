"""Whether a venue's lists can be had at all: what failed together is due together again.

A list of latest trades forgets within seconds. After an outage each hole must not sit out the pause
that its own failures have earned: one answer is news for all of them. Until then one request at a
time is enough to notice it.
"""

from __future__ import annotations

FAILURES_MIN = 3  # in a row, of whatever holes: fewer may be about a symbol
PROBE_S, PROBE_LATER_S = 1.0, 10.0  # between two requests while nothing is answered
PROBES_MAX = 1_000  # at the first pace: about an hour, then it is no outage any more


class Reach:
    """One feed's. No clock and no I/O in here."""

    def __init__(self) -> None:
        self._failures = 0  # since the last answer
        self._waiting: set[str] = set()  # holes that failed since

    @property
    def is_down(self) -> bool:
        """Nothing was answered lately, and several asked."""
        return self._failures >= FAILURES_MIN

    @property
    def pause_s(self) -> float:
        """Before the next request, while it is down."""
        return PROBE_S if self._failures < PROBES_MAX else PROBE_LATER_S

    def failed(self, gap_id: str) -> None:
        """A request for this hole got no answer that could be used; another try may."""
        self._failures += 1
        self._waiting.add(gap_id)

    def answered(self) -> set[str]:
        """A request got its answer: holes that need wait no longer, if nothing was answered."""
        woken = self._waiting if self.is_down else set()
        self._failures, self._waiting = 0, set()
        return woken

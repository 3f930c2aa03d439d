"""How reads from QuestDB do between two checks of the migration."""

from __future__ import annotations

import math

READS_KEPT_MAX = 100_000  # of one check's span; beyond, the newest count


class ReadGauge:
    """Counts since the last ``take``. Durations in seconds."""

    def __init__(self) -> None:
        self._errors = 0
        self._durations_s: list[float] = []
        self._next = 0

    def note(self, duration_s: float) -> None:
        """A read was answered."""
        if len(self._durations_s) < READS_KEPT_MAX:
            self._durations_s.append(duration_s)
        else:
            self._durations_s[self._next % READS_KEPT_MAX] = duration_s
            self._next += 1

    def note_error(self) -> None:
        """A read failed."""
        self._errors += 1

    def take(self) -> tuple[int, int, float]:
        """(reads, errors, p99 in ms) since the last call."""
        answered = sorted(self._durations_s)
        errors = self._errors
        self._errors, self._durations_s, self._next = 0, [], 0
        p99_s = answered[math.ceil(0.99 * len(answered)) - 1] if answered else 0.0
        return len(answered) + errors, errors, p99_s * 1000

"""The only reader of wall time."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What a part that stamps or judges age takes as an argument."""

    def wall_ns(self) -> int:
        """Nanoseconds since 1970 UTC."""
        ...


class SystemClock:
    """The host's clock."""

    def wall_ns(self) -> int:
        """Nanoseconds since 1970 UTC, as the host believes."""
        return time.time_ns()

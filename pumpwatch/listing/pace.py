"""When a board may be asked again: the interval, and what refusals and faults make of it.

No board publishes its limit. What is known (LISTINGS 1.1, 2.1): Retry-After counts where it is
sent; else back off from 30 s to 10 min; Bithumb refuses with redirects; a 403 is Upbit's firewall.
"""

from __future__ import annotations

import random
from datetime import datetime
from email.utils import parsedate_to_datetime

import msgspec

EXPONENT_MAX = 16


class PaceRules(msgspec.Struct, frozen=True, kw_only=True):
    """The figures, in seconds."""

    backoff_s: float = 30.0  # after the first refusal, doubling
    backoff_s_max: float = 600.0
    retry_after_s_max: float = 3600.0  # a board that names more is asked all the same
    fault_s_max: float = 60.0  # after faults that are no refusal: the network, nonsense
    jitter: float = 0.1  # pauses grow by up to this share, never shrink
    gap_s: float = 1.0  # between two requests to one host (Bithumb: 1 a second)


class Pace:
    """The pause after each look; refusals and faults are counted apart."""

    def __init__(self, interval_s: float, rules: PaceRules, rng: random.Random) -> None:
        self.interval_s = interval_s
        self._rules = rules
        self._rng = rng
        self._refusals = 0
        self.faults = 0  # in a row

    def good(self) -> float:
        """The board answered."""
        self._refusals = self.faults = 0
        return self._jittered(self.interval_s)

    def refused(self, retry_after_s: float | None) -> float:
        """429, 403 or a redirect."""
        self.faults = 0
        rules = self._rules
        pause_s = min(rules.backoff_s_max, rules.backoff_s * 2**self._refusals)
        self._refusals = min(self._refusals + 1, EXPONENT_MAX)
        if retry_after_s is not None:
            pause_s = min(retry_after_s, rules.retry_after_s_max)
        return self._jittered(max(pause_s, self.interval_s))

    def failed(self) -> float:
        """No answer, or one that cannot be read."""
        pause_s = min(self._rules.fault_s_max, self.interval_s * 2**self.faults)
        self.faults = min(self.faults + 1, EXPONENT_MAX)
        return self._jittered(max(pause_s, self.interval_s))

    def _jittered(self, pause_s: float) -> float:
        return pause_s * self._rng.uniform(1.0, 1.0 + self._rules.jitter)


def read_retry_after(value: str | None, now_s: float) -> float | None:
    """Seconds to wait: a number, or an HTTP date against ``now_s``; None where it is neither."""
    if not value:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    moment = read_http_date(text)
    return None if moment is None else max(0.0, moment.timestamp() - now_s)


def read_http_date(value: str | None) -> datetime | None:
    """An HTTP date; None where it is none."""
    try:
        moment = parsedate_to_datetime(value or "")
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo is not None else None

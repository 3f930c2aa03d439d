"""What happens in a soak, and when: drawn from a seed. Sans-IO.

Pumps, restarts and kills lie in the first half, so that the last half shows whether what they took
is given back; connections are cut all the time.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Literal

import msgspec

Kind = Literal["pump", "calm", "cut", "database", "kill"]
PUMP_S = 60.0
PUMP_SHARE_MAX = 0.05  # of a short run
PUMP_EVERY_S = 1200.0  # 6 minutes of pump in two hours
CUT_EVERY_S = 600.0  # of each feed
RESTARTS = 2  # of the database, and kills of the daemon
SHORT_S = 600.0  # below, one of each
BUSY = (0.06, 0.5)  # of the run


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happens; seconds from the beginning."""

    at_s: float
    kind: Kind
    feed: str = ""  # whose connections are cut


def plan_soak(rng: random.Random, seconds: float, feeds: Sequence[str]) -> list[Step]:
    """In the order of time."""
    pumps = max(1, round(seconds / PUMP_EVERY_S))
    pump_s = min(PUMP_S, seconds * PUMP_SHARE_MAX)
    steps = []
    for at_s in _spread(rng, pumps, seconds):
        steps += [Step(at_s=at_s, kind="pump"), Step(at_s=at_s + pump_s, kind="calm")]
    restarts = RESTARTS if seconds >= SHORT_S else 1
    steps += [Step(at_s=at_s, kind="database") for at_s in _spread(rng, restarts, seconds)]
    steps += [Step(at_s=at_s, kind="kill") for at_s in _spread(rng, restarts, seconds)]
    slots = max(1, int(seconds // CUT_EVERY_S))
    for feed in feeds:
        for slot in range(slots):
            low, high = slot * seconds / slots, (slot + 1) * seconds / slots
            at_s = rng.uniform(max(low, seconds * 0.02), min(high, seconds * 0.95))
            steps.append(Step(at_s=at_s, kind="cut", feed=feed))
    return sorted(steps, key=lambda step: step.at_s)


def _spread(rng: random.Random, count: int, seconds: float) -> list[float]:
    """One moment in each of so many equal parts of the busy half."""
    low, high = BUSY[0] * seconds, BUSY[1] * seconds
    width = (high - low) / count
    return [low + width * (number + rng.uniform(0.05, 0.85)) for number in range(count)]

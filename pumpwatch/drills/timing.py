"""How long something took, as a drill tells it. Sans-IO."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable


def quantiles_ms(times_s: Iterable[float]) -> dict[str, float]:
    """How many, p50, p99 and the worst in ms; only how many where there are none."""
    ordered = sorted(times_s)
    if not ordered:
        return {"asked": 0}
    return {
        "asked": len(ordered),
        "p50_ms": round(statistics.median(ordered) * 1e3, 2),
        "p99_ms": round(ordered[math.ceil(0.99 * len(ordered)) - 1] * 1e3, 2),
        "worst_ms": round(ordered[-1] * 1e3, 2),
    }

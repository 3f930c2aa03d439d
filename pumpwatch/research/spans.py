"""Moments and spans as people write them in a notebook."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from pumpwatch.errors import UsageError
from pumpwatch.moments import EPOCH, EXAMPLE, parse_iso_ns

SPAN = re.compile(r"(\d+)(ms|s|m|h)", re.ASCII)
UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}


def moment_ns(name: str, moment: str | datetime) -> int:
    """Nanoseconds since 1970. Raises UsageError."""
    if isinstance(moment, datetime):
        if moment.tzinfo is None:
            raise UsageError(f"{name} = {moment}: has no zone; write moment.replace(tzinfo=UTC)")
        return (moment.astimezone(UTC) - EPOCH) // timedelta(microseconds=1) * 1_000
    found = parse_iso_ns(moment)
    if found is None:
        raise UsageError(f"{name} = {moment!r}: allowed: ISO 8601 in UTC, as {EXAMPLE}")
    return found


def span_ms(name: str, text: str) -> int:
    """``100ms``, ``20s``, ``60m``, ``2h`` -> ms. Raises UsageError."""
    match = SPAN.fullmatch(text)
    if match is None:
        raise UsageError(f"{name} = {text!r}: allowed: a whole number and ms, s, m or h, as 100ms")
    return int(match.group(1)) * UNIT_MS[match.group(2)]

"""Moments as people write them: ISO 8601 in UTC, with up to nine digits of a second; sans-IO."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d)?)(?:[.,](\d{1,9}))?)?(?:Z|\+00:00)?", re.ASCII
)
EXAMPLE = "2026-01-31T13:00:00.5Z"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse_iso_ns(text: str) -> int | None:
    """``2026-01-31T13:00:00.5Z`` (or a day alone) as ns since 1970; None where it is no time."""
    match = TIME.fullmatch(text)
    if match is None:
        return None
    day, clock, fraction = match.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{clock or '00:00:00'}").replace(tzinfo=UTC)
    except ValueError:
        return None
    return (moment - EPOCH) // timedelta(seconds=1) * 10**9 + int((fraction or "").ljust(9, "0"))


def iso_ns(moment_ns: int) -> str:
    """Nanoseconds since 1970 as ``2026-01-31T13:00:00.123456789Z``."""
    seconds, rest_ns = divmod(moment_ns, 10**9)
    text = (EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{rest_ns:09d}Z"
